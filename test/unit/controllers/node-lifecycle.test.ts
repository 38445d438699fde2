import test from 'ava';
import type { Cluster } from '../../../kernel/contract/index.ts';
import type { Node, Pod, Taint } from '../../../kernel/contract/kubernetes.ts';
import { findCondition } from '../../../kernel/machinery/metadata.ts';
import { resources } from '../../../kernel/machinery/resources.ts';
import nodeLifecycle from '../../../plugins/controllers/node-lifecycle/index.ts';
import { evictionTime } from '../../../plugins/controllers/node-lifecycle/taint-eviction.ts';
import { wantedTaints } from '../../../plugins/controllers/node-lifecycle/wanted-taints.ts';
import { ManualClock } from '../machinery/manual-clock.ts';
import {
  bindTo,
  eventually,
  find,
  makeNode,
  openControlPlane,
  podSpec,
  quiescence,
  setRunning,
} from './control-plane.ts';

const renew = async (cluster: Cluster, name: string, time: number) => {
  const key = { namespace: 'kube-node-lease', name };
  const spec = {
    holderIdentity: name,
    leaseDurationSeconds: 40,
    renewTime: new Date(time).toISOString().replace('Z', '000Z'),
  };
  const lease = await find(cluster, resources.leases, key);
  if (lease === undefined) await cluster.create(resources.leases, { metadata: key, spec });
  else await cluster.update(resources.leases, { ...lease, spec });
};

const readNode = (cluster: Cluster, name: string) => cluster.get(resources.nodes, { name });

const taintsOf = async (cluster: Cluster, name: string) =>
  ((await readNode(cluster, name)).spec.taints ?? []).map(({ key, effect }) => `${key}:${effect}`).toSorted();

const becomeTainted = (cluster: Cluster, name: string, ...taints: string[]) =>
  eventually(
    `node ${name} is tainted ${taints.join()}`,
    async () => (await taintsOf(cluster, name)).join() === taints.join(),
  );

async function makePod(cluster: Cluster, name: string, node: string, more: Partial<Pod['spec']> = {}): Promise<Pod> {
  const pod = await cluster.create(resources.pods, { metadata: { namespace: 'default', name }, spec: podSpec(more) });
  await bindTo(cluster, pod, node);
  return setRunning(cluster, await cluster.get(resources.pods, { namespace: 'default', name }));
}

/** Moves time in steps small enough that no check is skipped. */
async function pass(clock: ManualClock, seconds: number, each?: () => Promise<void>): Promise<void> {
  for (let i = 0; i < seconds; i++) {
    await each?.();
    await clock.advance(1000);
  }
}

test('a node without heartbeats becomes Unknown and unreachable, its pods not ready; a renewed lease keeps it', async (t) => {
  const clock = new ManualClock();
  const { cluster, controller } = await openControlPlane(t);
  for (const name of ['silent', 'alive']) {
    await makeNode(cluster, name);
    await renew(cluster, name, clock.now());
  }
  await makePod(cluster, 'pod', 'silent');
  await controller(nodeLifecycle, {}, clock);
  await quiescence(cluster);
  await pass(clock, 38, () => renew(cluster, 'alive', clock.now()));
  t.is(findCondition((await readNode(cluster, 'silent')).status?.conditions, 'Ready')?.status, 'True');
  await pass(clock, 12, () => renew(cluster, 'alive', clock.now()));
  await becomeTainted(
    cluster,
    'silent',
    'node.kubernetes.io/unreachable:NoExecute',
    'node.kubernetes.io/unreachable:NoSchedule',
  );
  const node = await readNode(cluster, 'silent');
  t.like(findCondition(node.status?.conditions, 'Ready'), { status: 'Unknown', reason: 'NodeStatusUnknown' });
  await eventually('the pod is not ready', async () => {
    const pod = await cluster.get(resources.pods, { namespace: 'default', name: 'pod' });
    return findCondition(pod.status?.conditions, 'Ready')?.status === 'False';
  });
  t.is(findCondition((await readNode(cluster, 'alive')).status?.conditions, 'Ready')?.status, 'True');
  t.deepEqual(await taintsOf(cluster, 'alive'), []);
});

test('evicts by tolerationSeconds when a node stays silent, and not before', async (t) => {
  const clock = new ManualClock();
  const { cluster, controller } = await openControlPlane(t, clock);
  await makeNode(cluster, 'n1');
  await controller(nodeLifecycle, { gracePeriodSeconds: 5, checkPeriodSeconds: 1 }, clock);
  const toleration = (seconds?: number) => [
    {
      key: 'node.kubernetes.io/unreachable',
      operator: 'Exists',
      effect: 'NoExecute',
      ...(seconds === undefined ? {} : { tolerationSeconds: seconds }),
    },
  ];
  await makePod(cluster, 'patient', 'n1', { tolerations: toleration(60) });
  await makePod(cluster, 'loyal', 'n1', { tolerations: toleration() });
  await makePod(cluster, 'hasty', 'n1', { tolerations: toleration(0) });
  await quiescence(cluster);
  const isDoomed = async (name: string) => {
    const pod = await find(cluster, resources.pods, { namespace: 'default', name });
    return pod === undefined || pod.metadata.deletionTimestamp !== undefined;
  };
  await pass(clock, 8);
  await becomeTainted(
    cluster,
    'n1',
    'node.kubernetes.io/unreachable:NoExecute',
    'node.kubernetes.io/unreachable:NoSchedule',
  );
  await eventually('the hasty one goes', async () => isDoomed('hasty'));
  t.false(await isDoomed('patient'));
  await quiescence(cluster);
  await pass(clock, 70);
  await eventually('the patient one goes', async () => isDoomed('patient'));
  t.false(await isDoomed('loyal'));
});

test("a user's taint, which does not say when it came, counts from when it was seen; a later pod's time from its own start", async (t) => {
  const clock = new ManualClock();
  const { cluster, controller } = await openControlPlane(t, clock);
  await makeNode(cluster, 'n1', { spec: { taints: [{ key: 'team', value: 'x', effect: 'NoExecute' }] } });
  await controller(
    nodeLifecycle,
    { gracePeriodSeconds: 5000, startupGraceSeconds: 5000, checkPeriodSeconds: 1 },
    clock,
  );
  const tolerations = [{ key: 'team', operator: 'Exists', effect: 'NoExecute', tolerationSeconds: 60 }];
  await makePod(cluster, 'first', 'n1', { tolerations });
  const isDoomed = async (name: string) => {
    const pod = await find(cluster, resources.pods, { namespace: 'default', name });
    return pod === undefined || pod.metadata.deletionTimestamp !== undefined;
  };
  await quiescence(cluster);
  await pass(clock, 50);
  await makePod(cluster, 'later', 'n1', { tolerations });
  await quiescence(cluster);
  t.false(await isDoomed('first'));
  await pass(clock, 20);
  await eventually('the first one goes', async () => isDoomed('first'));
  await quiescence(cluster);
  t.false(await isDoomed('later'));
  await pass(clock, 50);
  await eventually('the later one goes', async () => isDoomed('later'));
});

test('taints follow conditions and spec, and other taints stay', async (t) => {
  const { cluster, controller } = await openControlPlane(t);
  await makeNode(cluster, 'n1', { spec: { taints: [{ key: 'team', value: 'x', effect: 'NoSchedule' }] } });
  await controller(nodeLifecycle);
  const setConditions = (conditions: readonly object[]) =>
    cluster.patch(
      resources.nodes,
      { name: 'n1' },
      { kind: 'merge', body: { status: { conditions } } },
      { subresource: 'status' },
    );
  await setConditions([
    { type: 'Ready', status: 'True' },
    { type: 'MemoryPressure', status: 'True' },
    { type: 'DiskPressure', status: 'False' },
    { type: 'NetworkUnavailable', status: 'True' },
  ]);
  await cluster.patch(resources.nodes, { name: 'n1' }, { kind: 'merge', body: { spec: { unschedulable: true } } });
  await becomeTainted(
    cluster,
    'n1',
    'node.kubernetes.io/memory-pressure:NoSchedule',
    'node.kubernetes.io/network-unavailable:NoSchedule',
    'node.kubernetes.io/unschedulable:NoSchedule',
    'team:NoSchedule',
  );
  await setConditions([{ type: 'Ready', status: 'False' }]);
  await cluster.patch(resources.nodes, { name: 'n1' }, { kind: 'merge', body: { spec: { unschedulable: false } } });
  await becomeTainted(
    cluster,
    'n1',
    'node.kubernetes.io/not-ready:NoExecute',
    'node.kubernetes.io/not-ready:NoSchedule',
    'team:NoSchedule',
  );
  await setConditions([{ type: 'Ready', status: 'True' }]);
  await becomeTainted(cluster, 'n1', 'team:NoSchedule');
  t.pass();
});

test('pods of a node that is deleted are removed after the grace period', async (t) => {
  const clock = new ManualClock();
  const { cluster, controller } = await openControlPlane(t);
  await makeNode(cluster, 'n1');
  await controller(nodeLifecycle, { gracePeriodSeconds: 10 }, clock);
  await makePod(cluster, 'pod', 'n1');
  await cluster.delete(resources.nodes, { name: 'n1' });
  await quiescence(cluster);
  await pass(clock, 8);
  t.not(await find(cluster, resources.pods, { namespace: 'default', name: 'pod' }), undefined);
  await pass(clock, 5);
  await eventually(
    'it is gone',
    async () => (await find(cluster, resources.pods, { namespace: 'default', name: 'pod' })) === undefined,
  );
});

test('wanted taints: nothing to do when they are there; a kept one keeps its time', (t) => {
  const node = (ready: string | undefined, taints: readonly Taint[]): Node => ({
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { name: 'n', uid: 'n', resourceVersion: '1', creationTimestamp: '' },
    spec: { taints: [...taints] },
    status: { conditions: ready === undefined ? [] : [{ type: 'Ready', status: ready }] },
  });
  const notReady = (effect: string): Taint => ({ key: 'node.kubernetes.io/not-ready', effect, timeAdded: 'before' });
  t.is(wantedTaints(node('True', []), 'now'), undefined);
  t.is(wantedTaints(node('False', [notReady('NoSchedule'), notReady('NoExecute')]), 'now'), undefined);
  t.deepEqual(wantedTaints(node(undefined, []), 'now'), [
    { key: 'node.kubernetes.io/not-ready', effect: 'NoSchedule', timeAdded: 'now' },
  ]);
  t.deepEqual(
    wantedTaints(node('False', [notReady('NoSchedule')]), 'now')?.map(
      ({ effect, timeAdded }) => `${effect} ${timeAdded}`,
    ),
    ['NoSchedule before', 'NoExecute now'],
  );
});

test('eviction time: the shortest of the tolerations, from when the taint came', (t) => {
  const now = Date.parse('2026-01-01T00:10:00Z');
  const taint = { key: 'k', effect: 'NoExecute', timeAdded: '2026-01-01T00:00:00Z' };
  const at = (tolerations: Pod['spec']['tolerations'], taints: readonly Taint[] = [taint]) =>
    evictionTime(
      {
        metadata: {},
        spec: { containers: [], ...(tolerations === undefined ? {} : { tolerations }) },
      } as unknown as Pod,
      { spec: { taints } } as unknown as Node,
      () => now,
    );
  t.is(at(undefined), 0);
  t.is(at([{ key: 'other', operator: 'Exists' }]), 0);
  t.is(at([{ key: 'k', operator: 'Exists' }]), undefined);
  t.is(at([{ key: 'k', operator: 'Exists', tolerationSeconds: 900 }]), Date.parse('2026-01-01T00:15:00Z'));
  t.is(
    at([
      { operator: 'Exists' },
      { key: 'k', operator: 'Exists', tolerationSeconds: 900 },
      { key: 'k', operator: 'Exists', tolerationSeconds: 60 },
    ]),
    Date.parse('2026-01-01T00:01:00Z'),
  );
  t.is(at(undefined, [{ key: 'k', effect: 'NoSchedule' }]), undefined);
});
