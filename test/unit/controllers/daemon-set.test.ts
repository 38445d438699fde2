import test from 'ava';
import type { Cluster } from '../../../kernel/contract/index.ts';
import type { ControllerRevision, DaemonSet, DaemonSetSpec, Pod } from '../../../kernel/contract/kubernetes.ts';
import { controllerOf } from '../../../kernel/machinery/metadata.ts';
import { isPodReady } from '../../../kernel/machinery/pod-status.ts';
import { resources } from '../../../kernel/machinery/resources.ts';
import { revisionLabel } from '../../../kernel/machinery/revisions/revision-data.ts';
import { nodeOf } from '../../../plugins/controllers/daemon-set/daemon-pod.ts';
import daemonSet from '../../../plugins/controllers/daemon-set/index.ts';
import { rollingLimits } from '../../../plugins/controllers/daemon-set/rolling-update.ts';
import { ManualClock } from '../machinery/manual-clock.ts';
import {
  bindTo,
  eventually,
  makeNode,
  openControlPlane,
  patchStatus,
  podSpec,
  quiescence,
  runKubelet,
  setRunning,
  someEvent,
} from './control-plane.ts';

const key = { namespace: 'default', name: 'agent' };

function newSet(more: Partial<DaemonSetSpec> = {}) {
  return {
    metadata: key,
    spec: {
      selector: { matchLabels: { app: 'agent' } },
      template: { metadata: { labels: { app: 'agent' } }, spec: podSpec() },
      ...more,
    },
  } as DaemonSet;
}

const read = (cluster: Cluster) => cluster.get(resources.daemonSets, key);

const podsOf = async (cluster: Cluster): Promise<readonly Pod[]> =>
  (await cluster.list(resources.pods, { namespace: 'default' })).items;

const revisionsOf = async (cluster: Cluster): Promise<readonly ControllerRevision[]> =>
  (await cluster.list(resources.controllerRevisions, { namespace: 'default' })).items.toSorted(
    (a, b) => a.revision - b.revision,
  );

const placesOf = async (cluster: Cluster) => (await podsOf(cluster)).map((pod) => nodeOf(pod)).toSorted();

const somePlaces = (cluster: Cluster, ...names: string[]) =>
  eventually(`pods for ${names.join(', ') || 'no node'}`, async () => {
    const places = await placesOf(cluster);
    return JSON.stringify(places) === JSON.stringify(names) && places;
  });

const setImage = (cluster: Cluster, image: string) =>
  cluster.patch(resources.daemonSets, key, {
    kind: 'strategic',
    body: { spec: { template: { spec: { containers: [{ name: 'main', image }] } } } },
  });

const imagesOf = async (cluster: Cluster) => (await podsOf(cluster)).map(({ spec }) => spec.containers[0]?.image);

/** What `kubectl rollout status` waits for. */
const rolledOut = (cluster: Cluster, count: number) =>
  eventually(`${count} daemons are up to date and available`, async () => {
    const { status, metadata } = await read(cluster);
    return (
      (status?.observedGeneration ?? 0) >= (metadata.generation ?? 0) &&
      status?.desiredNumberScheduled === count &&
      (status.updatedNumberScheduled ?? 0) === count &&
      (status.numberAvailable ?? 0) === count &&
      status
    );
  });

test('one pod a node, tied to it by affinity, with the tolerations of a daemon', async (t) => {
  const { cluster, controller } = await openControlPlane(t);
  await makeNode(cluster, 'a');
  await makeNode(cluster, 'b');
  await controller(daemonSet);
  await cluster.create(resources.daemonSets, newSet());
  await somePlaces(cluster, 'a', 'b');
  await quiescence(cluster);
  t.is((await podsOf(cluster)).length, 2);
  const [pod] = await podsOf(cluster);
  t.is(pod?.spec.nodeName ?? '', '');
  t.like(controllerOf(pod as Pod), { apiVersion: 'apps/v1', kind: 'DaemonSet', name: 'agent' });
  t.regex(pod?.metadata.name ?? '', /^agent-[a-z0-9]{5}$/);
  const [revision] = await revisionsOf(cluster);
  t.is(pod?.metadata.labels?.[revisionLabel], revision?.metadata.labels?.[revisionLabel]);
  t.is(revision?.metadata.name, `agent-${revision?.metadata.labels?.[revisionLabel]}`);
  const tolerated = (pod?.spec.tolerations ?? []).map(({ key: taint, effect }) => `${taint}:${effect}`);
  for (const each of ['not-ready:NoExecute', 'unreachable:NoExecute', 'unschedulable:NoSchedule'])
    t.true(tolerated.includes(`node.kubernetes.io/${each}`), each);
  t.false(tolerated.includes('node.kubernetes.io/network-unavailable:NoSchedule'));
  t.false((pod?.spec.tolerations ?? []).some(({ tolerationSeconds }) => tolerationSeconds !== undefined));
  t.like((await read(cluster)).status, {
    desiredNumberScheduled: 2,
    currentNumberScheduled: 2,
    updatedNumberScheduled: 2,
    numberReady: 0,
    numberUnavailable: 2,
  });
});

test('a new node gets its pod; one that matches no more loses it; one that is gone takes it along', async (t) => {
  const { cluster, controller } = await openControlPlane(t);
  await makeNode(cluster, 'a', { labels: { disk: 'ssd' } });
  await makeNode(cluster, 'b');
  await controller(daemonSet);
  const template = { metadata: { labels: { app: 'agent' } }, spec: podSpec({ nodeSelector: { disk: 'ssd' } }) };
  await cluster.create(resources.daemonSets, newSet({ template }));
  await somePlaces(cluster, 'a');
  await makeNode(cluster, 'c', { labels: { disk: 'ssd' } });
  await somePlaces(cluster, 'a', 'c');
  const label = (name: string, disk: string | null) =>
    cluster.patch(resources.nodes, { name }, { kind: 'merge', body: { metadata: { labels: { disk } } } });
  await label('b', 'ssd');
  await label('a', null);
  await somePlaces(cluster, 'b', 'c');
  await cluster.delete(resources.nodes, { name: 'c' });
  await somePlaces(cluster, 'b');
  await quiescence(cluster);
  t.deepEqual(await placesOf(cluster), ['b']);
  t.like((await read(cluster)).status, { desiredNumberScheduled: 1, numberMisscheduled: 0 });
});

test('taints: NoSchedule keeps new daemons away and old ones stay; NoExecute drives them out; cordon does neither', async (t) => {
  const { cluster, controller } = await openControlPlane(t);
  await makeNode(cluster, 'a');
  await makeNode(cluster, 'b', { spec: { taints: [{ key: 'only', value: 'db', effect: 'NoSchedule' }] } });
  await makeNode(cluster, 'c', {
    spec: { unschedulable: true, taints: [{ key: 'node.kubernetes.io/unschedulable', effect: 'NoSchedule' }] },
  });
  await controller(daemonSet);
  await cluster.create(resources.daemonSets, newSet());
  await somePlaces(cluster, 'a', 'c');
  const taint = (name: string, effect: string) =>
    cluster.patch(resources.nodes, { name }, { kind: 'merge', body: { spec: { taints: [{ key: 'out', effect }] } } });
  await taint('a', 'NoSchedule');
  await eventually('a counts as misscheduled', async () => (await read(cluster)).status?.numberMisscheduled === 1);
  t.deepEqual(await placesOf(cluster), ['a', 'c']);
  await taint('a', 'NoExecute');
  await somePlaces(cluster, 'c');
  t.pass();
});

test('a rolling update replaces one pod after the other and keeps history for a roll-back', async (t) => {
  const { cluster, controller } = await openControlPlane(t);
  const names = ['a', 'b', 'c', 'd'];
  for (const name of names) await makeNode(cluster, name);
  await controller(daemonSet);
  runKubelet(t, cluster, { node: nodeOf });
  await cluster.create(resources.daemonSets, newSet());
  await rolledOut(cluster, 4);
  let fewest = 4;
  const stop = new AbortController();
  const pods = new Map<string, Pod>();
  const watching = (async () => {
    for await (const batch of cluster.watch(resources.pods, {}, stop.signal))
      for (const { type, object } of batch) {
        if (type === 'DELETED') pods.delete(object.metadata.name);
        else if (type !== 'BOOKMARK') pods.set(object.metadata.name, object as Pod);
        const serving = [...pods.values()].filter((pod) => isPodReady(pod) && !pod.metadata.deletionTimestamp);
        if (pods.size >= 4) fewest = Math.min(fewest, serving.length);
      }
  })().catch(() => undefined);
  await eventually('the watch has begun', () => pods.size === 4);
  fewest = 4;
  await setImage(cluster, 'v2');
  await rolledOut(cluster, 4);
  stop.abort();
  await watching;
  t.is(fewest, 3);
  t.deepEqual(await imagesOf(cluster), ['v2', 'v2', 'v2', 'v2']);
  const [first, second] = await revisionsOf(cluster);
  t.deepEqual([first?.revision, second?.revision], [1, 2]);
  // kubectl rollout undo sends the data of the old revision as a patch.
  await cluster.patch(resources.daemonSets, key, { kind: 'strategic', body: first?.data });
  await rolledOut(cluster, 4);
  t.deepEqual(await imagesOf(cluster), ['host', 'host', 'host', 'host']);
  const after = await revisionsOf(cluster);
  t.deepEqual(
    after.map(({ metadata, revision }) => [metadata.name, revision]),
    [
      [second?.metadata.name, 2],
      [first?.metadata.name, 3],
    ],
  );
});

test('maxSurge: the new pod stands beside the old one until it is available', async (t) => {
  const { cluster, controller } = await openControlPlane(t);
  await makeNode(cluster, 'a');
  await makeNode(cluster, 'b');
  await controller(daemonSet);
  let isNewReady = false;
  runKubelet(t, cluster, {
    node: nodeOf,
    isReady: ({ spec }) => spec.containers[0]?.image === 'host' || isNewReady,
  });
  const updateStrategy = { type: 'RollingUpdate', rollingUpdate: { maxSurge: 1, maxUnavailable: 0 } };
  await cluster.create(resources.daemonSets, newSet({ updateStrategy }));
  await rolledOut(cluster, 2);
  await setImage(cluster, 'v2');
  await eventually('one new pod', async () => (await podsOf(cluster)).length === 3);
  await quiescence(cluster);
  t.deepEqual((await imagesOf(cluster)).toSorted(), ['host', 'host', 'v2']);
  isNewReady = true;
  const waiting = (await podsOf(cluster)).find(({ spec }) => spec.containers[0]?.image === 'v2');
  await setRunning(cluster, waiting as Pod);
  await rolledOut(cluster, 2);
  await somePlaces(cluster, 'a', 'b');
  t.deepEqual(await imagesOf(cluster), ['v2', 'v2']);
});

test('OnDelete waits for someone to delete the old pod', async (t) => {
  const { cluster, controller } = await openControlPlane(t);
  await makeNode(cluster, 'a');
  await makeNode(cluster, 'b');
  await controller(daemonSet);
  runKubelet(t, cluster, { node: nodeOf });
  await cluster.create(resources.daemonSets, newSet({ updateStrategy: { type: 'OnDelete' } }));
  await rolledOut(cluster, 2);
  await setImage(cluster, 'v2');
  await eventually(
    'the old ones count as such',
    async () => ((await read(cluster)).status?.updatedNumberScheduled ?? 0) === 0,
  );
  await quiescence(cluster);
  t.deepEqual(await imagesOf(cluster), ['host', 'host']);
  const [victim] = await podsOf(cluster);
  await cluster.delete(resources.pods, { namespace: 'default', name: victim?.metadata.name ?? '' });
  await eventually('one is new', async () => (await read(cluster)).status?.updatedNumberScheduled === 1);
  t.deepEqual((await imagesOf(cluster)).toSorted(), ['host', 'v2']);
});

test('revisionHistoryLimit keeps the latest old templates', async (t) => {
  const { cluster, controller } = await openControlPlane(t);
  await makeNode(cluster, 'a');
  await controller(daemonSet);
  runKubelet(t, cluster, { node: nodeOf });
  await cluster.create(resources.daemonSets, newSet({ revisionHistoryLimit: 1 }));
  await rolledOut(cluster, 1);
  for (const image of ['v2', 'v3', 'v4']) {
    await setImage(cluster, image);
    await rolledOut(cluster, 1);
  }
  const numbers = await eventually('two are left', async () => {
    const found = (await revisionsOf(cluster)).map(({ revision }) => revision);
    return found.length === 2 && found;
  });
  t.deepEqual(numbers, [3, 4]);
});

test('a daemon that failed is replaced, the second time only after a while', async (t) => {
  const { cluster, controller } = await openControlPlane(t);
  const clock = new ManualClock();
  await makeNode(cluster, 'a');
  await controller(daemonSet, {}, clock);
  await cluster.create(resources.daemonSets, newSet());
  const fail = async () => {
    const [pod] = await eventually('a pod that runs', async () => {
      const found = (await podsOf(cluster)).filter(({ status }) => status?.phase === 'Pending');
      return found.length === 1 && found;
    });
    await bindTo(cluster, pod as Pod, 'a');
    await patchStatus(cluster, pod as Pod, { phase: 'Failed' });
    return pod?.metadata.uid;
  };
  const isGone = (uid: string | undefined) => async () =>
    !(await podsOf(cluster)).some(({ metadata }) => metadata.uid === uid);
  const first = await fail();
  await eventually('the first is replaced', isGone(first));
  const second = await fail();
  await quiescence(cluster);
  t.false(await isGone(second)());
  await clock.advance(1000);
  await eventually('the second is replaced', isGone(second));
  const event = await someEvent(cluster, 'FailedDaemonPod', ({ reason }) => reason === 'FailedDaemonPod');
  t.is(event.type, 'Warning');
});

test('restarts at any point: never a second pod on a node', async (t) => {
  const { cluster, controller } = await openControlPlane(t);
  for (let index = 0; index < 12; index++) await makeNode(cluster, `n${index}`);
  await cluster.create(resources.daemonSets, newSet());
  for (let round = 0; round < 5; round++) {
    const stop = await controller(daemonSet);
    await new Promise((resolve) => setImmediate(resolve));
    await stop();
  }
  await controller(daemonSet);
  await eventually('12 pods', async () => (await podsOf(cluster)).length === 12);
  await quiescence(cluster);
  t.is(new Set(await placesOf(cluster)).size, 12);
  t.is((await podsOf(cluster)).length, 12);
  t.is((await revisionsOf(cluster)).length, 1);
});

test('adopts a matching pod of that node and removes a second one', async (t) => {
  const { cluster, controller } = await openControlPlane(t);
  await makeNode(cluster, 'a');
  for (const name of ['one', 'two'])
    await cluster.create(resources.pods, {
      metadata: { namespace: 'default', name, labels: { app: 'agent' } },
      spec: podSpec({ nodeName: 'a' }),
    });
  await controller(daemonSet);
  runKubelet(t, cluster, { node: nodeOf });
  await cluster.create(resources.daemonSets, newSet({ updateStrategy: { type: 'OnDelete' } }));
  const [pod] = await eventually('one is left', async () => {
    const found = await podsOf(cluster);
    return found.length === 1 && found;
  });
  t.true(['one', 'two'].includes(pod?.metadata.name ?? ''));
  t.is(controllerOf(pod as Pod)?.name, 'agent');
});

test('limits of a rolling update round up; with neither, one pod may be missing', (t) => {
  const limits = (rollingUpdate: object) =>
    rollingLimits(newSet({ updateStrategy: { type: 'RollingUpdate', rollingUpdate } }), 10);
  t.deepEqual(limits({ maxUnavailable: '15%' }), { maxSurge: 0, maxUnavailable: 2 });
  t.deepEqual(limits({ maxSurge: '11%', maxUnavailable: 0 }), { maxSurge: 2, maxUnavailable: 0 });
  t.deepEqual(limits({ maxUnavailable: 0 }), { maxSurge: 0, maxUnavailable: 1 });
  t.deepEqual(rollingLimits(newSet({ updateStrategy: { type: 'OnDelete' } }), 10), { maxSurge: 0, maxUnavailable: 0 });
});
