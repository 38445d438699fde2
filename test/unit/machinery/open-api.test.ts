import test from 'ava';
import type { ServedResource } from '../../../kernel/contract/index.ts';
import { builtInResources } from '../../../kernel/machinery/resources.ts';
import { openApiDocument, openApiIndex } from '../../../kernel/machinery/schema/open-api.ts';

const verbs = ['create', 'delete', 'deletecollection', 'get', 'list', 'patch', 'update', 'watch'];
const resources: readonly ServedResource[] = [
  ...builtInResources.map((resource) => ({
    ...resource,
    verbs,
    subresources:
      resource.kind === 'Deployment'
        ? [{ name: 'scale', group: 'autoscaling', version: 'v1', kind: 'Scale', verbs: ['get', 'patch', 'update'] }]
        : [],
  })),
  {
    group: 'example.com',
    version: 'v1',
    kind: 'Thing',
    resource: 'things',
    namespaced: false,
    singular: 'thing',
    shortNames: [],
    categories: [],
    verbs,
    schemaType: undefined,
    subresources: [],
  },
];
const groupVersions = [
  ...new Map(resources.map(({ group, version }) => [`${group}/${version}`, { group, version }])).values(),
];

interface Operation {
  readonly parameters?: readonly { readonly name: string }[];
  readonly 'x-kubernetes-group-version-kind': unknown;
  readonly 'x-kubernetes-action': string;
}
interface Document {
  readonly paths: Record<string, Record<'get' | 'post' | 'put' | 'patch' | 'delete', Operation>>;
  readonly components: {
    readonly schemas: Record<string, { properties: Record<string, Record<string, unknown>>; required?: string[] }>;
  };
}
const documentOf = (group: string, version: string): Document =>
  openApiDocument({ group, version }, resources) as Document;

test('every reference within every document leads somewhere', (t) => {
  for (const { group, version } of groupVersions) {
    const document = documentOf(group, version);
    const text = JSON.stringify(document);
    for (const [, name] of text.matchAll(/"#\/components\/schemas\/([^"]+)"/g))
      t.true(name! in document.components.schemas, `${group}/${version}: ${name}`);
    t.true(Object.keys(document.paths).length > 0);
  }
});

test('the index names every group version, its hash follows the resources', (t) => {
  const { paths } = openApiIndex(groupVersions, resources) as { paths: Record<string, { serverRelativeURL: string }> };
  t.regex(paths['api/v1']!.serverRelativeURL, /^\/openapi\/v3\/api\/v1\?hash=[0-9A-F]{32}$/);
  t.regex(paths['apis/apps/v1']!.serverRelativeURL, /^\/openapi\/v3\/apis\/apps\/v1\?hash=/);
  t.is(Object.keys(paths).length, groupVersions.length);
  const fewer = openApiIndex(
    groupVersions,
    resources.filter(({ kind }) => kind !== 'Thing'),
  ) as typeof paths & { paths: typeof paths };
  t.deepEqual(fewer.paths['api/v1'], paths['api/v1']);
  t.notDeepEqual(fewer.paths['apis/example.com/v1'], paths['apis/example.com/v1']);
});

test('writes say which parameters they take', (t) => {
  const { paths } = documentOf('apps', 'v1');
  const names = (operation: Operation): string[] => (operation.parameters ?? []).map(({ name }) => name);
  const item = paths['/apis/apps/v1/namespaces/{namespace}/deployments/{name}']!;
  const collection = paths['/apis/apps/v1/namespaces/{namespace}/deployments']!;
  t.deepEqual(names(item.patch), ['dryRun', 'fieldManager', 'fieldValidation', 'force']);
  t.deepEqual(names(item.put), ['dryRun', 'fieldManager', 'fieldValidation']);
  t.deepEqual(names(collection.post), ['dryRun', 'fieldManager', 'fieldValidation']);
  t.true(names(item.delete).includes('propagationPolicy'));
  t.true(names(collection.get).includes('watch'));
  t.deepEqual(item.patch['x-kubernetes-group-version-kind'], { group: 'apps', version: 'v1', kind: 'Deployment' });
  t.is(item.patch['x-kubernetes-action'], 'patch');
  t.is(collection.get['x-kubernetes-action'], 'list');
  t.deepEqual(Object.keys(paths['/apis/apps/v1/deployments']!), ['get', 'parameters']);
  const scale = paths['/apis/apps/v1/namespaces/{namespace}/deployments/{name}/scale']!;
  t.deepEqual(scale.patch['x-kubernetes-group-version-kind'], { group: 'autoscaling', version: 'v1', kind: 'Scale' });
});

test('schemas carry merge keys, list types, requiredness and formats', (t) => {
  const { schemas } = documentOf('', 'v1').components;
  const container = schemas['io.k8s.api.core.v1.Container']!;
  t.like(container.properties['ports'], {
    type: 'array',
    'x-kubernetes-patch-merge-key': 'containerPort',
    'x-kubernetes-patch-strategy': 'merge',
    'x-kubernetes-list-type': 'map',
    'x-kubernetes-list-map-keys': ['containerPort', 'protocol'],
  });
  t.deepEqual(container.required, ['name']);
  t.like(schemas['io.k8s.api.core.v1.ContainerPort']!.properties['protocol'], {
    type: 'string',
    default: 'TCP',
    enum: ['TCP', 'UDP', 'SCTP'],
  });
  t.like(schemas['io.k8s.api.core.v1.ContainerPort']!.properties['containerPort'], {
    type: 'integer',
    format: 'int32',
  });
  t.deepEqual(schemas['io.k8s.api.core.v1.Pod']!.properties['spec'], {
    allOf: [{ $ref: '#/components/schemas/io.k8s.api.core.v1.PodSpec' }],
    default: {},
  });
  t.true('io.k8s.apimachinery.pkg.api.resource.Quantity' in schemas);
});

test('a custom resource is an open object of its kind', (t) => {
  const { schemas } = documentOf('example.com', 'v1').components;
  t.like(schemas['com.example.v1.Thing'], { type: 'object', 'x-kubernetes-preserve-unknown-fields': true });
});

test('documents are made once, and only for what is served', (t) => {
  t.is(documentOf('apps', 'v1'), documentOf('apps', 'v1'));
  t.is(openApiDocument({ group: 'nowhere', version: 'v1' }, resources), undefined);
});
