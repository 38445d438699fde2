import test from 'ava';
import type { Cluster } from '../../../kernel/contract/index.ts';
import type { Pod } from '../../../kernel/contract/kubernetes.ts';
import { controllerOf } from '../../../kernel/machinery/metadata.ts';
import { resources } from '../../../kernel/machinery/resources.ts';
import replicaset from '../../../plugins/controllers/replicaset/index.ts';
import replicationController from '../../../plugins/controllers/replication-controller/index.ts';
import { eventually, openControlPlane, podSpec, quiescence, setRunning } from './control-plane.ts';

const key = { namespace: 'default', name: 'web' };

function newController(replicas: number, minReadySeconds = 0) {
  return {
    metadata: key,
    spec: {
      replicas,
      minReadySeconds,
      selector: { app: 'web' },
      template: { metadata: { labels: { app: 'web' } }, spec: podSpec() },
    },
  };
}

const podsOf = async (cluster: Cluster) => (await cluster.list(resources.pods, { namespace: 'default' })).items;

const somePods = (cluster: Cluster, count: number) =>
  eventually(`${count} pods`, async () => {
    const found = await podsOf(cluster);
    return found.length === count && found;
  });

test('creates exactly the missing pods, as their controller, and says so', async (t) => {
  const { cluster, controller } = await openControlPlane(t);
  await controller(replicationController);
  await cluster.create(resources.replicationControllers, newController(7));
  const owner = await eventually('7 replicas', async () => {
    const found = await cluster.get(resources.replicationControllers, key);
    return found.status?.replicas === 7 && found;
  });
  await quiescence(cluster);
  const pods = await podsOf(cluster);
  t.is(pods.length, 7);
  for (const pod of pods)
    t.like(controllerOf(pod), {
      apiVersion: 'v1',
      kind: 'ReplicationController',
      name: 'web',
      uid: owner.metadata.uid,
    });
  t.like(owner.status, { fullyLabeledReplicas: 7, observedGeneration: owner.metadata.generation });
  t.is(owner.status && 'terminatingReplicas' in owner.status, false);
  const { items } = await cluster.list(resources.events, { namespace: 'default' });
  t.true(items.some(({ reason, involvedObject }) => reason === 'SuccessfulCreate' && involvedObject.name === 'web'));
});

test('status comes to rest: a controller that has nothing to do writes nothing', async (t) => {
  const { cluster, controller } = await openControlPlane(t);
  await controller(replicationController);
  await cluster.create(resources.replicationControllers, newController(2));
  for (const pod of await somePods(cluster, 2)) await setRunning(cluster, pod);
  await quiescence(cluster);
  const before = cluster.server?.revision;
  await cluster.patch(
    resources.pods,
    { namespace: 'default', name: (await podsOf(cluster))[0]?.metadata.name ?? '' },
    {
      kind: 'merge',
      body: { metadata: { annotations: { touched: 'yes' } } },
    },
  );
  await quiescence(cluster);
  t.is((cluster.server?.revision ?? 0) - (before ?? 0), 1);
});

test('minReadySeconds holds a ready pod back from being available', async (t) => {
  const { cluster, controller } = await openControlPlane(t);
  await controller(replicationController);
  await cluster.create(resources.replicationControllers, newController(2, 3600));
  const [first, second] = await somePods(cluster, 2);
  await setRunning(cluster, first as Pod, true, new Date(Date.now() - 7_200_000));
  await setRunning(cluster, second as Pod);
  const owner = await eventually('two are ready', async () => {
    const found = await cluster.get(resources.replicationControllers, key);
    return found.status?.readyReplicas === 2 && found;
  });
  t.is(owner.status?.availableReplicas, 1);
});

test('scales by the scale subresource, both ways', async (t) => {
  const { cluster, controller } = await openControlPlane(t);
  await controller(replicationController);
  await cluster.create(resources.replicationControllers, newController(1));
  await somePods(cluster, 1);
  const scaleTo = (replicas: number) =>
    cluster.patch(
      resources.replicationControllers,
      key,
      { kind: 'merge', body: { spec: { replicas } } },
      { subresource: 'scale' },
    );
  await scaleTo(4);
  await somePods(cluster, 4);
  await scaleTo(0);
  await somePods(cluster, 0);
  const owner = await eventually('no replica is left', async () => {
    const found = await cluster.get(resources.replicationControllers, key);
    return (found.status?.replicas ?? 0) === 0 && found;
  });
  t.is(owner.status?.observedGeneration, owner.metadata.generation);
});

test('a ReplicaSet of the same selector and name keeps its own pods', async (t) => {
  const { cluster, controller } = await openControlPlane(t);
  await controller(replicationController);
  await controller(replicaset);
  const { metadata, spec } = newController(2);
  await cluster.create(resources.replicationControllers, { metadata, spec });
  await cluster.create(resources.replicaSets, {
    metadata,
    spec: { ...spec, replicas: 3, selector: { matchLabels: spec.selector } },
    status: { replicas: 0 },
  });
  await somePods(cluster, 5);
  await quiescence(cluster);
  const kinds = (await podsOf(cluster)).map((pod) => controllerOf(pod)?.kind);
  t.is(kinds.filter((kind) => kind === 'ReplicationController').length, 2);
  t.is(kinds.filter((kind) => kind === 'ReplicaSet').length, 3);
});

test('a template that the API refuses is a condition and an event, gone when it is mended', async (t) => {
  const { cluster, controller } = await openControlPlane(t);
  await controller(replicationController);
  await cluster.create(resources.replicationControllers, {
    ...newController(2),
    spec: {
      ...newController(2).spec,
      template: { metadata: { labels: { app: 'web' } }, spec: podSpec({ priorityClassName: 'no-such-class' }) },
    },
  });
  const failing = await eventually('ReplicaFailure', async () => {
    const found = await cluster.get(resources.replicationControllers, key);
    return found.status?.conditions?.some(({ type }) => type === 'ReplicaFailure') === true && found;
  });
  t.like(failing.status?.conditions?.[0], { status: 'True', reason: 'FailedCreate' });
  await cluster.patch(resources.replicationControllers, key, {
    kind: 'merge',
    body: { spec: { template: { spec: { priorityClassName: null } } } },
  });
  await somePods(cluster, 2);
  await eventually('the condition is gone', async () => {
    const { status } = await cluster.get(resources.replicationControllers, key);
    return (status?.conditions ?? []).length === 0;
  });
});
