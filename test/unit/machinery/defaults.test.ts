import { readFileSync } from 'node:fs';
import test from 'ava';
import type { JsonObject } from '../../../kernel/machinery/json-value.ts';
import { applyDefaults } from '../../../kernel/machinery/schema/defaults.ts';
import { checkShape } from '../../../kernel/machinery/schema/validate.ts';

interface Case {
  readonly type: string;
  readonly object: JsonObject;
  readonly expected: JsonObject;
}
const cases = JSON.parse(
  readFileSync(new URL('../../../../test/fixtures/oracle/defaults.json', import.meta.url), 'utf8'),
) as Case[];

/** Go prints structs that are empty and zeros that cannot be left out; neither is a default. */
function significant(value: unknown): unknown {
  if (Array.isArray(value)) return value.map((item) => significant(item) ?? null);
  if (typeof value !== 'object' || value === null)
    return value === '' || value === 0 || value === false || value === null ? undefined : value;
  const entries = Object.entries(value)
    .map(([key, child]) => [key, significant(child)] as const)
    .filter(([, child]) => child !== undefined);
  return entries.length === 0 ? undefined : Object.fromEntries(entries);
}

test('there are enough cases', (t) => t.true(cases.length > 80));
for (const [index, { type, object, expected }] of cases.entries()) {
  test(`defaults ${index}: ${type}`, (t) => {
    const completed = applyDefaults(type, checkShape(type, object).object);
    t.deepEqual(significant(completed), significant(expected));
    t.deepEqual(applyDefaults(type, completed), completed, 'a second time changes nothing');
  });
}

test('defaults that are empty or zero', (t) => {
  const pod = applyDefaults<JsonObject>('core/v1.Pod', {
    metadata: {},
    spec: { containers: [{ name: 'a' }], volumes: [{ name: 'v' }, { name: 'h', hostPath: { path: '/x' } }] },
  });
  const spec = pod['spec'] as { securityContext: unknown; containers: { resources: unknown }[]; volumes: unknown[] };
  t.deepEqual(spec.securityContext, {});
  t.deepEqual(spec.containers[0]!.resources, {});
  t.deepEqual(spec.volumes, [
    { name: 'v', emptyDir: {} },
    { name: 'h', hostPath: { path: '/x', type: '' } },
  ]);
  const daemonSet = applyDefaults<JsonObject>('apps/v1.DaemonSet', { spec: {} });
  t.like(daemonSet, { spec: { updateStrategy: { rollingUpdate: { maxUnavailable: 1, maxSurge: 0 } } } });
  const job = applyDefaults<JsonObject>('batch/v1.Job', { spec: {} });
  t.like(job, { spec: { suspend: false, manualSelector: false } });
  t.like(applyDefaults<JsonObject>('discovery/v1.EndpointSlice', { ports: [{ port: 1 }] }), {
    ports: [{ name: '', protocol: 'TCP', port: 1 }],
  });
});

test('explicit zeros and choices are kept', (t) => {
  const deployment = applyDefaults<JsonObject>('apps/v1.Deployment', {
    spec: { replicas: 0, strategy: { type: 'Recreate' }, revisionHistoryLimit: 0 },
  });
  t.like(deployment, { spec: { replicas: 0, strategy: { type: 'Recreate' }, revisionHistoryLimit: 0 } });
  t.false('rollingUpdate' in (deployment['spec'] as { strategy: object }).strategy);
});

test('requests default to limits in a pod, not in a template', (t) => {
  const spec = {
    containers: [{ name: 'a', resources: { limits: { cpu: '1', memory: '1Gi' }, requests: { cpu: '500m' } } }],
  };
  t.like(applyDefaults<JsonObject>('core/v1.Pod', { spec }), {
    spec: { containers: [{ resources: { requests: { cpu: '500m', memory: '1Gi' } } }] },
  });
  t.like(applyDefaults<JsonObject>('apps/v1.Deployment', { spec: { template: { spec } } }), {
    spec: { template: { spec: { containers: [{ resources: { requests: { cpu: '500m' } } }] } } },
  });
  t.false(
    JSON.stringify(applyDefaults<JsonObject>('apps/v1.Deployment', { spec: { template: { spec } } })).includes(
      '"requests":{"cpu":"500m","memory"',
    ),
  );
});

test('frozen objects are not touched', (t) => {
  const object = Object.freeze({ metadata: Object.freeze({ name: 'n' }) });
  t.like(applyDefaults<object>('core/v1.Namespace', object), {
    metadata: { labels: { 'kubernetes.io/metadata.name': 'n' } },
    status: { phase: 'Active' },
  });
  t.deepEqual(object, { metadata: { name: 'n' } });
});

const policies: [image: unknown, policy: string][] = [
  ['nginx', 'Always'],
  ['nginx:latest', 'Always'],
  ['nginx:1.27', 'IfNotPresent'],
  ['a.example:5000/x/y', 'Always'],
  ['a.example:5000/x/y:latest', 'Always'],
  ['a.example:5000/x/y:1', 'IfNotPresent'],
  [`nginx@sha256:${'a'.repeat(64)}`, 'IfNotPresent'],
  [`nginx:latest@sha256:${'a'.repeat(64)}`, 'Always'],
  ['Not An Image', 'IfNotPresent'],
  ['', 'IfNotPresent'],
  [undefined, 'IfNotPresent'],
  [`${'a-'.repeat(50_000)}!`, 'IfNotPresent'],
];
for (const [image, policy] of policies) {
  test(`image ${String(image).slice(0, 40)} is pulled ${policy}`, (t) => {
    t.like(applyDefaults<JsonObject>('core/v1.Pod', { spec: { containers: [{ image }] } }), {
      spec: { containers: [{ imagePullPolicy: policy }] },
    });
  });
}
