import test from 'ava';
import type { Deployment } from '../../../kernel/contract/kubernetes.ts';
import { configMap, eventually, memoryStore, ns, open, pod, refusal, types } from './harness.ts';

const key = (name: string) => ({ namespace: ns, name });
const web = (name = 'web'): Parameters<typeof create>[0] => ({
  metadata: { name, namespace: ns },
  spec: {
    selector: { matchLabels: { app: 'web' } },
    template: { metadata: { labels: { app: 'web' } }, spec: { containers: [{ name: 'c', image: 'host' }] } },
  },
});
const create = (object: { metadata: object; spec: Deployment['spec'] }) => object;

test('a stale resourceVersion is a conflict, in the words that clients look for', async (t) => {
  const { cluster } = await open(t);
  const first = await cluster.create(types.deployments, web());
  await cluster.update(types.deployments, { ...first, spec: { ...first.spec, replicas: 2 } });
  const stale = { ...first, spec: { ...first.spec, replicas: 3 } };
  const error = await refusal(t, cluster.update(types.deployments, stale), 'CONFLICT');
  t.is(
    error.message,
    'Operation cannot be fulfilled on deployments.apps "web": the object has been modified; please apply your changes to the latest version and try again',
  );
  const { resourceVersion: _version, ...metadata } = first.metadata;
  const forced = await cluster.update(types.deployments, { ...stale, metadata } as Deployment);
  t.is(forced.spec.replicas, 3);
  const patch = { kind: 'merge', body: { metadata: { resourceVersion: '1' }, spec: { replicas: 9 } } } as const;
  await refusal(t, cluster.patch(types.deployments, key('web'), patch), 'CONFLICT');
  const uid = { ...forced, metadata: { ...forced.metadata, uid: 'other' } };
  t.regex((await refusal(t, cluster.update(types.deployments, uid), 'CONFLICT')).message, /Precondition failed: UID/);
});

test('writers that compare and swap lose nothing', async (t) => {
  const { cluster } = await open(t);
  await cluster.create(types.configMaps, configMap('count', { data: { n: '0' } }));
  let conflicts = 0;
  const increment = async () => {
    for (;;) {
      const now = await cluster.get(types.configMaps, key('count'));
      try {
        await cluster.update(types.configMaps, { ...now, data: { n: String(Number(now.data!['n']) + 1) } });
        return;
      } catch (error) {
        if ((error as { code?: string }).code !== 'CONFLICT') throw error;
        conflicts++;
      }
    }
  };
  await Promise.all(
    Array.from({ length: 4 }, async () => {
      for (let round = 0; round < 50; round++) await increment();
    }),
  );
  t.is((await cluster.get(types.configMaps, key('count'))).data!['n'], '200');
  t.true(conflicts > 0, 'the writers did meet');
});

test('patches without a resourceVersion all arrive', async (t) => {
  const { cluster } = await open(t);
  await cluster.create(types.configMaps, configMap('m'));
  await Promise.all(
    Array.from({ length: 60 }, (_, index) =>
      cluster.patch(types.configMaps, key('m'), { kind: 'merge', body: { data: { [`k${index}`]: 'v' } } }),
    ),
  );
  t.is(Object.keys((await cluster.get(types.configMaps, key('m'))).data!).length, 60);
});

test('nothing is written when nothing changes', async (t) => {
  const { cluster } = await open(t);
  const made = await cluster.create(types.deployments, web());
  const before = cluster.server!.revision;
  t.is(await cluster.update(types.deployments, structuredClone(made)), made);
  t.is(await cluster.patch(types.deployments, key('web'), { kind: 'merge', body: {} }), made);
  t.is(await cluster.patch(types.deployments, key('web'), { kind: 'merge', body: { spec: { replicas: 1 } } }), made);
  t.is(await cluster.update(types.deployments, made, { subresource: 'status' }), made);
  t.is(cluster.server!.revision, before);
});

test('spec and status are two worlds; generation counts the spec', async (t) => {
  const { cluster } = await open(t);
  const made = await cluster.create(types.deployments, { ...web(), status: { replicas: 7 } } as never);
  t.is(made.status?.replicas, undefined, 'a new object has no status of its creator');
  t.is(made.metadata.generation, 1);
  const a = await cluster.update(types.deployments, {
    ...made,
    spec: { ...made.spec, replicas: 5 },
    status: { replicas: 9 },
  });
  t.is(a.spec.replicas, 5);
  t.is(a.status?.replicas, undefined);
  t.is(a.metadata.generation, 2);
  const b = await cluster.update(
    types.deployments,
    {
      ...a,
      metadata: { ...a.metadata, annotations: { x: 'y' }, labels: { no: 'no' }, finalizers: ['a/b'] },
      spec: { ...a.spec, replicas: 1 },
      status: { replicas: 3, observedGeneration: 2 },
    },
    { subresource: 'status' },
  );
  t.is(b.spec.replicas, 5);
  t.deepEqual(b.status, { replicas: 3, observedGeneration: 2 });
  t.is(b.metadata.generation, 2);
  t.deepEqual(b.metadata.annotations, { x: 'y' });
  t.is(b.metadata.labels, undefined);
  t.is(b.metadata.finalizers, undefined);
  const c = await cluster.patch(types.deployments, key('web'), {
    kind: 'merge',
    body: { metadata: { labels: { l: 'm' } }, status: { replicas: 4 } },
  });
  t.is(c.status?.replicas, 3);
  t.is(c.metadata.generation, 2, 'labels are not spec');
});

test('four kinds of patch', async (t) => {
  const { cluster } = await open(t);
  await cluster.create(types.deployments, web());
  const patch = (kind: 'json' | 'merge' | 'strategic' | 'apply', body: unknown, subresource?: string) =>
    cluster.patch(types.deployments, key('web'), { kind, body }, { subresource });
  t.is((await patch('json', [{ op: 'replace', path: '/spec/replicas', value: 4 }])).spec.replicas, 4);
  const container = { name: 'c', image: 'other' };
  const strategic = await patch('strategic', {
    spec: { template: { spec: { containers: [container, { name: 'd', image: 'host' }] } } },
  });
  t.deepEqual(strategic.spec.template.spec!.containers.map(({ name, image }) => [name, image]).sort(), [
    ['c', 'other'],
    ['d', 'host'],
  ]);
  const merged = await patch('merge', { spec: { template: { spec: { containers: [container] } } } });
  t.is(merged.spec.template.spec!.containers.length, 1);
  await refusal(t, patch('apply', {}), 'INVALID');
  await refusal(t, patch('merge', { metadata: { name: 'other' } }), 'BAD_REQUEST');
  await refusal(t, patch('merge', { spec: { replicas: 'x' } }), 'BAD_REQUEST');
  await refusal(t, patch('merge', { spec: { replicas: -1 } }), 'INVALID');
  await refusal(t, patch('json', { op: 'x' }), 'BAD_REQUEST');
  await refusal(t, patch('merge', {}, 'nosuch'), 'NOT_FOUND');
  await refusal(t, cluster.patch(types.deployments, key('none'), { kind: 'merge', body: {} }), 'NOT_FOUND');
});

test('dry runs of update and patch keep nothing', async (t) => {
  const { cluster } = await open(t);
  await cluster.create(types.deployments, web());
  const before = cluster.server!.revision;
  const dry = await cluster.patch(
    types.deployments,
    key('web'),
    { kind: 'merge', body: { spec: { replicas: 8 } } },
    { dryRun: true },
  );
  t.is(dry.spec.replicas, 8);
  t.is(cluster.server!.revision, before);
  t.is((await cluster.get(types.deployments, key('web'))).spec.replicas, 1);
});

test('the selector of a workload is immutable, whatever the kind', async (t) => {
  const { cluster } = await open(t);
  for (const type of [types.deployments, types.replicaSets, types.daemonSets] as const) {
    await cluster.create(type as typeof types.deployments, web());
    const body = {
      spec: { selector: { matchLabels: { app: 'x' } }, template: { metadata: { labels: { app: 'x' } } } },
    };
    const error = await refusal(
      t,
      cluster.patch(type as typeof types.deployments, key('web'), { kind: 'merge', body }),
      'INVALID',
    );
    t.regex(error.message, /spec\.selector: Invalid value: .*: field is immutable/);
  }
  await cluster.create(types.statefulSets, { ...web(), spec: { ...web().spec, serviceName: 'a' } });
  const error = await refusal(
    t,
    cluster.patch(types.statefulSets, key('web'), { kind: 'merge', body: { spec: { serviceName: 'b' } } }),
    'INVALID',
  );
  t.regex(error.message, /updates to statefulset spec for fields other than/);
});

test('what may change in a pod', async (t) => {
  const { cluster } = await open(t);
  await cluster.create(types.pods, pod('p', { nodeName: 'n1' }));
  const patch = (body: object) => cluster.patch(types.pods, key('p'), { kind: 'strategic', body });
  t.is((await patch({ spec: { containers: [{ name: 'main', image: 'new' }] } })).metadata.generation, 2);
  await patch({ spec: { activeDeadlineSeconds: 100 } });
  await patch({ metadata: { labels: { a: 'b' } } });
  const more = [{ key: 'x', operator: 'Exists' }];
  const tolerations = (await cluster.get(types.pods, key('p'))).spec.tolerations!;
  await patch({ spec: { tolerations: [...tolerations, ...more] } });
  const bad: [object, RegExp][] = [
    [{ spec: { nodeName: 'n2' } }, /pod updates may not change fields other than/],
    [{ spec: { containers: [{ name: 'main', command: ['x'] }] } }, /pod updates may not change/],
    [{ spec: { containers: [{ name: 'two', image: 'host' }] } }, /may not add or remove containers/],
    [{ spec: { activeDeadlineSeconds: 200 } }, /must be less than or equal to previous value/],
    [{ spec: { activeDeadlineSeconds: null } }, /must not update from a positive integer to nil/],
    [{ spec: { tolerations: null } }, /existing toleration can not be modified/],
    [{ spec: { restartPolicy: 'Never' } }, /pod updates may not change/],
  ];
  for (const [body, message] of bad) t.regex((await refusal(t, patch(body), 'INVALID')).message, message);
});

test('an object survives the restart on a kept store, with its revision', async (t) => {
  const store = memoryStore(t);
  const one = await open(t, { store });
  const made = await one.cluster.create(types.deployments, web());
  await one.cluster.create(types.configMaps, configMap('a', { data: { k: 'v' } }));
  await one.cluster.delete(types.configMaps, key('a'));
  const revision = one.cluster.server!.revision;
  await one.cluster[Symbol.asyncDispose]();
  const two = await open(t, { store });
  t.deepEqual(await two.cluster.get(types.deployments, key('web')), made);
  t.is(two.cluster.server!.revision, revision, 'bootstrap objects are not written again');
  await refusal(t, two.cluster.get(types.configMaps, key('a')), 'NOT_FOUND');
  const next = await two.cluster.patch(types.deployments, key('web'), {
    kind: 'merge',
    body: { spec: { paused: true } },
  });
  t.true(Number(next.metadata.resourceVersion) > revision);
});

test('two servers on one store see each other', async (t) => {
  const store = memoryStore(t);
  const [one, two] = [await open(t, { store }), await open(t, { store })];
  await one.cluster.create(types.configMaps, configMap('a'));
  await eventually(async () => (await two.cluster.list(types.configMaps)).items.length === 1);
  t.is((await two.cluster.get(types.configMaps, key('a'))).metadata.name, 'a');
  await refusal(t, two.cluster.create(types.configMaps, configMap('a')), 'ALREADY_EXISTS');
  await Promise.all(
    [one, two].flatMap(({ cluster }, which) =>
      Array.from({ length: 20 }, (_, index) =>
        cluster.patch(types.configMaps, key('a'), { kind: 'merge', body: { data: { [`${which}-${index}`]: 'x' } } }),
      ),
    ),
  );
  t.is(Object.keys((await two.cluster.get(types.configMaps, key('a'))).data!).length, 40);
});

test('a pod that waits for its gates may be given narrower placement, not wider', async (t) => {
  const { cluster } = await open(t);
  const expression = (key: string) => ({ key, operator: 'Exists' });
  const affinity = (...terms: object[]) => ({
    nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms: terms } },
    podAntiAffinity: {},
  });
  const spec = {
    ...pod('a').spec,
    schedulingGates: [{ name: 'example.com/a' }],
    nodeSelector: { a: 'b' },
    affinity: affinity({ matchExpressions: [expression('x')] }),
  };
  await cluster.create(types.pods, { ...pod('a'), spec } as never);
  const patch = (body: object) =>
    cluster.patch(types.pods, { namespace: ns, name: 'a' }, { kind: 'merge', body: { spec: body } });
  const no = async (body: object, message: RegExp) =>
    t.regex((await refusal(t, patch(body), 'INVALID')).message, message);
  await no({ nodeSelector: { a: 'c' } }, /spec\.nodeSelector: .* only additions to spec\.nodeSelector are allowed/);
  await no({ nodeSelector: null }, /only additions to spec\.nodeSelector/);
  await no({ affinity: null }, /nodeSelectorTerms: .* no additions\/deletions to non-empty NodeSelectorTerms list/);
  await no({ affinity: affinity({ matchExpressions: [expression('y')] }) }, /\[0\]: .* only additions are allowed/);
  await no({ affinity: { podAffinity: {}, podAntiAffinity: null } }, /spec: Forbidden: pod updates may not change/);
  const both = { matchExpressions: [expression('x'), expression('y')] };
  await patch({ nodeSelector: { c: 'd' }, affinity: affinity(both) });
  const { nodeSelector } = (await patch({ schedulingGates: null })).spec;
  t.deepEqual(nodeSelector, { a: 'b', c: 'd' });
  await no({ nodeSelector: { e: 'f' } }, /spec: Forbidden: pod updates may not change/);
});

test('a patch of the status alone is checked, and changes nothing else', async (t) => {
  const { cluster } = await open(t);
  const made = await cluster.create(types.pods, pod('p'));
  const status = (body: object, options: object = {}) =>
    cluster.patch(types.pods, key('p'), { kind: 'merge', body }, { subresource: 'status', ...options });
  const condition = { type: 'Ready', status: 'True' };
  const running = await status({
    metadata: { uid: made.metadata.uid, annotations: { a: 'b' }, finalizers: ['example.com/x'] },
    status: { phase: 'Running', conditions: [condition], podIP: null, message: '' },
  });
  t.is(running.status?.phase, 'Running');
  t.deepEqual(running.status?.conditions, [condition as never]);
  t.false('message' in running.status!, 'what is empty is not kept');
  t.is(running.status?.qosClass, made.status?.qosClass);
  t.deepEqual(running.metadata.annotations, { a: 'b' });
  t.is(running.metadata.finalizers, undefined);
  t.is(running.spec, made.spec, 'what has not changed is shared');
  t.is((await cluster.get(types.pods, key('p'))).status?.phase, 'Running');

  const also = await status({ spec: { nodeName: 'n' }, status: { phase: 'Pending' } });
  t.deepEqual([also.spec.nodeName, also.status?.phase], [undefined, 'Pending']);
  const wrong = await refusal(t, status({ status: { phase: 1 } }), 'BAD_REQUEST');
  t.regex(wrong.message, /status\.phase: expected/);
  const unknown = { status: { phase: 'Running', foo: 1 } };
  const strict = await refusal(t, status(unknown, { fieldValidation: 'Strict' }), 'BAD_REQUEST');
  t.regex(strict.message, /unknown field "status\.foo"/);
  const warned: string[] = [];
  await status(unknown, { fieldValidation: 'Warn', warn: (message: string) => warned.push(message) });
  t.deepEqual(warned, ['unknown field "status.foo"']);
  await refusal(t, status({ metadata: { uid: 'other' }, status: {} }), 'CONFLICT');
  const gone = await status({ status: null });
  t.is(gone.status, undefined);

  await cluster.create(types.nodes, { metadata: { name: 'n' }, spec: {}, status: {} });
  const body = { status: { allocatable: { cpu: '0.5', memory: '1.5Gi' } } };
  const node = await cluster.patch(types.nodes, { name: 'n' }, { kind: 'merge', body }, { subresource: 'status' });
  t.is(node.status?.allocatable?.['cpu'], '500m');
});
