import test from 'ava';
import type { Cluster, Component, NodeState, SchedulerPolicy } from '../../../kernel/contract/index.ts';
import type { Pod, PodDisruptionBudget, PodSpec } from '../../../kernel/contract/kubernetes.ts';
import { classOf } from '../../../kernel/machinery/scheduling/pod-class.ts';
import { planPreemption } from '../../../kernel/machinery/scheduling/preemption.ts';
import {
  clusterOf,
  makeNode as nodeShape,
  makePod as podShape,
  stateOf,
} from '../../../kernel/conformance/scheduler-fixtures.ts';
import { findCondition } from '../../../kernel/machinery/metadata.ts';
import { resources } from '../../../kernel/machinery/resources.ts';
import scheduler from '../../../plugins/components/scheduler/index.ts';
import binpack from '../../../plugins/schedulers/binpack/index.ts';
import spread from '../../../plugins/schedulers/spread/index.ts';
import {
  eventually,
  find,
  makeNode,
  openControlPlane,
  podSpec,
  quiescence,
  startPlugin,
} from '../controllers/control-plane.ts';

const policy = await startPlugin<SchedulerPolicy>(spread);

const important = (name: string, priority: number, cpu: string, labels: Record<string, string> = {}): Pod => {
  const pod = podShape({ name, cpu });
  return { ...pod, metadata: { ...pod.metadata, labels }, spec: { ...pod.spec, priority, nodeName: 'n' } };
};
const named = (name: string, cpu = '2') => {
  const node = nodeShape({ allocatable: { cpu, memory: '8Gi', pods: '110' } });
  return { ...node, metadata: { ...node.metadata, name } };
};
const plan = (cpu: string, states: NodeState[], budgets: PodDisruptionBudget[] = [], priority = 100) =>
  planPreemption(classOf(podShape({ cpu }), policy), policy, clusterOf(...states), { priority, budgets });
const names = (answer: ReturnType<typeof plan>) => answer.plan?.victims.map(({ metadata }) => metadata.name);

test('no more pods go than must, the least important first', (t) => {
  const placed = [important('a', 1, '1'), important('b', 2, '500m'), important('c', 3, '500m')];
  t.deepEqual(names(plan('1', [stateOf(named('n'), placed)])), ['a']);
  t.deepEqual(names(plan('1500m', [stateOf(named('n'), placed)])), ['b', 'a']);
  t.deepEqual(names(plan('2', [stateOf(named('n'), placed)])), ['c', 'b', 'a']);
});

test('pods of the same or a higher priority stay', (t) => {
  const answer = plan('2', [stateOf(named('n'), [important('a', 100, '1'), important('b', 1, '1')])]);
  t.is(answer.plan, undefined);
  t.deepEqual([...answer.reasons!], [['No preemption victims found for incoming pod', 1]]);
  const tooLarge = plan('4', [stateOf(named('n'), [important('b', 1, '1')])]);
  t.deepEqual([...tooLarge.reasons!], [['Preemption is not helpful for scheduling', 1]]);
});

test('the node where it hurts least: the lowest victim, then the fewest', (t) => {
  const one = stateOf(named('one'), [important('a', 50, '2')]);
  const two = stateOf(named('two'), [important('b', 10, '1'), important('c', 10, '1')]);
  const three = stateOf(named('three'), [important('d', 10, '2')]);
  t.is(plan('2', [one, two]).plan?.nodeName, 'two');
  t.is(plan('2', [one, two, three]).plan?.nodeName, 'three');
});

test('what a budget protects goes last', (t) => {
  const budget = (allowed: number): PodDisruptionBudget =>
    ({
      metadata: { name: 'b', namespace: 'default' },
      spec: { selector: { matchLabels: { app: 'kept' } } },
      status: { disruptionsAllowed: allowed },
    }) as unknown as PodDisruptionBudget;
  const kept = important('kept', 1, '1', { app: 'kept' });
  const free = important('free', 50, '1');
  t.deepEqual(names(plan('1', [stateOf(named('n'), [kept, free])], [budget(1)])), ['kept']);
  t.deepEqual(names(plan('1', [stateOf(named('n'), [kept, free])], [budget(0)])), ['free']);
  const both = plan('2', [stateOf(named('n'), [kept, free])], [budget(0)]);
  t.is(both.plan?.violations, 1, 'a budget is respected as far as possible');
  const other = stateOf(named('other'), [important('x', 60, '2')]);
  t.is(plan('2', [stateOf(named('n'), [kept, free]), other], [budget(0)]).plan?.nodeName, 'other');
});

const requests = (cpu: string): PodSpec['containers'] => [
  { name: 'main', image: 'host', resources: { requests: { cpu } } },
];

for (const [name, plugin] of [
  ['spread', spread],
  ['binpack', binpack],
] as const)
  test(`${name}: a more important pod takes the place of others, which are told why`, async (t) => {
    const { cluster } = await openControlPlane(t);
    const component = await startPlugin<Component>(scheduler, {
      uses: { cluster, scheduler: new Map([[name, await startPlugin<SchedulerPolicy>(plugin)]]) },
      config: {},
    });
    t.teardown(() => component[Symbol.asyncDispose]());
    const priorityClass = (name: string, value: number, preemptionPolicy?: string) =>
      cluster.create(resources.priorityClasses, {
        metadata: { name },
        value,
        ...(preemptionPolicy && { preemptionPolicy }),
      });
    await priorityClass('high', 1000);
    await priorityClass('patient', 2000, 'Never');
    await makeNode(cluster, 'a', { allocatable: { cpu: '2', memory: '8Gi', pods: '110' } });
    const make = (name: string, cpu: string, more: Partial<PodSpec> = {}) =>
      cluster.create(resources.pods, {
        metadata: { namespace: 'default', name },
        spec: podSpec({ containers: requests(cpu), terminationGracePeriodSeconds: 30, ...more }),
      });
    const get = (name: string) => find(cluster, resources.pods, { namespace: 'default', name });
    await make('low-1', '1');
    await make('low-2', '1');
    for (const name of ['low-1', 'low-2'])
      await eventually(`${name} is placed`, async () => (await get(name))?.spec.nodeName);
    await make('never', '1', { priorityClassName: 'patient' });
    await eventually('never waits', async () =>
      findCondition((await get('never'))?.status?.conditions, 'PodScheduled')?.message?.endsWith(
        'preemption: not eligible due to preemptionPolicy=Never.',
      ),
    );
    const high = await make('high', '1', { priorityClassName: 'high' });
    const victim = await eventually('a victim', async () => {
      for (const name of ['low-1', 'low-2']) {
        const pod = await get(name);
        if (pod?.metadata.deletionTimestamp !== undefined) return pod;
      }
      return undefined;
    });
    t.like(findCondition(victim.status?.conditions, 'DisruptionTarget'), {
      status: 'True',
      reason: 'PreemptionByScheduler',
      message: 'default-scheduler: preempting to accommodate a higher priority pod',
    });
    t.is((await get('high'))?.status?.nominatedNodeName, 'a');
    // The place is kept while the victim takes its time: nobody of less weight gets it.
    await make('late', '1');
    await quiescence(cluster);
    const survivors = (await cluster.list(resources.pods)).items.filter(
      ({ metadata }) => metadata.name.startsWith('low') && metadata.deletionTimestamp === undefined,
    );
    t.is(survivors.length, 1, 'one was enough');
    await cluster.delete(
      resources.pods,
      { namespace: 'default', name: victim.metadata.name },
      { gracePeriodSeconds: 0 },
    );
    // "never" is of more weight still, and is served first by what becomes free without its doing.
    const winner = await eventually('one of the two is placed', async () =>
      (await get('never'))?.spec.nodeName ? 'never' : (await get('high'))?.spec.nodeName ? 'high' : undefined,
    );
    t.true(['never', 'high'].includes(winner));
    t.is((await get('late'))?.spec.nodeName, undefined);
    const event = await eventually('the event', async () =>
      (await cluster.list(resources.events, { namespace: 'default' })).items.find(
        ({ reason }) => reason === 'Preempted',
      ),
    );
    t.like(event, { type: 'Normal', message: `Preempted by pod ${high.metadata.uid} on node a` });
    t.is(event.involvedObject.name, victim.metadata.name);
    t.regex((await component.metrics?.()) ?? '', /scheduler_preemption_attempts_total [1-9]/);
  });

async function openScheduler(t: Parameters<typeof openControlPlane>[0]): Promise<Cluster> {
  const { cluster } = await openControlPlane(t);
  const component = await startPlugin<Component>(scheduler, {
    uses: { cluster, scheduler: new Map([['spread', policy]]) },
    config: {},
  });
  t.teardown(() => component[Symbol.asyncDispose]());
  return cluster;
}

test('anti-affinity that one lower pod stands in the way of is solved by its going', async (t) => {
  const cluster = await openScheduler(t);
  await makeNode(cluster, 'a', { labels: { 'kubernetes.io/hostname': 'a' } });
  const term = { topologyKey: 'kubernetes.io/hostname', labelSelector: { matchLabels: { app: 'x' } } };
  const affinity = { podAntiAffinity: { requiredDuringSchedulingIgnoredDuringExecution: [term] } };
  const make = (name: string, spec: Partial<PodSpec>) =>
    cluster.create(resources.pods, {
      metadata: { namespace: 'default', name, labels: { app: 'x' } },
      spec: podSpec(spec),
    });
  const get = (name: string) => find(cluster, resources.pods, { namespace: 'default', name });
  await make('low', { affinity });
  await eventually('low is placed', async () => (await get('low'))?.spec.nodeName);
  await make('high', { affinity, priorityClassName: 'system-cluster-critical' });
  await eventually(
    'low goes',
    async () => (await get('low'))?.metadata.deletionTimestamp !== undefined || !(await get('low')),
  );
  await cluster
    .delete(resources.pods, { namespace: 'default', name: 'low' }, { gracePeriodSeconds: 0 })
    .catch(() => undefined);
  t.is(await eventually('high is placed', async () => (await get('high'))?.spec.nodeName), 'a');
});
