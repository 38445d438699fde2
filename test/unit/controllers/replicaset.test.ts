import test from 'ava';
import {
  PintleError,
  type Cluster,
  type Controller,
  type KubernetesObject,
  type WatchEvent,
} from '../../../kernel/contract/index.ts';
import type { Pod, ReplicaSet } from '../../../kernel/contract/kubernetes.ts';
import { controllerOf } from '../../../kernel/machinery/metadata.ts';
import { resources } from '../../../kernel/machinery/resources.ts';
import replicaset from '../../../plugins/controllers/replicaset/index.ts';
import { byDeletionOrder } from '../../../kernel/machinery/replicas/scale-down-order.ts';
import { slowStart } from '../../../kernel/machinery/replicas/slow-start.ts';
import {
  eventually,
  openControlPlane,
  podSpec,
  quiescence,
  setRunning,
  someEvent,
  startPlugin,
} from './control-plane.ts';

const key = { namespace: 'default', name: 'web' };

function newSet(replicas: number, more: Partial<ReplicaSet['spec']> = {}) {
  return {
    metadata: key,
    spec: {
      replicas,
      selector: { matchLabels: { app: 'web' } },
      template: { metadata: { labels: { app: 'web' } }, spec: podSpec() },
      ...more,
    },
    status: { replicas: 0 },
  };
}

const podsOf = async (cluster: Cluster) => (await cluster.list(resources.pods, { namespace: 'default' })).items;

const active = async (cluster: Cluster) =>
  (await podsOf(cluster)).filter((pod) => pod.metadata.deletionTimestamp === undefined);

const scaleTo = (cluster: Cluster, replicas: number) =>
  cluster.patch(resources.replicaSets, key, { kind: 'merge', body: { spec: { replicas } } });

test('creates the pods that are missing, exactly as many, and reports them', async (t) => {
  const { cluster, controller } = await openControlPlane(t);
  await controller(replicaset);
  await cluster.create(resources.replicaSets, newSet(25));
  const set = await eventually('25 replicas', async () => {
    const found = await cluster.get(resources.replicaSets, key);
    return found.status?.replicas === 25 && found;
  });
  await quiescence(cluster);
  const pods = await podsOf(cluster);
  t.is(pods.length, 25);
  for (const pod of pods) {
    t.like(controllerOf(pod), { kind: 'ReplicaSet', name: 'web', uid: set.metadata.uid, blockOwnerDeletion: true });
    t.regex(pod.metadata.name, /^web-[a-z0-9]{5}$/);
    t.is(pod.metadata.labels?.['app'], 'web');
  }
  t.is(set.status?.readyReplicas ?? 0, 0);
  t.is(set.status?.observedGeneration, set.metadata.generation);
});

test('status counts ready and available pods, available after minReadySeconds', async (t) => {
  const { cluster, controller } = await openControlPlane(t);
  await controller(replicaset);
  await cluster.create(resources.replicaSets, newSet(3, { minReadySeconds: 3600 }));
  const pods = await eventually('3 pods', async () => {
    const found = await podsOf(cluster);
    return found.length === 3 && found;
  });
  await setRunning(cluster, pods[0] as Pod, true, new Date(Date.now() - 7_200_000));
  await setRunning(cluster, pods[1] as Pod, true);
  await setRunning(cluster, pods[2] as Pod, false);
  const set = await eventually('two are ready', async () => {
    const found = await cluster.get(resources.replicaSets, key);
    return found.status?.readyReplicas === 2 && found;
  });
  t.like(set.status, { replicas: 3, fullyLabeledReplicas: 3, readyReplicas: 2, availableReplicas: 1 });
});

test('replaces a pod that is deleted or has failed', async (t) => {
  const { cluster, controller } = await openControlPlane(t);
  await controller(replicaset);
  await cluster.create(resources.replicaSets, newSet(2));
  const [first, second] = await eventually('2 pods', async () => {
    const found = await podsOf(cluster);
    return found.length === 2 && found;
  });
  await cluster.delete(resources.pods, { namespace: 'default', name: first?.metadata.name ?? '' });
  await cluster.patch(
    resources.pods,
    { namespace: 'default', name: second?.metadata.name ?? '' },
    { kind: 'merge', body: { status: { phase: 'Failed' } } },
    { subresource: 'status' },
  );
  await eventually('two new pods beside the failed one', async () => (await podsOf(cluster)).length === 3);
  await quiescence(cluster);
  t.is((await podsOf(cluster)).length, 3);
});

test('scales down: pods without a node first, then those that are not ready', async (t) => {
  const { cluster, controller } = await openControlPlane(t);
  await controller(replicaset);
  await cluster.create(resources.replicaSets, newSet(3));
  const pods = await eventually('3 pods', async () => {
    const found = await podsOf(cluster);
    return found.length === 3 && found;
  });
  const keep = pods[1] as Pod;
  await setRunning(cluster, keep);
  await quiescence(cluster);
  await scaleTo(cluster, 1);
  await eventually('one is left', async () => (await active(cluster)).length === 1);
  await quiescence(cluster);
  t.deepEqual(
    (await active(cluster)).map((pod) => pod.metadata.name),
    [keep.metadata.name],
  );
});

test('adopts matching pods that nobody manages and releases pods that match no more', async (t) => {
  const { cluster, controller } = await openControlPlane(t);
  const orphan = await cluster.create(resources.pods, {
    metadata: { namespace: 'default', name: 'orphan', labels: { app: 'web' } },
    spec: podSpec(),
  });
  const stranger = await cluster.create(resources.pods, {
    metadata: { namespace: 'default', name: 'stranger', labels: { app: 'other' } },
    spec: podSpec(),
  });
  await controller(replicaset);
  await cluster.create(resources.replicaSets, newSet(2));
  await eventually('two of the set', async () => {
    const owned = (await podsOf(cluster)).filter((pod) => controllerOf(pod) !== undefined);
    return owned.length === 2 && owned.some((pod) => pod.metadata.uid === orphan.metadata.uid);
  });
  await cluster.patch(
    resources.pods,
    { namespace: 'default', name: 'orphan' },
    {
      kind: 'merge',
      body: { metadata: { labels: { app: 'debug' } } },
    },
  );
  await eventually('a replacement, and the old pod released', async () => {
    const pods = await podsOf(cluster);
    const released = pods.find((pod) => pod.metadata.uid === orphan.metadata.uid);
    const owned = pods.filter((pod) => controllerOf(pod) !== undefined);
    return owned.length === 2 && released !== undefined && controllerOf(released) === undefined;
  });
  const untouched = await cluster.get(resources.pods, { namespace: 'default', name: 'stranger' });
  t.is(untouched.metadata.resourceVersion, stranger.metadata.resourceVersion);
});

test('a cache that lags behind the API: never a pod too many, created or deleted', async (t) => {
  const { cluster } = await openControlPlane(t);
  async function* late(args: Parameters<Cluster['watch']>): AsyncGenerator<readonly WatchEvent<KubernetesObject>[]> {
    for await (const batch of cluster.watch(...args)) {
      if (args[0].resource === 'pods') await new Promise((resolve) => setTimeout(resolve, 40));
      yield batch;
    }
  }
  const lagging = new Proxy(cluster, {
    get: (target, name) => {
      const value = Reflect.get(target, name) as unknown;
      if (name === 'watch') return (...args: Parameters<Cluster['watch']>) => late(args);
      return typeof value === 'function' ? (value as () => unknown).bind(target) : value;
    },
  });
  const controller = await startPlugin<Controller>(replicaset, { uses: { cluster: lagging } });
  const stop = new AbortController();
  const running = controller.run(stop.signal);
  t.teardown(async () => {
    stop.abort();
    await running;
  });
  await cluster.create(resources.replicaSets, newSet(10));
  // Changes of the set itself arrive at once, and make it reconcile while its cache of pods is old.
  for (let i = 0; i < 20; i++) {
    await cluster.patch(resources.replicaSets, key, { kind: 'merge', body: { metadata: { labels: { i: `${i}` } } } });
    await new Promise((resolve) => setTimeout(resolve, 5));
    t.true((await podsOf(cluster)).length <= 10);
  }
  await eventually('10 pods', async () => (await cluster.get(resources.replicaSets, key)).status?.replicas === 10);
  await scaleTo(cluster, 4);
  for (let i = 0; i < 20; i++) {
    await cluster.patch(resources.replicaSets, key, { kind: 'merge', body: { metadata: { labels: { j: `${i}` } } } });
    await new Promise((resolve) => setTimeout(resolve, 5));
    t.true((await active(cluster)).length >= 4);
  }
  await eventually('4 pods', async () => (await cluster.get(resources.replicaSets, key)).status?.replicas === 4);
  t.is((await active(cluster)).length, 4);
});

test('restarts at any point: never a pod too many', async (t) => {
  const { cluster, controller } = await openControlPlane(t);
  await cluster.create(resources.replicaSets, newSet(40));
  for (let i = 0; i < 5; i++) {
    const stop = await controller(replicaset);
    const before = (await podsOf(cluster)).length;
    await eventually('some progress', async () => before >= 40 || (await podsOf(cluster)).length > before);
    await stop();
    t.true((await podsOf(cluster)).length <= 40);
  }
  await controller(replicaset);
  await eventually('all 40', async () => (await podsOf(cluster)).length === 40);
  await quiescence(cluster);
  t.is((await podsOf(cluster)).length, 40);
});

test('a pod that cannot be created: an event, a condition, and few attempts at once', async (t) => {
  const { cluster, controller } = await openControlPlane(t);
  let attempts = 0;
  const refusing = new Proxy(cluster, {
    get: (target, name) => {
      if (name !== 'create') {
        const value = Reflect.get(target, name) as unknown;
        return typeof value === 'function' ? (value as (...args: unknown[]) => unknown).bind(target) : value;
      }
      return async (type: never, object: never, options: never) => {
        if ((type as { resource: string }).resource !== 'pods') return target.create(type, object, options);
        attempts++;
        throw new PintleError('FORBIDDEN', 'pods "web-" is forbidden: exceeded quota');
      };
    },
  });
  const plugin = {
    ...replicaset,
    start: (context: never, signal: AbortSignal) => {
      const given = context as { uses: object };
      return replicaset.start({ ...given, uses: { cluster: refusing } } as never, signal);
    },
  };
  await controller(plugin);
  await cluster.create(resources.replicaSets, newSet(100));
  const set = await eventually('the condition', async () => {
    const found = await cluster.get(resources.replicaSets, key);
    return found.status?.conditions?.some((condition) => condition.type === 'ReplicaFailure') === true && found;
  });
  t.like(set.status?.conditions?.[0], { status: 'True', reason: 'FailedCreate' });
  t.true(attempts < 20, `${attempts} attempts`);
  const event = await someEvent(cluster, 'FailedCreate', ({ reason }) => reason === 'FailedCreate');
  t.regex(event.message ?? '', /exceeded quota/);
});

test('slow start: batches of 1, 2, 4; none after a failure', async (t) => {
  const seen: number[] = [];
  let running = 0;
  await slowStart(10, async () => {
    running++;
    await Promise.resolve();
    seen.push(running);
    await new Promise((resolve) => setImmediate(resolve));
    running--;
  });
  t.deepEqual(seen, [1, 2, 2, 4, 4, 4, 4, 3, 3, 3]);
  let calls = 0;
  await t.throwsAsync(
    slowStart(100, async () => {
      calls++;
      if (calls === 3) throw new Error('no');
    }),
    { message: 'no' },
  );
  t.is(calls, 3);
});

test('the order of deletion', (t) => {
  const now = Date.parse('2026-01-02T00:00:00Z');
  const hoursAgo = (hours: number) => new Date(now - hours * 3_600_000).toISOString();
  const pod = (
    name: string,
    shape: { node?: string; phase?: string; readyFor?: number; cost?: string; restarts?: number; age?: number },
  ): Pod => ({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name,
      namespace: 'default',
      uid: name,
      resourceVersion: '1',
      creationTimestamp: hoursAgo(shape.age ?? 10),
      ...(shape.cost === undefined
        ? {}
        : { annotations: { 'controller.kubernetes.io/pod-deletion-cost': shape.cost } }),
    },
    spec: podSpec(shape.node === undefined ? {} : { nodeName: shape.node }),
    status: {
      phase: shape.phase ?? 'Running',
      conditions:
        shape.readyFor === undefined
          ? []
          : [{ type: 'Ready', status: 'True', lastTransitionTime: hoursAgo(shape.readyFor) }],
      containerStatuses: [{ name: 'main', restartCount: shape.restarts ?? 0 } as never],
    },
  });
  const pods = [
    pod('h-old', { node: 'd', readyFor: 8, age: 10 }),
    pod('g-young', { node: 'd1', readyFor: 8, age: 1 }),
    pod('f-restarted', { node: 'd2', readyFor: 8, restarts: 3 }),
    pod('e-short-ready', { node: 'd3', readyFor: 1 }),
    pod('d-crowded', { node: 'busy', readyFor: 8 }),
    pod('c-cheap', { node: 'd4', readyFor: 8, cost: '-5' }),
    pod('b-unready', { node: 'd5' }),
    pod('a-pending', { node: 'd6', phase: 'Pending' }),
    pod('0-unassigned', { phase: 'Pending' }),
  ];
  const related = [...pods, pod('sibling', { node: 'busy', readyFor: 8 })];
  t.deepEqual(
    byDeletionOrder(pods, related, now).map(({ metadata }) => metadata.name),
    [
      '0-unassigned',
      'a-pending',
      'b-unready',
      'c-cheap',
      'd-crowded',
      'e-short-ready',
      'f-restarted',
      'g-young',
      'h-old',
    ],
  );
});
