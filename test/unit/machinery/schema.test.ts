import test from 'ava';
import { builtInResources } from '../../../kernel/machinery/resources.ts';
import { kindType } from '../../../kernel/machinery/schema/kinds.ts';
import {
  allKinds,
  allTypeKeys,
  apiRelease,
  scalarTypes,
  schemaOf,
  type FieldType,
} from '../../../kernel/machinery/schema/schema.ts';

test('every reference in the table leads somewhere, every scalar is known', (t) => {
  const check = (type: FieldType, where: string): void => {
    if (type.kind === 'ref') t.truthy(schemaOf(type.ref), `${where} refers to ${type.ref}`);
    else if (type.kind === 'scalar') t.true(scalarTypes.includes(type.scalar), `${where} is ${type.scalar}`);
    else check(type.of, where);
  };
  t.true(allTypeKeys().length > 500);
  for (const key of allTypeKeys())
    for (const field of schemaOf(key)!.wireFields) check(field.type, `${key}.${field.name}`);
  t.regex(apiRelease(), /^v1\.\d+\.\d+$/);
});

test('fields that stand inline are nested on the wire and flat in JSON', (t) => {
  const volume = schemaOf('core/v1.Volume')!;
  t.true(volume.byName.has('emptyDir'));
  t.is(volume.byNumber.get(2)?.inline, true);
  const rule = schemaOf('admissionregistration/v1.NamedRuleWithOperations')!;
  t.true(rule.byName.has('apiGroups') && rule.byName.has('operations') && rule.byName.has('resourceNames'));
});

test('what the table says of some fields', (t) => {
  const ports = schemaOf('core/v1.Container')!.byName.get('ports')!;
  t.deepEqual(ports.listMapKeys, ['containerPort', 'protocol']);
  t.is(ports.patchMergeKey, 'containerPort');
  t.is(schemaOf('core/v1.ContainerPort')!.byName.get('protocol')?.default, 'TCP');
  t.true(schemaOf('apps/v1.DeploymentSpec')!.byName.get('replicas')?.optionalScalar);
  t.false(schemaOf('apps/v1.DeploymentStatus')!.byName.get('replicas')?.optionalScalar);
  t.is(schemaOf('nowhere/v1.Nothing'), undefined);
  t.is(schemaOf('__proto__'), undefined);
});

test('kinds lead to types', (t) => {
  t.is(kindType('v1', 'Pod'), 'core/v1.Pod');
  t.is(kindType('apps/v1', 'Deployment'), 'apps/v1.Deployment');
  t.is(kindType('rbac.authorization.k8s.io/v1', 'Role'), 'rbac/v1.Role');
  t.is(kindType('apps/v1', 'DeleteOptions'), 'meta/v1.DeleteOptions');
  t.is(kindType('example.com/v1', 'Thing'), undefined);
  t.is(kindType('apps/v1', 'Pod'), undefined);
});

test('every built-in resource has its type', (t) => {
  for (const resource of builtInResources) {
    const kind = schemaOf(resource.schemaType)?.kind;
    t.is(kind?.kind, resource.kind, resource.schemaType);
    t.is(kind?.group, resource.group);
  }
  t.true(allKinds().length > 100);
});
