import test from 'ava';
import { isPintleError, type Cluster } from '../../../kernel/contract/index.ts';
import type { Pod, PodDisruptionBudget, PodDisruptionBudgetSpec } from '../../../kernel/contract/kubernetes.ts';
import { findCondition } from '../../../kernel/machinery/metadata.ts';
import { resources } from '../../../kernel/machinery/resources.ts';
import daemonSet from '../../../plugins/controllers/daemon-set/index.ts';
import deployment from '../../../plugins/controllers/deployment/index.ts';
import podDisruptionBudget from '../../../plugins/controllers/pod-disruption-budget/index.ts';
import { disruption } from '../../../plugins/controllers/pod-disruption-budget/disruption-status.ts';
import replicaset from '../../../plugins/controllers/replicaset/index.ts';
import { ManualClock } from '../machinery/manual-clock.ts';
import {
  bindTo,
  eventually,
  makeNode,
  openControlPlane,
  podSpec,
  quiescence,
  runKubelet,
  setRunning,
} from './control-plane.ts';

const key = { namespace: 'default', name: 'budget' };
const selector = { matchLabels: { app: 'web' } };

const newBudget = (spec: Partial<PodDisruptionBudgetSpec>) => ({ metadata: key, spec: { selector, ...spec } });

const read = (cluster: Cluster) => cluster.get(resources.podDisruptionBudgets, key);

const podsOf = async (cluster: Cluster): Promise<readonly Pod[]> =>
  (await cluster.list(resources.pods, { namespace: 'default', labelSelector: 'app=web' })).items;

const withStatus = (cluster: Cluster, wanted: Partial<NonNullable<PodDisruptionBudget['status']>>) =>
  eventually(`the status is ${JSON.stringify(wanted)}`, async () => {
    const found = await read(cluster);
    const status: Readonly<Record<string, unknown>> = { ...found.status };
    return Object.entries(wanted).every(([name, value]) => (status[name] ?? 0) === value) && found;
  });

async function makePod(cluster: Cluster, name: string, isReady = true): Promise<Pod> {
  const pod = await cluster.create(resources.pods, {
    metadata: { namespace: 'default', name, labels: { app: 'web' } },
    spec: podSpec(),
  });
  await bindTo(cluster, pod, 'node-1');
  return setRunning(cluster, pod, isReady);
}

const evict = (cluster: Cluster, name: string) =>
  cluster.create(resources.pods, { metadata: { name, namespace: 'default' } } as never, {
    subresource: 'eviction',
    parent: { namespace: 'default', name },
  });

function makeDeployment(cluster: Cluster, replicas: number) {
  return cluster.create(resources.deployments, {
    metadata: { namespace: 'default', name: 'web' },
    spec: { replicas, selector, template: { metadata: { labels: { app: 'web' } }, spec: podSpec() } },
  });
}

test('minAvailable as a number: the spare pods may go, the next eviction is refused with 429', async (t) => {
  const { cluster, controller } = await openControlPlane(t);
  await controller(podDisruptionBudget);
  for (const name of ['a', 'b', 'c']) await makePod(cluster, name);
  await makePod(cluster, 'd', false);
  await cluster.create(resources.podDisruptionBudgets, newBudget({ minAvailable: 2 }));
  const numbers = { disruptionsAllowed: 1, currentHealthy: 3, desiredHealthy: 2, expectedPods: 4 };
  const budget = await withStatus(cluster, numbers);
  t.is(budget.status?.observedGeneration, budget.metadata.generation);
  t.like(findCondition(budget.status?.conditions, 'DisruptionAllowed'), { status: 'True', reason: 'SufficientPods' });
  await evict(cluster, 'a');
  const used = await withStatus(cluster, { disruptionsAllowed: 0, currentHealthy: 2 });
  t.like(findCondition(used.status?.conditions, 'DisruptionAllowed'), { status: 'False', reason: 'InsufficientPods' });
  const refused = await t.throwsAsync(evict(cluster, 'b'));
  t.true(isPintleError(refused, 'TOO_MANY_REQUESTS'));
  await setRunning(cluster, await cluster.get(resources.pods, { namespace: 'default', name: 'd' }));
  await withStatus(cluster, { disruptionsAllowed: 1, currentHealthy: 3 });
  await evict(cluster, 'b');
});

test('maxUnavailable counts from what the Deployment asks for, and follows its scale', async (t) => {
  const { cluster, controller } = await openControlPlane(t);
  for (const each of [podDisruptionBudget, deployment, replicaset]) await controller(each);
  runKubelet(t, cluster);
  await cluster.create(resources.podDisruptionBudgets, newBudget({ maxUnavailable: '30%' }));
  await makeDeployment(cluster, 5);
  // 30% of 5 rounds up to 2.
  await withStatus(cluster, { expectedPods: 5, currentHealthy: 5, desiredHealthy: 3, disruptionsAllowed: 2 });
  await cluster.patch(
    resources.deployments,
    { namespace: 'default', name: 'web' },
    { kind: 'merge', body: { spec: { replicas: 10 } } },
  );
  await withStatus(cluster, { expectedPods: 10, currentHealthy: 10, desiredHealthy: 7, disruptionsAllowed: 3 });
  t.pass();
});

test('minAvailable as a share rounds up', async (t) => {
  const { cluster, controller } = await openControlPlane(t);
  for (const each of [podDisruptionBudget, deployment, replicaset]) await controller(each);
  runKubelet(t, cluster);
  await makeDeployment(cluster, 3);
  await cluster.create(resources.podDisruptionBudgets, newBudget({ minAvailable: '50%' }));
  await withStatus(cluster, { expectedPods: 3, currentHealthy: 3, desiredHealthy: 2, disruptionsAllowed: 1 });
  t.pass();
});

test('a drain by evictions never takes more than the budget allows', async (t) => {
  const { cluster, controller } = await openControlPlane(t);
  for (const each of [podDisruptionBudget, deployment, replicaset]) await controller(each);
  let mayBeReady = true;
  runKubelet(t, cluster, { isReady: () => (mayBeReady ? true : undefined) });
  await makeDeployment(cluster, 6);
  await cluster.create(resources.podDisruptionBudgets, newBudget({ maxUnavailable: 2 }));
  await withStatus(cluster, { disruptionsAllowed: 2, currentHealthy: 6 });
  mayBeReady = false;
  const names = (await podsOf(cluster)).map(({ metadata }) => metadata.name);
  const results = await Promise.allSettled(names.map((name) => evict(cluster, name)));
  t.is(results.filter(({ status }) => status === 'fulfilled').length, 2);
  for (const result of results)
    if (result.status === 'rejected') t.true(isPintleError(result.reason, 'TOO_MANY_REQUESTS'));
  await withStatus(cluster, { disruptionsAllowed: 0, currentHealthy: 4 });
  await quiescence(cluster);
  t.is((await read(cluster)).status?.currentHealthy, 4);
});

test('pods of a workload without a scale: no disruption, and it says why', async (t) => {
  const { cluster, controller } = await openControlPlane(t);
  await controller(podDisruptionBudget);
  await controller(daemonSet);
  await makeNode(cluster, 'node-1');
  runKubelet(t, cluster);
  await cluster.create(resources.daemonSets, {
    metadata: { namespace: 'default', name: 'web' },
    spec: { selector, template: { metadata: { labels: { app: 'web' } }, spec: podSpec() } },
  });
  await cluster.create(resources.podDisruptionBudgets, newBudget({ maxUnavailable: 1 }));
  const budget = await eventually('it says that it failed', async () => {
    const found = await read(cluster);
    return findCondition(found.status?.conditions, 'DisruptionAllowed')?.reason === 'SyncFailed' && found;
  });
  t.is(budget.status?.disruptionsAllowed ?? 0, 0);
  await quiescence(cluster);
  const { items } = await cluster.list(resources.events, { namespace: 'default' });
  t.true(items.some(({ reason }) => reason === 'CalculateExpectedPodCountFailed'));
});

test('an eviction that nobody carried out is forgotten after a while', async (t) => {
  const clock = new ManualClock();
  const { cluster, controller } = await openControlPlane(t, clock);
  await controller(podDisruptionBudget, {}, clock);
  for (const name of ['a', 'b']) await makePod(cluster, name);
  await cluster.create(resources.podDisruptionBudgets, newBudget({ minAvailable: 1 }));
  await withStatus(cluster, { disruptionsAllowed: 1 });
  const disruptedPods = { a: new Date(clock.now()).toISOString().replace(/\.\d+/, '') };
  const status = { disruptedPods, disruptionsAllowed: 0 };
  await cluster.patch(
    resources.podDisruptionBudgets,
    key,
    { kind: 'merge', body: { status } },
    { subresource: 'status' },
  );
  await withStatus(cluster, { currentHealthy: 1, disruptionsAllowed: 0 });
  await clock.advance(119_000);
  await quiescence(cluster);
  t.is((await read(cluster)).status?.currentHealthy, 1);
  await clock.advance(2_000);
  const budget = await withStatus(cluster, { currentHealthy: 2, disruptionsAllowed: 1 });
  t.deepEqual(budget.status?.disruptedPods ?? {}, {});
  await quiescence(cluster);
  const { items } = await cluster.list(resources.events, { namespace: 'default' });
  t.true(items.some(({ reason, involvedObject }) => reason === 'NotDeleted' && involvedObject.name === 'a'));
});

test('without pods nothing may go; at rest nothing is written', async (t) => {
  const { cluster, controller } = await openControlPlane(t);
  await controller(podDisruptionBudget);
  await cluster.create(resources.podDisruptionBudgets, newBudget({ minAvailable: 0 }));
  const budget = await eventually('it is looked at', async () => {
    const found = await read(cluster);
    return found.status?.observedGeneration === found.metadata.generation && found;
  });
  t.like(findCondition(budget.status?.conditions, 'DisruptionAllowed'), { status: 'False' });
  await quiescence(cluster);
  const before = cluster.server?.revision ?? 0;
  await cluster.create(resources.pods, {
    metadata: { namespace: 'default', name: 'stranger', labels: { app: 'other' } },
    spec: podSpec(),
  });
  await quiescence(cluster);
  t.is((cluster.server?.revision ?? 0) - before, 1);
});

test('a status that is the same as before is the same text', (t) => {
  const budget = { ...newBudget({ minAvailable: 1 }), apiVersion: 'policy/v1', kind: 'PodDisruptionBudget' };
  const input = { pods: [], scale: () => ({ pods: 0, unmanaged: [], fault: undefined }), evictionTimeoutMs: 1000 };
  const first = disruption({ ...input, budget: budget as never, now: 0 });
  const again = disruption({ ...input, budget: { ...budget, status: first.status } as never, now: 5_000 });
  t.deepEqual(again.status, first.status);
});

test('of pods without a controller an event tells, though they change no number', async (t) => {
  const { cluster, controller } = await openControlPlane(t);
  await controller(podDisruptionBudget);
  await cluster.create(resources.podDisruptionBudgets, newBudget({ maxUnavailable: 0 }));
  await withStatus(cluster, { observedGeneration: 1, expectedPods: 0 });
  await makePod(cluster, 'lonely', false);
  const event = await eventually('the event', async () =>
    (await cluster.list(resources.events)).items.find(({ reason }) => reason === 'UnmanagedPods'),
  );
  t.regex(event.message ?? '', /lonely/);
});
