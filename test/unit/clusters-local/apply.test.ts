import test from 'ava';
import type { Cluster, KubernetesObject, WriteOptions } from '../../../kernel/contract/index.ts';
import type { ConfigMap, Deployment, ManagedFieldsEntry } from '../../../kernel/contract/kubernetes.ts';
import type { ResourceType } from '../../../kernel/contract/index.ts';
import { eventually, memoryStore, ns, open, pod, refusal, types } from './harness.ts';

const key = (name: string) => ({ namespace: ns, name });

function applier(cluster: Cluster, manager: string, more: WriteOptions = {}) {
  return <T extends KubernetesObject>(type: ResourceType<T>, body: { metadata: { name: string } }, force = false) =>
    cluster.patch(type, key(body.metadata.name), { kind: 'apply', body, force }, { fieldManager: manager, ...more });
}

const map = (data: Record<string, string>, metadata: object = {}) => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { name: 'm', ...metadata },
  data,
});

const web = (spec: object = {}, labels: Record<string, string> = { app: 'web' }) => ({
  apiVersion: 'apps/v1',
  kind: 'Deployment',
  metadata: { name: 'web', labels },
  spec: {
    selector: { matchLabels: { app: 'web' } },
    template: { metadata: { labels: { app: 'web' } }, spec: { containers: [{ name: 'c', image: 'host' }] } },
    ...spec,
  },
});

/** "manager Apply" -> its fields. */
function owners({ metadata }: KubernetesObject): Record<string, unknown> {
  const name = ({ manager, operation, subresource }: ManagedFieldsEntry) =>
    [manager, operation, subresource].filter(Boolean).join(' ');
  return Object.fromEntries((metadata.managedFields ?? []).map((entry) => [name(entry), entry.fieldsV1]));
}

const data = (...names: string[]) => ({ 'f:data': Object.fromEntries(names.map((name) => [`f:${name}`, {}])) });

test('creates what is not there, and leaves alone what is as wanted', async (t) => {
  const { cluster } = await open(t);
  const apply = applier(cluster, 'a');
  const made = await apply(types.configMaps, map({ x: '1' }));
  t.truthy(made.metadata.uid);
  t.deepEqual(owners(made), { 'a Apply': data('x') });
  const again = await apply(types.configMaps, map({ x: '1' }));
  t.is(again, made, 'nothing was written');
  const changed = await apply(types.configMaps, map({ x: '2' }));
  t.is(changed.metadata.uid, made.metadata.uid);
  t.deepEqual(changed.data, { x: '2' });
});

test('a manager takes away only what it alone named', async (t) => {
  const { cluster } = await open(t);
  const [a, b] = [applier(cluster, 'a'), applier(cluster, 'b')];
  await a(types.configMaps, map({ x: '1', shared: 's', mine: 'm' }));
  await b(types.configMaps, map({ y: '1', shared: 's' }));
  const left = await a(types.configMaps, map({ x: '1' }));
  t.deepEqual(left.data, { shared: 's', x: '1', y: '1' });
  t.deepEqual(owners(left), { 'a Apply': data('x'), 'b Apply': data('shared', 'y') });
});

test('two managers that want different values: a conflict that names both, or force', async (t) => {
  const { cluster } = await open(t);
  const [a, b] = [applier(cluster, 'a'), applier(cluster, 'b')];
  await a(types.configMaps, map({ x: '1', y: '1' }));
  const one = await refusal(t, b(types.configMaps, map({ x: '2' })), 'CONFLICT');
  t.is(one.message, 'Apply failed with 1 conflict: conflict with "a": .data.x');
  t.deepEqual(one.details.causes, [{ reason: 'FieldManagerConflict', message: 'conflict with "a"', field: '.data.x' }]);
  const two = await refusal(t, b(types.configMaps, map({ x: '2', y: '2' })), 'CONFLICT');
  t.is(two.message, 'Apply failed with 2 conflicts: conflicts with "a":\n- .data.x\n- .data.y');
  t.deepEqual((await cluster.get(types.configMaps, key('m'))).data, { x: '1', y: '1' });
  const forced = await b(types.configMaps, map({ x: '2' }), true);
  t.deepEqual(owners(forced), { 'a Apply': data('y'), 'b Apply': data('x') });
  await refusal(t, a(types.configMaps, map({ x: '1', y: '1' })), 'CONFLICT');
  t.deepEqual((await a(types.configMaps, map({ y: '3' }))).data, { x: '2', y: '3' });
});

test('a write by somebody without a name takes the field, too', async (t) => {
  const { cluster } = await open(t);
  const a = applier(cluster, 'a');
  await a(types.configMaps, map({ x: '1', y: '1' }));
  const patched = await cluster.patch(types.configMaps, key('m'), { kind: 'merge', body: { data: { x: '2' } } });
  t.deepEqual(owners(patched), { 'a Apply': data('y'), 'pintle Update': data('x') });
  await refusal(t, a(types.configMaps, map({ x: '1', y: '1' })), 'CONFLICT');
  t.deepEqual((await a(types.configMaps, map({ x: '2', y: '1' }))).data, { x: '2', y: '1' });
});

test('who names no manager is not followed, until the first apply', async (t) => {
  const { cluster } = await open(t);
  const made = await cluster.create(types.configMaps, { metadata: { name: 'm', namespace: ns }, data: { x: '1' } });
  t.is(made.metadata.managedFields, undefined);
  const updated = await cluster.update(types.configMaps, { ...made, data: { x: '2' } }, { fieldManager: 'u' });
  t.is(updated.metadata.managedFields, undefined);
  const error = await refusal(t, applier(cluster, 'a')(types.configMaps, map({ x: '3' })), 'CONFLICT');
  t.regex(error.message, /conflict with "before-first-apply" using v1: \.data\.x$/);
  const applied = await applier(cluster, 'a')(types.configMaps, map({ x: '2', y: '1' }));
  t.deepEqual(Object.keys(owners(applied)).sort(), ['a Apply', 'before-first-apply Update']);
});

test('create, update and status say who, each under its own name', async (t) => {
  const { cluster } = await open(t);
  const created = await cluster.create(
    types.deployments,
    { ...web(), metadata: { name: 'web', namespace: ns } } as never,
    {
      fieldManager: 'kubectl-create',
    },
  );
  t.deepEqual(Object.keys(owners(created)), ['kubectl-create Update']);
  t.false(JSON.stringify(owners(created)).includes('f:generation'));
  const labelled = await cluster.patch(
    types.deployments,
    key('web'),
    { kind: 'strategic', body: { metadata: { labels: { l: 'm' } } } },
    { fieldManager: 'kubectl-label' },
  );
  t.deepEqual(owners(labelled)['kubectl-label Update'], { 'f:metadata': { 'f:labels': { '.': {}, 'f:l': {} } } });
  const status = await cluster.patch(
    types.deployments,
    key('web'),
    { kind: 'merge', body: { status: { replicas: 1 } } },
    { subresource: 'status' },
  );
  t.deepEqual(owners(status)['pintle Update status'], { 'f:status': { 'f:replicas': {} } });
  const same = await cluster.update(types.deployments, structuredClone(status), { fieldManager: 'nobody' });
  t.is(same, status);
  const without = structuredClone(status);
  delete without.metadata.managedFields;
  t.is(await cluster.update(types.deployments, without, { fieldManager: 'nobody' }), status, 'left out is unchanged');
  const cleared = structuredClone(status);
  cleared.metadata.managedFields = [{}];
  t.is((await cluster.update(types.deployments, cleared)).metadata.managedFields, undefined);
});

test('what the server fills in belongs to nobody', async (t) => {
  const { cluster } = await open(t);
  const service = {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 's' },
    spec: { selector: { a: 'b' }, ports: [{ port: 80 }] },
  };
  const made = await applier(cluster, 'a')(types.services, service);
  t.truthy(made.spec.clusterIP);
  t.deepEqual(owners(made)['a Apply'], {
    'f:spec': {
      'f:ports': { 'k:{"port":80,"protocol":"TCP"}': { '.': {}, 'f:port': {} } },
      'f:selector': {},
    },
  });
  const two = await applier(cluster, 'a')(types.services, {
    ...service,
    spec: { ...service.spec, ports: [{ port: 81 }] },
  } as typeof service);
  t.is(two.spec.clusterIP, made.spec.clusterIP);
  t.deepEqual(
    two.spec.ports!.map(({ port }) => port),
    [81],
  );
});

test('status and scale', async (t) => {
  const { cluster } = await open(t);
  await applier(cluster, 'a')(types.deployments, web({ replicas: 2 }));
  const status = applier(cluster, 'controller', { subresource: 'status' });
  const reported = await status(types.deployments, {
    ...web({ replicas: 9 }),
    status: { replicas: 2 },
  } as never);
  t.is(reported.status!.replicas, 2);
  t.is(reported.spec.replicas, 2);
  t.deepEqual(owners(reported)['controller Apply status'], { 'f:status': { 'f:replicas': {} } });
  await refusal(t, status(types.deployments, { metadata: { name: 'absent' } }), 'NOT_FOUND');

  const scale = (replicas: number, force = false) =>
    cluster.patch(
      types.deployments,
      key('web'),
      { kind: 'apply', body: { apiVersion: 'autoscaling/v1', kind: 'Scale', spec: { replicas } }, force },
      { subresource: 'scale', fieldManager: 'autoscaler' },
    ) as Promise<unknown> as Promise<{ kind: string; spec: { replicas: number } }>;
  t.regex((await refusal(t, scale(5), 'CONFLICT')).message, /conflict with "a": \.spec\.replicas$/);
  const scaled = await scale(5, true);
  t.is(scaled.kind, 'Scale');
  t.is(scaled.spec.replicas, 5);
  const after = await cluster.get(types.deployments, key('web'));
  t.deepEqual(owners(after)['autoscaler Apply scale'], { 'f:spec': { 'f:replicas': {} } });
  t.is(after.metadata.generation, 2);
  await refusal(t, scale(-1, true), 'INVALID');
  t.is((await applier(cluster, 'a')(types.deployments, web())).spec.replicas, 5, 'given up, not taken away');
});

test('a field that was given up gets its default again', async (t) => {
  const { cluster } = await open(t);
  const apply = applier(cluster, 'a');
  t.is((await apply(types.deployments, web({ replicas: 4, minReadySeconds: 7 }))).spec.replicas, 4);
  const back = await apply(types.deployments, web());
  t.is(back.spec.replicas, 1);
  t.is(back.spec.minReadySeconds, undefined);
});

test('values are compared in canonical form', async (t) => {
  const { cluster } = await open(t);
  const wanted = (cpu: string) => ({
    apiVersion: 'v1',
    kind: 'Pod',
    ...pod('p', { containers: [{ name: 'main', image: 'host', resources: { limits: { cpu } } }] }),
    metadata: { name: 'p' },
  });
  const first = await applier(cluster, 'a')(types.pods, wanted('1000m'));
  t.is(await applier(cluster, 'a')(types.pods, wanted('1')), first);
  await t.notThrowsAsync(applier(cluster, 'b')(types.pods, wanted('1')));
});

test('dry run', async (t) => {
  const { cluster } = await open(t);
  const dry = applier(cluster, 'a', { dryRun: true });
  t.deepEqual((await dry(types.configMaps, map({ x: '1' }))).data, { x: '1' });
  await refusal(t, cluster.get(types.configMaps, key('m')), 'NOT_FOUND');
  await applier(cluster, 'a')(types.configMaps, map({ x: '1' }));
  t.deepEqual((await dry(types.configMaps, map({ x: '2' }))).data, { x: '2' });
  t.deepEqual((await cluster.get(types.configMaps, key('m'))).data, { x: '1' });
});

test('refused', async (t) => {
  const { cluster } = await open(t);
  const apply = applier(cluster, 'a');
  const live = await apply(types.configMaps, map({ x: '1' }));
  const bad = (body: object, code: Parameters<typeof refusal>[2]) =>
    refusal(t, cluster.patch(types.configMaps, key('m'), { kind: 'apply', body }, { fieldManager: 'b' }), code);
  await bad({ ...map({}), kind: 'Secret' }, 'BAD_REQUEST');
  await bad({ ...map({}), apiVersion: 'v2' }, 'BAD_REQUEST');
  await bad({ ...map({}), metadata: 'x' }, 'BAD_REQUEST');
  await bad({ ...map({}), metadata: { name: 'other' } }, 'BAD_REQUEST');
  await bad({ ...map({}), metadata: { name: 'm', namespace: 'other' } }, 'BAD_REQUEST');
  await bad({ ...map({}), metadata: { name: 'm', managedFields: live.metadata.managedFields } }, 'BAD_REQUEST');
  await bad({ ...map({}), metadata: { name: 'm', resourceVersion: '1' } }, 'CONFLICT');
  await bad({ ...map({}), metadata: { name: 'm', uid: 'other' } }, 'CONFLICT');
  await bad([] as object, 'BAD_REQUEST');
  const unknown = await bad({ ...map({}), specs: 1 }, 'BAD_REQUEST');
  t.is(
    unknown.message,
    'failed to create typed patch object (default/m; v1, Kind=ConfigMap): .specs: field not declared in schema',
  );
  await bad(map({ 'not/a/key': 'x' }), 'INVALID');
  const pinned = { ...map({}), metadata: { name: 'new', uid: 'x' } };
  await refusal(t, apply(types.configMaps, pinned), 'CONFLICT');
  await refusal(t, apply(types.deployments, web({ template: undefined })), 'INVALID');
  const elsewhere = { kind: 'apply', body: map({}) } as const;
  const absent = { namespace: 'absent', name: 'm' };
  await refusal(t, cluster.patch(types.configMaps, absent, elsewhere, { fieldManager: 'a' }), 'NOT_FOUND');
  t.is(await cluster.get(types.configMaps, key('m')), live);
});

test('__proto__ is data here, too', async (t) => {
  const { cluster } = await open(t);
  const body = JSON.parse(
    '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"m"},"data":{"__proto__":"a","constructor":"b"}}',
  ) as { metadata: { name: string } };
  const made = await applier(cluster, 'a')(types.configMaps, body);
  t.is(Object.getOwnPropertyDescriptor(made.data, '__proto__')?.value, 'a');
  const without = await applier(cluster, 'a')(types.configMaps, map({ constructor: 'b' } as never));
  t.deepEqual(Object.keys(without.data!), ['constructor']);
  t.is(({} as Record<string, unknown>)['polluted'], undefined);
});

test('many appliers at once: each keeps its field; one of many creates', async (t) => {
  const { cluster } = await open(t);
  const names = Array.from({ length: 40 }, (_, index) => `f${index}`);
  await Promise.all(names.map((name) => applier(cluster, name)(types.configMaps, map({ [name]: 'x' }))));
  const all = await cluster.get(types.configMaps, key('m'));
  t.deepEqual(Object.keys(all.data!).sort(), [...names].sort());
  t.is(all.metadata.managedFields!.length, 40);
  await Promise.all(names.slice(1).map((name) => applier(cluster, name)(types.configMaps, map({}))));
  t.deepEqual((await cluster.get(types.configMaps, key('m'))).data, { f0: 'x' });
});

test('apply and delete take turns: every apply ends, and only with what it may say', async (t) => {
  const { cluster } = await open(t);
  let isOver = false;
  const deleting = (async () => {
    while (!isOver) {
      await cluster.delete(types.configMaps, key('m')).catch(() => undefined);
      await new Promise((resolve) => setImmediate(resolve));
    }
  })();
  for (let round = 0; round < 300; round++) {
    const made = await applier(cluster, 'a')(types.configMaps, map({ x: String(round) }));
    t.is(made.data!['x'], String(round));
  }
  isOver = true;
  await deleting;
});

test('ownership outlives a restart', async (t) => {
  const store = memoryStore(t);
  const one = await open(t, { store });
  const before: ConfigMap = await applier(one.cluster, 'a')(types.configMaps, map({ x: '1' }));
  await one.cluster[Symbol.asyncDispose]();
  const two = await open(t, { store });
  let after: ConfigMap | undefined;
  await eventually(async () => (after = await two.cluster.get(types.configMaps, key('m'))) !== undefined);
  t.deepEqual(after!.metadata.managedFields, before.metadata.managedFields);
  await refusal(t, applier(two.cluster, 'b')(types.configMaps, map({ x: '2' })), 'CONFLICT');
});

test('deletion and eviction leave ownership as it is', async (t) => {
  const { cluster } = await open(t);
  const held: Deployment = await applier(cluster, 'a')(types.deployments, {
    ...web(),
    metadata: { name: 'web', finalizers: ['example.com/held'] },
  } as never);
  await cluster.delete(types.deployments, key('web'));
  const dying = await cluster.get(types.deployments, key('web'));
  t.truthy(dying.metadata.deletionTimestamp);
  t.deepEqual(dying.metadata.managedFields, held.metadata.managedFields);
  await applier(cluster, 'a')(types.deployments, web());
  await refusal(t, cluster.get(types.deployments, key('web')), 'NOT_FOUND');
});

test('managedFields that a client makes up: what cannot be read is as good as nothing said', async (t) => {
  const { cluster } = await open(t);
  const live = await applier(cluster, 'a')(types.configMaps, map({ x: '1' }));
  const [entry] = live.metadata.managedFields!;
  const made: unknown[] = [
    [{ ...entry, fieldsV1: { 'x:y': {} } }],
    [{ ...entry, fieldsV1: { 'k:{': {} } }],
    [{ ...entry, fieldsV1: 'f:data' }],
    [{ ...entry, fieldsV1: { 'v:{"a"': {} } }],
  ];
  for (const managedFields of made) {
    const update = { ...live, metadata: { ...live.metadata, managedFields } } as ConfigMap;
    const same = await cluster.update(types.configMaps, update, { fieldManager: 'u' });
    t.is(same, live, JSON.stringify(managedFields));
  }
  const patch = (managedFields: unknown) =>
    cluster.patch(types.configMaps, key('m'), { kind: 'merge', body: { metadata: { managedFields } } });
  await refusal(t, patch('x'), 'BAD_REQUEST');
  await refusal(t, patch([{ ...entry, time: 'yesterday' }]), 'BAD_REQUEST');
  const proto = JSON.parse('{"f:data":{"f:__proto__":{},"f:x":{}}}') as object;
  const taken = await patch([{ ...entry, manager: 'other', fieldsV1: proto }]);
  t.deepEqual(Object.keys(owners(taken)), ['other Apply']);
  t.is(({} as Record<string, unknown>)['f:x'], undefined);
  t.is((await patch(null)).metadata.managedFields?.length, 1, 'null says nothing');
});

test('two versions of one kind: each manager in its own', async (t) => {
  const { cluster } = await open(t);
  const target = { apiVersion: 'apps/v1', kind: 'Deployment', name: 'web' };
  const v1 = {
    apiVersion: 'autoscaling/v1',
    kind: 'HorizontalPodAutoscaler',
    metadata: { name: 'h' },
    spec: { scaleTargetRef: target, maxReplicas: 3, targetCPUUtilizationPercentage: 70 },
  };
  const made = await applier(cluster, 'old')(types.horizontalPodAutoscalersV1, v1);
  t.is(made.spec.targetCPUUtilizationPercentage, 70);
  const shown = await cluster.get(types.horizontalPodAutoscalers, key('h'));
  t.is(shown.metadata.managedFields![0]!.apiVersion, 'autoscaling/v1');
  const v2 = { ...v1, apiVersion: 'autoscaling/v2', spec: { scaleTargetRef: target, maxReplicas: 5 } };
  await refusal(t, applier(cluster, 'new')(types.horizontalPodAutoscalers, v2), 'CONFLICT');
  const forced = await applier(cluster, 'new')(types.horizontalPodAutoscalers, v2, true);
  t.is(forced.spec.maxReplicas, 5);
  t.is(forced.spec.metrics!.length, 1, 'what the other set stays');
  t.deepEqual(Object.keys(owners(forced)).sort(), ['new Apply', 'old Apply']);
});

test('cluster-scoped objects; metadata as lists of keys', async (t) => {
  const { cluster } = await open(t);
  const node = (manager: string, labels: object, finalizers: string[]) =>
    cluster.patch(
      types.nodes,
      { name: 'n' },
      { kind: 'apply', body: { apiVersion: 'v1', kind: 'Node', metadata: { name: 'n', labels, finalizers } } },
      { fieldManager: manager },
    );
  await node('a', { a: '1' }, ['e.com/a']);
  const both = await node('b', { b: '1' }, ['e.com/b']);
  t.deepEqual(both.metadata.labels, { a: '1', b: '1' });
  t.deepEqual([...both.metadata.finalizers!].sort(), ['e.com/a', 'e.com/b']);
  const one = await node('b', {}, []);
  t.deepEqual(one.metadata.labels, { a: '1' });
  t.deepEqual(one.metadata.finalizers, ['e.com/a']);
});

test('a write that cannot be followed goes through all the same', async (t) => {
  const { cluster } = await open(t);
  const made = await cluster.create(types.pods, pod('p'), { fieldManager: 'kubectl-run' });
  const nameless = { status: { conditions: [{ status: 'True' }], phase: 'Running' } };
  const patched = await cluster.patch(
    types.pods,
    key('p'),
    { kind: 'merge', body: nameless },
    { subresource: 'status', fieldManager: 'u' },
  );
  t.is(patched.status!.phase, 'Running');
  t.deepEqual(patched.metadata.managedFields, made.metadata.managedFields);
  const labelled = await cluster.patch(types.pods, key('p'), {
    kind: 'merge',
    body: { metadata: { labels: { a: 'b' } } },
  });
  t.deepEqual(labelled.metadata.labels, { a: 'b' });
});
