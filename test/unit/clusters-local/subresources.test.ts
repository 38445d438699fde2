import test from 'ava';
import type { NodeService } from '../../../kernel/contract/index.ts';
import type { Pod, Scale } from '../../../kernel/contract/kubernetes.ts';
import { collect, eventually, handClock, ns, open, pod, refusal, types } from './harness.ts';

const key = (name: string) => ({ namespace: ns, name });
const template = { metadata: { labels: { a: 'b' } }, spec: pod('x').spec };
const workload = (name: string) => ({
  metadata: { name, namespace: ns },
  spec: { selector: { matchLabels: { a: 'b' } }, template },
});

test('scale', async (t) => {
  const { cluster } = await open(t);
  for (const type of [types.deployments, types.replicaSets, types.statefulSets] as const) {
    const made = await cluster.create(type as typeof types.deployments, workload('w'));
    const get = () => cluster.get(type as never, key('w'), { subresource: 'scale' }) as unknown as Promise<Scale>;
    const scale = await get();
    t.is(scale.kind, 'Scale');
    t.is(scale.apiVersion, 'autoscaling/v1');
    t.is(scale.spec!.replicas, 1);
    t.is(scale.status!.selector, 'a=b');
    t.is(scale.metadata.uid, made.metadata.uid);
    const patch = { kind: 'merge', body: { spec: { replicas: 4 } } } as const;
    const four = (await cluster.patch(type as never, key('w'), patch, { subresource: 'scale' })) as unknown as Scale;
    t.is(four.spec!.replicas, 4);
    const parent = await cluster.get(type as typeof types.deployments, key('w'));
    t.is(parent.spec.replicas, 4);
    t.is(parent.metadata.generation, 2);
    const put = (body: object) => cluster.update(type as never, body as never, { subresource: 'scale' });
    await refusal(t, put({ ...scale, spec: { replicas: 2 } }), 'CONFLICT');
    await refusal(t, put({ ...four, spec: { replicas: -2 } }), 'INVALID');
    await refusal(t, put({ ...four, kind: 'Deployment' }), 'BAD_REQUEST');
    const dry = (await cluster.patch(
      type as never,
      key('w'),
      { kind: 'merge', body: { spec: { replicas: 9 } } },
      { subresource: 'scale', dryRun: true },
    )) as unknown as Scale;
    t.is(dry.spec!.replicas, 9);
    t.is((await get()).spec!.replicas, 4);
  }
  await refusal(t, cluster.get(types.daemonSets as never, key('w'), { subresource: 'scale' }), 'NOT_FOUND');
  await cluster.create(types.daemonSets, workload('w'));
  await refusal(t, cluster.get(types.daemonSets as never, key('w'), { subresource: 'scale' }), 'NOT_FOUND');
});

const bind = (
  cluster: Awaited<ReturnType<typeof open>>['cluster'],
  name: string,
  node: string,
  metadata: object = {},
) =>
  cluster.create(
    types.pods,
    {
      apiVersion: 'v1',
      kind: 'Binding',
      metadata: { name, ...metadata },
      target: { kind: 'Node', name: node },
    } as never,
    { subresource: 'binding', parent: key(name) },
  );

test('binding: a pod gets its node once', async (t) => {
  const { cluster } = await open(t);
  const made = await cluster.create(types.pods, pod('p'));
  await refusal(t, bind(cluster, 'p', ''), 'INVALID');
  await refusal(t, bind(cluster, 'p', 'n1', { uid: 'other' }), 'CONFLICT');
  await refusal(t, bind(cluster, 'none', 'n1'), 'NOT_FOUND');
  const results = await Promise.allSettled(
    ['n1', 'n2', 'n3'].map((node) => bind(cluster, 'p', node, { uid: made.metadata.uid })),
  );
  t.is(results.filter(({ status }) => status === 'fulfilled').length, 1);
  const bound = await cluster.get(types.pods, key('p'));
  t.is(bound.spec.nodeName, 'n1');
  t.is(bound.metadata.generation, 1);
  t.like(bound.status?.conditions?.[0], { type: 'PodScheduled', status: 'True' });
  const again = await refusal(t, bind(cluster, 'p', 'n2'), 'CONFLICT');
  t.is(again.message, 'Operation cannot be fulfilled on pods/binding "p": pod p is already assigned to node "n1"');
  await cluster.create(types.pods, pod('g', { schedulingGates: [{ name: 'x/y' }] }));
  await refusal(t, bind(cluster, 'g', 'n1'), 'CONFLICT');
});

async function running(
  cluster: Awaited<ReturnType<typeof open>>['cluster'],
  name: string,
  ready = 'True',
): Promise<Pod> {
  const made = await cluster.create(types.pods, pod(name, { nodeName: 'n1' }, { labels: { app: 'db' } }));
  const status = { phase: 'Running', conditions: [{ type: 'Ready', status: ready }] };
  return cluster.update(types.pods, { ...made, status }, { subresource: 'status' });
}

const evict = (cluster: Awaited<ReturnType<typeof open>>['cluster'], name: string, more: object = {}) =>
  cluster.create(
    types.pods,
    { apiVersion: 'policy/v1', kind: 'Eviction', metadata: { name, namespace: ns }, ...more } as never,
    { subresource: 'eviction', parent: key(name) },
  );

test('eviction asks the disruption budget', async (t) => {
  const { cluster } = await open(t);
  for (const name of ['a', 'b', 'c']) await running(cluster, name);
  await evict(cluster, 'a', { deleteOptions: { gracePeriodSeconds: 0 } });
  await refusal(t, cluster.get(types.pods, key('a')), 'NOT_FOUND');
  const budget = await cluster.create(types.podDisruptionBudgets, {
    metadata: { name: 'pdb', namespace: ns },
    spec: { selector: { matchLabels: { app: 'db' } }, minAvailable: 1 },
  });
  const fresh = await refusal(t, evict(cluster, 'b'), 'TOO_MANY_REQUESTS');
  t.is(fresh.details.retryAfterSeconds, 10);
  t.regex(fresh.details.causes![0]!.message, /still being processed/);
  const set = (disruptionsAllowed: number) =>
    cluster.patch(
      types.podDisruptionBudgets,
      key('pdb'),
      {
        kind: 'merge',
        body: {
          status: {
            observedGeneration: budget.metadata.generation,
            disruptionsAllowed,
            desiredHealthy: 1,
            currentHealthy: 2,
          },
        },
      },
      { subresource: 'status' },
    );
  await set(0);
  const none = await refusal(t, evict(cluster, 'b'), 'TOO_MANY_REQUESTS');
  t.is(none.message, "Cannot evict pod as it would violate the pod's disruption budget.");
  t.like(none.details.causes![0], {
    reason: 'DisruptionBudget',
    message: 'The disruption budget pdb needs 1 healthy pods and has 2 currently',
  });
  await set(1);
  await evict(cluster, 'b', { deleteOptions: { dryRun: ['All'] } });
  const results = await Promise.allSettled([evict(cluster, 'b'), evict(cluster, 'c')]);
  t.is(results.filter(({ status }) => status === 'fulfilled').length, 1, 'one disruption, one pod');
  const { status } = await cluster.get(types.podDisruptionBudgets, key('pdb'));
  t.is(status?.disruptionsAllowed, 0);
  t.is(Object.keys(status?.disruptedPods ?? {}).length, 1);
  await running(cluster, 'unready', 'False');
  await evict(cluster, 'unready', { deleteOptions: { gracePeriodSeconds: 0 } });
  await refusal(t, cluster.get(types.pods, key('unready')), 'NOT_FOUND');
  await cluster.create(types.podDisruptionBudgets, {
    metadata: { name: 'two', namespace: ns },
    spec: { selector: {}, minAvailable: 1 },
  });
  await running(cluster, 'd');
  await refusal(t, evict(cluster, 'd'), 'INTERNAL');
});

test('ephemeral containers come, and stay', async (t) => {
  const { cluster } = await open(t);
  await cluster.create(types.pods, pod('p'));
  const patch = (ephemeralContainers: object[]) =>
    cluster.patch(
      types.pods,
      key('p'),
      { kind: 'strategic', body: { spec: { ephemeralContainers, containers: [{ name: 'main', image: 'hacked' }] } } },
      { subresource: 'ephemeralcontainers' },
    );
  const { spec, metadata } = await patch([{ name: 'debug', image: 'sh', targetContainerName: 'main' }]);
  t.is(spec.ephemeralContainers![0]!.name, 'debug');
  t.is(spec.containers[0]!.image, 'host', 'only ephemeral containers are taken');
  t.is(metadata.generation, 2);
  t.regex((await refusal(t, patch([{ name: 'debug', image: 'other' }]), 'INVALID')).message, /may not be changed/);
  t.regex((await refusal(t, patch([{ name: 'main', image: 'x' }]), 'INVALID')).message, /Duplicate value: "main"/);
  const body = {
    metadata: { name: 'q', namespace: ns },
    spec: { ...pod('q').spec, ephemeralContainers: [{ name: 'e', image: 'x' }] },
  };
  await refusal(t, cluster.create(types.pods, body), 'INVALID');
});

test('subresources that do not exist, and verbs that they do not have', async (t) => {
  const { cluster } = await open(t);
  await cluster.create(types.pods, pod('p'));
  const user = { metadata: { name: 'default', namespace: ns } };
  await cluster.create(types.serviceAccounts, user);
  await refusal(
    t,
    cluster.create(types.serviceAccounts, user, { subresource: 'token', parent: key('default') }),
    'NOT_FOUND',
  );
  await refusal(t, cluster.get(types.pods, key('p'), { subresource: 'eviction' }), 'METHOD_NOT_ALLOWED');
  await refusal(t, cluster.get(types.pods, key('p'), { subresource: 'log' }), 'METHOD_NOT_ALLOWED');
  await refusal(t, cluster.get(types.configMaps, key('p'), { subresource: 'status' }), 'NOT_FOUND');
  t.is((await cluster.get(types.pods, key('p'), { subresource: 'status' })).metadata.name, 'p');
});

test('two versions, one object: autoscalers', async (t) => {
  const { cluster } = await open(t);
  const scaleTargetRef = { kind: 'Deployment', name: 'web', apiVersion: 'apps/v1' };
  const watch = collect(t, cluster, types.horizontalPodAutoscalersV1);
  const v1 = await cluster.create(types.horizontalPodAutoscalersV1, {
    metadata: { name: 'h', namespace: ns },
    spec: { scaleTargetRef, maxReplicas: 3, targetCPUUtilizationPercentage: 70 },
  });
  t.is(v1.apiVersion, 'autoscaling/v1');
  t.is(v1.spec.targetCPUUtilizationPercentage, 70);
  const v2 = await cluster.get(types.horizontalPodAutoscalers, key('h'));
  t.is(v2.apiVersion, 'autoscaling/v2');
  t.like(v2.spec.metrics![0], { type: 'Resource', resource: { name: 'cpu', target: { averageUtilization: 70 } } });
  const memory = {
    type: 'Resource',
    resource: { name: 'memory', target: { type: 'AverageValue', averageValue: '1Gi' } },
  };
  await cluster.update(types.horizontalPodAutoscalers, {
    ...v2,
    spec: { ...v2.spec, metrics: [...v2.spec.metrics!, memory] },
  });
  await cluster.patch(types.horizontalPodAutoscalersV1, key('h'), {
    kind: 'merge',
    body: { spec: { maxReplicas: 9, targetCPUUtilizationPercentage: 50 } },
  });
  const both = await cluster.get(types.horizontalPodAutoscalers, key('h'));
  t.is(both.spec.maxReplicas, 9);
  t.deepEqual(both.spec.metrics!.map(({ resource }) => resource!.name).sort(), ['cpu', 'memory'], 'v1 loses nothing');
  t.is(both.metadata.annotations, undefined);
  await watch.until(() => watch.events.length >= 3);
  t.true(watch.events.every(({ object }) => object.apiVersion === 'autoscaling/v1'));
  t.is(await cluster.get(types.horizontalPodAutoscalersV1, key('h')), watch.events[2]!.object as never);
});

test('two groups, one object: events, which expire', async (t) => {
  const clock = handClock();
  const { cluster } = await open(t, { clock, eventTtlSeconds: 100 });
  const regarding = { kind: 'Pod', namespace: ns, name: 'p', uid: 'u' };
  const event = {
    regarding,
    note: 'hello',
    reason: 'R',
    type: 'Normal',
    eventTime: '2030-01-01T00:00:00.000000Z',
    reportingController: 'c',
    reportingInstance: 'i',
    action: 'a',
  };
  await cluster.create(types.eventsV1, { metadata: { name: 'e', namespace: ns }, ...event });
  const core = await cluster.get(types.events, key('e'));
  t.like(core, { apiVersion: 'v1', message: 'hello', involvedObject: regarding, reportingComponent: 'c' });
  const selected = await cluster.list(types.events, {
    fieldSelector: 'involvedObject.name=p,involvedObject.uid=u,reason=R',
  });
  t.is(selected.items.length, 1);
  t.is((await cluster.list(types.events, { fieldSelector: 'involvedObject.name=q' })).items.length, 0);
  const [shown] = (await cluster.list(types.eventsV1)).items;
  t.like(shown, { apiVersion: 'events.k8s.io/v1', note: 'hello' });
  clock.advance(60_000);
  await cluster.patch(types.events, key('e'), { kind: 'merge', body: { count: 2 } });
  await cluster.create(types.events, { metadata: { name: 'old', namespace: ns }, involvedObject: { namespace: ns } });
  clock.advance(60_000);
  await new Promise((resolve) => setImmediate(resolve));
  t.is((await cluster.list(types.events)).items.length, 2, 'a changed event lives on');
  const watch = collect(t, cluster, types.events, { resourceVersion: String(cluster.server!.revision) });
  for (let index = 0; index < 1_100; index++) {
    await cluster.create(types.events, {
      metadata: { name: `s${index}`, namespace: ns },
      involvedObject: { namespace: ns },
    });
  }
  clock.advance(60_000);
  clock.advance(60_000);
  await eventually(async () => (await cluster.list(types.events)).items.length === 0);
  await watch.until(() => watch.events.length >= 2_202);
  t.is(watch.lines().filter((line) => line.startsWith('DELETED')).length, 1_102, 'each deletion is seen once');
});

test('no more events are kept than a number: the oldest go first, and one that changed is young again', async (t) => {
  const clock = handClock();
  const { cluster } = await open(t, { clock, maxEvents: 300 });
  const event = (name: string) => ({ metadata: { name, namespace: ns }, involvedObject: { namespace: ns } });
  const kept = async () => (await cluster.list(types.events)).items.map(({ metadata }) => metadata.name);
  for (let index = 0; index < 1_000; index++) await cluster.create(types.events, event(`s${index}`));
  // A storm is seen to while it lasts.
  await eventually(async () => (await kept()).length < 500);
  await cluster.patch(types.events, key('s701'), { kind: 'merge', body: { count: 2 } });
  for (let index = 0; index < 50; index++) await cluster.create(types.events, event(`t${index}`));
  await new Promise((resolve) => setImmediate(resolve));
  clock.advance(30_000);
  await eventually(async () => (await kept()).length <= 300);
  const numbered = (letter: string, first: number, count: number) =>
    Array.from({ length: count }, (_, at) => `${letter}${first + at}`);
  t.deepEqual((await kept()).toSorted(), ['s701', ...numbered('s', 751, 249), ...numbered('t', 0, 50)].toSorted());
  clock.advance(30_000);
  await cluster.create(types.events, event('last'));
  await new Promise((resolve) => setImmediate(resolve));
  t.is((await kept()).length, 301, 'until it is looked at again');
});

test('reviews answer the rule of today', async (t) => {
  const { cluster } = await open(t);
  const user = { name: 'ann', uid: '7', groups: ['dev', 'system:authenticated'], extra: { k: ['v'] } };
  const anonymous = { name: 'system:anonymous', groups: ['system:unauthenticated'] };
  const who = await cluster.create(types.selfSubjectReviews, { metadata: {} }, { user });
  t.deepEqual(who.status?.userInfo, { username: 'ann', uid: '7', groups: user.groups, extra: { k: ['v'] } });
  const resourceAttributes = { verb: 'delete', resource: 'pods', namespace: ns };
  const may = (as: typeof anonymous) =>
    cluster.create(types.selfSubjectAccessReviews, { metadata: {}, spec: { resourceAttributes } }, { user: as });
  t.true((await may(user)).status?.allowed);
  t.false((await may(anonymous)).status?.allowed);
  t.true(
    (await cluster.create(types.subjectAccessReviews, { metadata: {}, spec: { resourceAttributes, user: 'bob' } }))
      .status?.allowed,
  );
  t.false(
    (
      await cluster.create(types.subjectAccessReviews, {
        metadata: {},
        spec: { resourceAttributes, user: 'system:anonymous' },
      })
    ).status?.allowed,
  );
  await refusal(
    t,
    cluster.create(types.subjectAccessReviews, { metadata: {}, spec: { resourceAttributes } }),
    'INVALID',
  );
  await refusal(t, cluster.create(types.selfSubjectAccessReviews, { metadata: {}, spec: {} }), 'INVALID');
  const rules = await cluster.create(
    types.selfSubjectRulesReviews,
    { metadata: {}, spec: { namespace: ns } },
    { user },
  );
  t.deepEqual(rules.status?.resourceRules, [{ verbs: ['*'], apiGroups: ['*'], resources: ['*'] }]);
  t.false((await cluster.create(types.tokenReviews, { metadata: {}, spec: { token: 'x' } })).status?.authenticated);
});

test('node connections', async (t) => {
  const { cluster } = await open(t);
  const service = {} as NodeService;
  const stop = new AbortController();
  const serving = cluster.serveNode('n1', service, stop.signal);
  t.is(cluster.server!.node('n1'), service);
  t.throws(() => cluster.server!.node('n2'), { message: /Node "n2" is not connected/ });
  const newer = {} as NodeService;
  const second = new AbortController();
  const again = cluster.serveNode('n1', newer, second.signal);
  stop.abort();
  await serving;
  t.is(cluster.server!.node('n1'), newer, 'the end of the old connection does not end the new one');
  second.abort();
  await again;
  t.throws(() => cluster.server!.node('n1'));
});

test('what discovery needs', async (t) => {
  const { cluster } = await open(t);
  const resources = cluster.server!.resources();
  t.is(cluster.server!.resources(), resources);
  const find = (group: string, resource: string) =>
    resources.find((type) => type.group === group && type.resource === resource)!;
  t.like(find('apps', 'deployments'), {
    kind: 'Deployment',
    shortNames: ['deploy'],
    categories: ['all'],
    namespaced: true,
  });
  t.deepEqual(
    find('apps', 'deployments').subresources.map(({ name, kind }) => [name, kind]),
    [
      ['scale', 'Scale'],
      ['status', 'Deployment'],
    ],
  );
  t.deepEqual(
    find('', 'pods').subresources.map(({ name }) => name),
    ['attach', 'binding', 'ephemeralcontainers', 'eviction', 'exec', 'log', 'portforward', 'resize', 'status'],
  );
  t.deepEqual(find('authorization.k8s.io', 'subjectaccessreviews').verbs, ['create']);
  t.deepEqual(
    cluster.server!.checks().map(({ name, failure }) => [name, failure]),
    [
      ['store', undefined],
      ['state', undefined],
    ],
  );
});
