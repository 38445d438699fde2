import test from 'ava';
import type { Cluster, KubernetesObject } from '../../../kernel/contract/index.ts';
import type { ConfigMap, OwnerReference } from '../../../kernel/contract/kubernetes.ts';
import { ownerReference } from '../../../kernel/machinery/metadata.ts';
import { resources } from '../../../kernel/machinery/resources.ts';
import garbageCollector from '../../../plugins/controllers/garbage-collector/index.ts';
import { eventually, find, openControlPlane, podSpec, quiescence } from './control-plane.ts';

const key = (name: string) => ({ namespace: 'default', name });

const make = (
  cluster: Cluster,
  name: string,
  ...owners: readonly (KubernetesObject | OwnerReference)[]
): Promise<ConfigMap> =>
  cluster.create(resources.configMaps, {
    metadata: {
      ...key(name),
      ownerReferences: owners.map((owner) =>
        'metadata' in owner ? ownerReference(owner, { controller: false }) : owner,
      ),
    },
  });

const exists = async (cluster: Cluster, name: string) =>
  (await find(cluster, resources.configMaps, key(name))) !== undefined;

const gone = (cluster: Cluster, name: string) =>
  eventually(`${name} is gone`, async () => !(await exists(cluster, name)));

const remove = (cluster: Cluster, name: string, propagationPolicy?: 'Orphan' | 'Background' | 'Foreground') =>
  cluster.delete(resources.configMaps, key(name), propagationPolicy === undefined ? {} : { propagationPolicy });

const absent = (name: string, more: Partial<OwnerReference> = {}): OwnerReference => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  name,
  uid: 'no-such-uid',
  ...more,
});

test('background: dependents follow their owner, generation after generation', async (t) => {
  const { cluster, controller } = await openControlPlane(t);
  await controller(garbageCollector);
  const owner = await make(cluster, 'owner');
  const child = await make(cluster, 'child', owner);
  await make(cluster, 'grandchild', child);
  await make(cluster, 'stranger');
  await quiescence(cluster);
  t.true(await exists(cluster, 'grandchild'));
  t.true((await remove(cluster, 'owner', 'Background')).gone);
  await gone(cluster, 'child');
  await gone(cluster, 'grandchild');
  t.true(await exists(cluster, 'stranger'));
});

test('foreground: the owner goes last, after every dependent that blocks it', async (t) => {
  const { cluster, controller } = await openControlPlane(t);
  await controller(garbageCollector);
  const owner = await make(cluster, 'owner');
  const child = await make(cluster, 'child', owner);
  await cluster.create(resources.configMaps, {
    metadata: {
      ...key('grandchild'),
      finalizers: ['example.com/hold'],
      ownerReferences: [ownerReference(child)],
    },
  });
  await quiescence(cluster);
  t.false((await remove(cluster, 'owner', 'Foreground')).gone);
  await eventually('the grandchild is going', async () => {
    const object = await cluster.get(resources.configMaps, key('grandchild'));
    return object.metadata.deletionTimestamp !== undefined;
  });
  await quiescence(cluster);
  t.true(await exists(cluster, 'owner'));
  t.true(await exists(cluster, 'child'));
  await cluster.patch(resources.configMaps, key('grandchild'), {
    kind: 'merge',
    body: { metadata: { finalizers: null } },
  });
  for (const name of ['grandchild', 'child', 'owner']) await gone(cluster, name);
});

test('foreground: a dependent that does not block is deleted but not waited for', async (t) => {
  const { cluster, controller } = await openControlPlane(t);
  await controller(garbageCollector);
  const owner = await make(cluster, 'owner');
  await cluster.create(resources.configMaps, {
    metadata: {
      ...key('child'),
      finalizers: ['example.com/hold'],
      ownerReferences: [ownerReference(owner, { blockOwnerDeletion: false, controller: false })],
    },
  });
  await remove(cluster, 'owner', 'Foreground');
  await gone(cluster, 'owner');
  await eventually('the child is going', async () => {
    const object = await cluster.get(resources.configMaps, key('child'));
    return object.metadata.deletionTimestamp !== undefined;
  });
  t.pass();
});

test('orphan: dependents stay, without the reference', async (t) => {
  const { cluster, controller } = await openControlPlane(t);
  await controller(garbageCollector);
  const owner = await make(cluster, 'owner');
  const other = await make(cluster, 'other');
  await make(cluster, 'child', owner, other);
  await remove(cluster, 'owner', 'Orphan');
  await gone(cluster, 'owner');
  await quiescence(cluster);
  const child = await cluster.get(resources.configMaps, key('child'));
  t.deepEqual(
    child.metadata.ownerReferences?.map(({ name }) => name),
    ['other'],
  );
});

test('with one of two owners gone the dependent stays and loses that reference', async (t) => {
  const { cluster, controller } = await openControlPlane(t);
  await controller(garbageCollector);
  const first = await make(cluster, 'first');
  const second = await make(cluster, 'second');
  await make(cluster, 'child', first, second);
  await remove(cluster, 'first', 'Background');
  await eventually('one reference', async () => {
    const child = await cluster.get(resources.configMaps, key('child'));
    return child.metadata.ownerReferences?.length === 1;
  });
  await remove(cluster, 'second', 'Background');
  await gone(cluster, 'child');
  t.pass();
});

test('an owner that never was, or has another uid by now, is gone; one of an unknown kind is not', async (t) => {
  const { cluster, controller } = await openControlPlane(t);
  await make(cluster, 'reused');
  await make(cluster, 'of-nobody', absent('nobody'));
  await make(cluster, 'of-reused', absent('reused'));
  await make(cluster, 'of-unknown', absent('x', { apiVersion: 'example.com/v1', kind: 'Widget' }));
  await controller(garbageCollector);
  await gone(cluster, 'of-nobody');
  await gone(cluster, 'of-reused');
  await quiescence(cluster);
  t.true(await exists(cluster, 'of-unknown'));
  t.true(await exists(cluster, 'reused'));
});

test('across kinds: a pod of a deleted ReplicaSet; work left by a collector that was stopped is done by the next', async (t) => {
  const { cluster, controller } = await openControlPlane(t);
  const stop = await controller(garbageCollector);
  const set = await cluster.create(resources.replicaSets, {
    metadata: key('web'),
    spec: {
      replicas: 0,
      selector: { matchLabels: { app: 'web' } },
      template: { metadata: { labels: { app: 'web' } }, spec: podSpec() },
    },
    status: { replicas: 0 },
  });
  await cluster.create(resources.pods, {
    metadata: { ...key('web-1'), ownerReferences: [ownerReference(set)] },
    spec: podSpec(),
  });
  const owner = await make(cluster, 'owner');
  await make(cluster, 'child', owner);
  await quiescence(cluster);
  await stop();
  await cluster.delete(resources.replicaSets, key('web'), { propagationPolicy: 'Background' });
  await remove(cluster, 'owner', 'Foreground');
  await quiescence(cluster);
  t.not(await find(cluster, resources.pods, key('web-1')), undefined);
  await controller(garbageCollector);
  await eventually('the pod is gone', async () => (await find(cluster, resources.pods, key('web-1'))) === undefined);
  await gone(cluster, 'owner');
});
