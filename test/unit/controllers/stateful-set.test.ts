import test from 'ava';
import type { Cluster } from '../../../kernel/contract/index.ts';
import type {
  ControllerRevision,
  PersistentVolumeClaim,
  Pod,
  StatefulSet,
  StatefulSetSpec,
} from '../../../kernel/contract/kubernetes.ts';
import { controllerOf, keyOf, splitKey } from '../../../kernel/machinery/metadata.ts';
import { isPodReady } from '../../../kernel/machinery/pod-status.ts';
import { resources } from '../../../kernel/machinery/resources.ts';
import garbageCollector from '../../../plugins/controllers/garbage-collector/index.ts';
import statefulSet from '../../../plugins/controllers/stateful-set/index.ts';
import {
  bindTo,
  eventually,
  openControlPlane,
  patchStatus,
  podSpec,
  quiescence,
  runKubelet,
  setRunning,
  someEvent,
} from './control-plane.ts';

const key = { namespace: 'default', name: 'db' };

function newSet(replicas: number, more: Partial<StatefulSetSpec> = {}) {
  return {
    metadata: key,
    spec: {
      replicas,
      serviceName: 'db-peers',
      selector: { matchLabels: { app: 'db' } },
      template: { metadata: { labels: { app: 'db' } }, spec: podSpec() },
      ...more,
    },
  } as StatefulSet;
}

const claimTemplate = {
  metadata: { name: 'data', labels: { tier: 'fast' } },
  spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } } },
} as unknown as PersistentVolumeClaim;

const read = (cluster: Cluster) => cluster.get(resources.statefulSets, key);

const podsOf = async (cluster: Cluster): Promise<readonly Pod[]> =>
  (await cluster.list(resources.pods, { namespace: 'default' })).items.toSorted((a, b) =>
    a.metadata.name < b.metadata.name ? -1 : 1,
  );

const claimsOf = async (cluster: Cluster) =>
  (await cluster.list(resources.persistentVolumeClaims, { namespace: 'default' })).items;

const revisionsOf = async (cluster: Cluster): Promise<readonly ControllerRevision[]> =>
  (await cluster.list(resources.controllerRevisions, { namespace: 'default' })).items.toSorted(
    (a, b) => a.revision - b.revision,
  );

const namesOf = async (cluster: Cluster) => (await podsOf(cluster)).map(({ metadata }) => metadata.name);

const someNames = (cluster: Cluster, ...names: string[]) =>
  eventually(`pods ${names.join(', ') || 'none'}`, async () => {
    const found = await namesOf(cluster);
    return JSON.stringify(found) === JSON.stringify(names) && (await podsOf(cluster));
  });

const change = (cluster: Cluster, spec: object) =>
  cluster.patch(resources.statefulSets, key, { kind: 'merge', body: { spec } });

const setImage = (cluster: Cluster, image: string) =>
  cluster.patch(resources.statefulSets, key, {
    kind: 'strategic',
    body: { spec: { template: { spec: { containers: [{ name: 'main', image }] } } } },
  });

const imagesOf = async (cluster: Cluster) => (await podsOf(cluster)).map(({ spec }) => spec.containers[0]?.image);

const run = async (cluster: Cluster, name: string, since?: Date) => {
  const pod = await cluster.get(resources.pods, { namespace: 'default', name });
  if ((pod.spec.nodeName ?? '') === '') await bindTo(cluster, pod, 'node-1');
  await setRunning(cluster, pod, true, since);
};

/** What `kubectl rollout status` waits for. */
const rolledOut = (cluster: Cluster, count: number) =>
  eventually(`${count} replicas are up to date and ready`, async () => {
    const { status, metadata } = await read(cluster);
    return (
      (status?.observedGeneration ?? 0) >= (metadata.generation ?? 0) &&
      (status?.replicas ?? 0) === count &&
      (status?.readyReplicas ?? 0) === count &&
      (status?.updatedReplicas ?? 0) === count &&
      status?.currentRevision === status?.updateRevision &&
      status
    );
  });

/** The order in which pods came and went. */
function recordOrder(t: { teardown(undo: () => unknown): void }, cluster: Cluster): string[] {
  const order: string[] = [];
  const stop = new AbortController();
  t.teardown(() => stop.abort());
  void (async () => {
    for await (const batch of cluster.watch(resources.pods, {}, stop.signal))
      for (const { type, object } of batch) {
        if (type === 'ADDED') order.push(`+${object.metadata.name}`);
        if (type === 'DELETED') order.push(`-${object.metadata.name}`);
      }
  })().catch(() => undefined);
  return order;
}

test('pods come one after the other, each when the one before is ready, with name, host name and labels', async (t) => {
  const { cluster, controller } = await openControlPlane(t);
  await controller(statefulSet);
  await cluster.create(resources.statefulSets, newSet(3));
  const [first] = await someNames(cluster, 'db-0');
  await quiescence(cluster);
  t.deepEqual(await namesOf(cluster), ['db-0']);
  await run(cluster, 'db-0');
  await someNames(cluster, 'db-0', 'db-1');
  await run(cluster, 'db-1');
  await someNames(cluster, 'db-0', 'db-1', 'db-2');
  await run(cluster, 'db-2');
  const status = await rolledOut(cluster, 3);
  t.like(status, { replicas: 3, readyReplicas: 3, availableReplicas: 3, currentReplicas: 3, updatedReplicas: 3 });
  t.like(controllerOf(first as Pod), { apiVersion: 'apps/v1', kind: 'StatefulSet', name: 'db' });
  t.is(first?.spec.hostname, 'db-0');
  t.is(first?.spec.subdomain, 'db-peers');
  t.deepEqual(first?.metadata.labels, {
    app: 'db',
    'statefulset.kubernetes.io/pod-name': 'db-0',
    'apps.kubernetes.io/pod-index': '0',
    'controller-revision-hash': status.currentRevision ?? '',
  });
  t.is(first?.metadata.generateName, undefined);
  const created = 'create Pod db-0 in StatefulSet db successful';
  await someEvent(cluster, created, ({ message }) => message === created);
});

test('scales down from the highest ordinal, one after the other', async (t) => {
  const { cluster, controller } = await openControlPlane(t);
  await controller(statefulSet);
  const order = recordOrder(t, cluster);
  runKubelet(t, cluster);
  await cluster.create(resources.statefulSets, newSet(4));
  await rolledOut(cluster, 4);
  await change(cluster, { replicas: 1 });
  await rolledOut(cluster, 1);
  await someNames(cluster, 'db-0');
  t.deepEqual(order, ['+db-0', '+db-1', '+db-2', '+db-3', '-db-3', '-db-2', '-db-1']);
});

test('Parallel creates and removes all at once', async (t) => {
  const { cluster, controller } = await openControlPlane(t);
  await controller(statefulSet);
  await cluster.create(resources.statefulSets, newSet(3, { podManagementPolicy: 'Parallel' }));
  for (const pod of await someNames(cluster, 'db-0', 'db-1', 'db-2')) t.false(isPodReady(pod));
  await change(cluster, { replicas: 0 });
  await someNames(cluster);
});

test('a pod that is deleted or has failed comes back under its name, on the same claim', async (t) => {
  const { cluster, controller } = await openControlPlane(t);
  await controller(statefulSet);
  runKubelet(t, cluster);
  await cluster.create(resources.statefulSets, newSet(2, { volumeClaimTemplates: [claimTemplate] }));
  await rolledOut(cluster, 2);
  const claims = await claimsOf(cluster);
  t.deepEqual(claims.map(({ metadata }) => metadata.name).toSorted(), ['data-db-0', 'data-db-1']);
  t.deepEqual(claims[0]?.metadata.labels, { tier: 'fast', app: 'db' });
  t.deepEqual(claims[0]?.metadata.ownerReferences ?? [], []);
  const [before, second] = await podsOf(cluster);
  t.deepEqual(
    before?.spec.volumes?.filter(({ persistentVolumeClaim }) => persistentVolumeClaim !== undefined),
    [{ name: 'data', persistentVolumeClaim: { claimName: 'data-db-0' } }],
  );
  await cluster.delete(resources.pods, splitKey(keyOf(before as Pod)));
  await patchStatus(cluster, second as Pod, { phase: 'Failed' });
  await eventually('both are new and ready', async () => {
    const pods = await podsOf(cluster);
    return (
      pods.length === 2 &&
      pods.every(isPodReady) &&
      pods[0]?.metadata.uid !== before?.metadata.uid &&
      pods[1]?.metadata.uid !== second?.metadata.uid
    );
  });
  t.deepEqual(
    (await claimsOf(cluster)).map(({ metadata }) => metadata.uid).toSorted(),
    claims.map(({ metadata }) => metadata.uid).toSorted(),
  );
  await someEvent(cluster, 'RecreatingFailedPod', ({ reason }) => reason === 'RecreatingFailedPod');
});

test('a rolling update goes from the highest ordinal down; a roll-back takes the old revision up again', async (t) => {
  const { cluster, controller } = await openControlPlane(t);
  await controller(statefulSet);
  runKubelet(t, cluster);
  await cluster.create(resources.statefulSets, newSet(3));
  await rolledOut(cluster, 3);
  const order = recordOrder(t, cluster);
  await eventually('the watch has begun', () => order.length === 3);
  order.length = 0;
  await setImage(cluster, 'v2');
  await rolledOut(cluster, 3);
  t.deepEqual(order, ['-db-2', '+db-2', '-db-1', '+db-1', '-db-0', '+db-0']);
  t.deepEqual(await imagesOf(cluster), ['v2', 'v2', 'v2']);
  const [first, second] = await revisionsOf(cluster);
  t.deepEqual([first?.revision, second?.revision], [1, 2]);
  await cluster.patch(resources.statefulSets, key, { kind: 'strategic', body: first?.data });
  const status = await rolledOut(cluster, 3);
  t.deepEqual(await imagesOf(cluster), ['host', 'host', 'host']);
  t.is(status.currentRevision, first?.metadata.name);
  t.deepEqual(
    (await revisionsOf(cluster)).map(({ revision }) => revision),
    [2, 3],
  );
});

test('partition: pods below it keep the old template, even when they come back', async (t) => {
  const { cluster, controller } = await openControlPlane(t);
  await controller(statefulSet);
  runKubelet(t, cluster);
  const updateStrategy = (partition: number) => ({ type: 'RollingUpdate', rollingUpdate: { partition } });
  await cluster.create(resources.statefulSets, newSet(3, { updateStrategy: updateStrategy(2) }));
  await rolledOut(cluster, 3);
  await setImage(cluster, 'v2');
  await eventually('the last is updated and ready', async () => {
    const { status } = await read(cluster);
    return status?.updatedReplicas === 1 && status.readyReplicas === 3;
  });
  await quiescence(cluster);
  t.deepEqual(await imagesOf(cluster), ['host', 'host', 'v2']);
  const [pod] = await podsOf(cluster);
  await cluster.delete(resources.pods, splitKey(keyOf(pod as Pod)));
  const status = await eventually('it is back, and counted', async () => {
    const [found] = await podsOf(cluster);
    if (found?.metadata.name !== 'db-0' || found.metadata.uid === pod?.metadata.uid || !isPodReady(found)) return false;
    const { status: now } = await read(cluster);
    return now?.readyReplicas === 3 && now.currentReplicas === 2 && now;
  });
  t.deepEqual(await imagesOf(cluster), ['host', 'host', 'v2']);
  t.not(status?.currentRevision, status?.updateRevision);
  t.like(status, { currentReplicas: 2, updatedReplicas: 1 });
  await change(cluster, { updateStrategy: updateStrategy(0) });
  await rolledOut(cluster, 3);
  t.deepEqual(await imagesOf(cluster), ['v2', 'v2', 'v2']);
});

test('OnDelete waits for someone to delete the pod', async (t) => {
  const { cluster, controller } = await openControlPlane(t);
  await controller(statefulSet);
  runKubelet(t, cluster);
  await cluster.create(resources.statefulSets, newSet(2, { updateStrategy: { type: 'OnDelete' } }));
  await eventually('both are ready', async () => (await read(cluster)).status?.readyReplicas === 2);
  await setImage(cluster, 'v2');
  await quiescence(cluster);
  t.deepEqual(await imagesOf(cluster), ['host', 'host']);
  await cluster.delete(resources.pods, { namespace: 'default', name: 'db-0' });
  await eventually('db-0 is new', async () => (await imagesOf(cluster)).join() === 'v2,host');
  t.pass();
});

test('an update that does not become ready stops at its first pod', async (t) => {
  const { cluster, controller } = await openControlPlane(t);
  await controller(statefulSet);
  runKubelet(t, cluster, { isReady: ({ spec }) => spec.containers[0]?.image !== 'broken' });
  await cluster.create(resources.statefulSets, newSet(3));
  await rolledOut(cluster, 3);
  await setImage(cluster, 'broken');
  await eventually('one is broken', async () => (await imagesOf(cluster)).at(-1) === 'broken');
  await quiescence(cluster);
  t.deepEqual(await imagesOf(cluster), ['host', 'host', 'broken']);
  t.is((await read(cluster)).status?.readyReplicas, 2);
});

test('minReadySeconds holds back the next pod and availableReplicas', async (t) => {
  const { cluster, controller } = await openControlPlane(t);
  await controller(statefulSet);
  await cluster.create(resources.statefulSets, newSet(2, { minReadySeconds: 3600 }));
  await someNames(cluster, 'db-0');
  await run(cluster, 'db-0');
  await eventually('it is ready', async () => (await read(cluster)).status?.readyReplicas === 1);
  await quiescence(cluster);
  t.deepEqual(await namesOf(cluster), ['db-0']);
  t.is((await read(cluster)).status?.availableReplicas ?? 0, 0);
  const pod = await cluster.get(resources.pods, { namespace: 'default', name: 'db-0' });
  await setRunning(cluster, pod, true, new Date(Date.now() - 7_200_000));
  await someNames(cluster, 'db-0', 'db-1');
  await eventually('one is available', async () => (await read(cluster)).status?.availableReplicas === 1);
});

test('persistentVolumeClaimRetentionPolicy: claims go with the scaled pod, or with the set', async (t) => {
  const { cluster, controller } = await openControlPlane(t);
  await controller(statefulSet);
  await controller(garbageCollector);
  runKubelet(t, cluster);
  const names = async () => (await claimsOf(cluster)).map(({ metadata }) => metadata.name).toSorted();
  const someClaims = (...wanted: string[]) =>
    eventually(`claims ${wanted.join(', ')}`, async () => JSON.stringify(await names()) === JSON.stringify(wanted));
  const free = async () => {
    // Nothing here unprotects claims: the test's own hand does.
    for (const claim of await claimsOf(cluster))
      if (claim.metadata.deletionTimestamp !== undefined)
        await cluster.patch(resources.persistentVolumeClaims, splitKey(keyOf(claim)), {
          kind: 'merge',
          body: { metadata: { finalizers: null } },
        });
    return true;
  };
  const persistentVolumeClaimRetentionPolicy = { whenScaled: 'Delete', whenDeleted: 'Retain' };
  const spec = { volumeClaimTemplates: [claimTemplate], persistentVolumeClaimRetentionPolicy };
  await cluster.create(resources.statefulSets, newSet(3, spec));
  await rolledOut(cluster, 3);
  await change(cluster, { replicas: 1 });
  await eventually('two claims are gone', async () => (await free()) && (await names()).length === 1);
  await someClaims('data-db-0');
  await change(cluster, { replicas: 2 });
  await rolledOut(cluster, 2);
  await someClaims('data-db-0', 'data-db-1');
  await change(cluster, { persistentVolumeClaimRetentionPolicy: { whenScaled: 'Retain', whenDeleted: 'Delete' } });
  await eventually('the claims belong to the set', async () =>
    (await claimsOf(cluster)).every(({ metadata }) => metadata.ownerReferences?.[0]?.kind === 'StatefulSet'),
  );
  await change(cluster, { replicas: 1 });
  await rolledOut(cluster, 1);
  await quiescence(cluster);
  await someClaims('data-db-0', 'data-db-1');
  await cluster.delete(resources.statefulSets, key);
  await eventually('all claims are gone', async () => (await free()) && (await names()).length === 0);
  t.pass();
});

test('ordinals.start moves the names', async (t) => {
  const { cluster, controller } = await openControlPlane(t);
  await controller(statefulSet);
  runKubelet(t, cluster);
  await cluster.create(resources.statefulSets, newSet(2, { ordinals: { start: 5 } }));
  await rolledOut(cluster, 2);
  t.deepEqual(await namesOf(cluster), ['db-5', 'db-6']);
});

test('restarts at any point: the same pods in the same order', async (t) => {
  const { cluster, controller } = await openControlPlane(t);
  const order = recordOrder(t, cluster);
  runKubelet(t, cluster);
  await cluster.create(resources.statefulSets, newSet(4));
  for (let round = 0; round < 6; round++) {
    const stop = await controller(statefulSet);
    await new Promise((resolve) => setTimeout(resolve, round));
    await stop();
  }
  await controller(statefulSet);
  await rolledOut(cluster, 4);
  t.deepEqual(order, ['+db-0', '+db-1', '+db-2', '+db-3']);
  t.is((await revisionsOf(cluster)).length, 1);
});

test('revisionHistoryLimit keeps the latest old templates', async (t) => {
  const { cluster, controller } = await openControlPlane(t);
  await controller(statefulSet);
  runKubelet(t, cluster);
  await cluster.create(resources.statefulSets, newSet(1, { revisionHistoryLimit: 1 }));
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
