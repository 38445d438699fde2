import test from 'ava';
import { PintleError, type Cluster, type Component, type SchedulerPolicy } from '../../../kernel/contract/index.ts';
import type { Pod, PodSpec } from '../../../kernel/contract/kubernetes.ts';
import { findCondition } from '../../../kernel/machinery/metadata.ts';
import { resources } from '../../../kernel/machinery/resources.ts';
import scheduler from '../../../plugins/components/scheduler/index.ts';
import binpack from '../../../plugins/schedulers/binpack/index.ts';
import spread from '../../../plugins/schedulers/spread/index.ts';
import {
  eventually,
  makeNode,
  openControlPlane,
  podSpec,
  quiescence,
  startPlugin,
} from '../controllers/control-plane.ts';

type Test = { teardown(undo: () => unknown): void };

async function open(
  t: Test,
  options: {
    wrap?: (cluster: Cluster) => Cluster;
    config?: object;
    policies?: readonly (readonly [string, SchedulerPolicy])[];
  } = {},
) {
  const { cluster } = await openControlPlane(t);
  const start = async () => {
    const policies = new Map<string, SchedulerPolicy>([
      ['spread', await startPlugin<SchedulerPolicy>(spread)],
      ['binpack', await startPlugin<SchedulerPolicy>(binpack)],
      ...(options.policies ?? []),
    ]);
    const uses = { cluster: options.wrap?.(cluster) ?? cluster, scheduler: policies };
    const component = await startPlugin<Component>(scheduler, { uses, config: options.config ?? {} });
    t.teardown(() => component[Symbol.asyncDispose]());
    return component;
  };
  return { cluster, start };
}

const requests = (cpu: string): PodSpec['containers'] => [
  { name: 'main', image: 'host', resources: { requests: { cpu } } },
];

async function makePod(
  cluster: Cluster,
  name: string,
  more: Partial<PodSpec> = {},
  labels: Record<string, string> = {},
): Promise<Pod> {
  return cluster.create(resources.pods, { metadata: { namespace: 'default', name, labels }, spec: podSpec(more) });
}

const nodeOf = async (cluster: Cluster, name: string) =>
  (await cluster.get(resources.pods, { namespace: 'default', name })).spec.nodeName;

const placed = (cluster: Cluster, name: string) => eventually(`pod ${name} has a node`, () => nodeOf(cluster, name));

const scheduledCondition = async (cluster: Cluster, name: string) =>
  findCondition((await cluster.get(resources.pods, { namespace: 'default', name })).status?.conditions, 'PodScheduled');

const unschedulable = (cluster: Cluster, name: string, message: string) =>
  eventually(`pod ${name}: ${message}`, async () => {
    const condition = await scheduledCondition(cluster, name);
    return condition?.status === 'False' && condition.message === message && condition;
  });

async function counts(cluster: Cluster): Promise<Record<string, number>> {
  const { items } = await cluster.list(resources.pods);
  const result: Record<string, number> = {};
  for (const { spec } of items) result[spec.nodeName ?? ''] = (result[spec.nodeName ?? ''] ?? 0) + 1;
  return result;
}

test('spreads equal pods evenly, with or without requests, and says so', async (t) => {
  const { cluster, start } = await open(t);
  for (const name of ['a', 'b', 'c']) await makeNode(cluster, name);
  for (let i = 0; i < 6; i++) await makePod(cluster, `plain-${i}`);
  for (let i = 0; i < 6; i++) await makePod(cluster, `asking-${i}`, { containers: requests('100m') });
  const component = await start();
  for (let i = 0; i < 6; i++) {
    await placed(cluster, `plain-${i}`);
    await placed(cluster, `asking-${i}`);
  }
  t.deepEqual(await counts(cluster), { a: 4, b: 4, c: 4 });
  t.deepEqual(component.status(), { ready: true });
  t.like(await scheduledCondition(cluster, 'plain-0'), { status: 'True' });
  const message = await eventually('the event', async () => {
    const { items } = await cluster.list(resources.events, { namespace: 'default' });
    return items.find((event) => event.reason === 'Scheduled' && event.involvedObject.name === 'plain-0')?.message;
  });
  t.regex(message, /^Successfully assigned default\/plain-0 to [abc]$/);
  // What was bound is counted after the API has told of it.
  const metrics = await eventually('all are counted', async () => {
    const text = (await component.metrics?.()) ?? '';
    return text.includes('scheduler_schedule_attempts_total{result="scheduled"} 12') && text;
  });
  t.regex(metrics, /scheduler_scheduling_attempt_duration_seconds_count 1[2-9]/);
});

test('each pod by the policy that it names; unknown names are left alone', async (t) => {
  const { cluster, start } = await open(t);
  for (const name of ['a', 'b', 'c']) await makeNode(cluster, name);
  await start();
  for (let i = 0; i < 5; i++) await makePod(cluster, `packed-${i}`, { schedulerName: 'binpack' });
  await makePod(cluster, 'foreign', { schedulerName: 'somebody-else' });
  const nodes = new Set<string>();
  for (let i = 0; i < 5; i++) nodes.add(await placed(cluster, `packed-${i}`));
  t.is(nodes.size, 1);
  await makePod(cluster, 'last');
  await placed(cluster, 'last');
  await quiescence(cluster);
  t.is(await nodeOf(cluster, 'foreign'), undefined);
  t.is(await scheduledCondition(cluster, 'foreign'), undefined);
});

test('profiles from the config; one that names no policy is refused at the start', async (t) => {
  const { cluster, start } = await open(t, {
    config: { profiles: { 'default-scheduler': 'binpack', mine: 'spread' } },
  });
  for (const name of ['a', 'b']) await makeNode(cluster, name);
  await start();
  for (let i = 0; i < 4; i++) await makePod(cluster, `pod-${i}`);
  for (let i = 0; i < 4; i++) await placed(cluster, `pod-${i}`);
  t.is(Object.keys(await counts(cluster)).length, 1);
  const wrong = await open(t, { config: { profiles: { x: 'missing' } } });
  await t.throwsAsync(wrong.start, { code: 'CONFIG_INVALID', message: /"missing".*spread, binpack/s });
});

test('no node fits: reasons with counts in condition and event; woken by the change that helps', async (t) => {
  const { cluster, start } = await open(t);
  await start();
  await makePod(cluster, 'pod', { containers: requests('2') });
  await unschedulable(cluster, 'pod', 'no nodes available to schedule pods');
  for (const name of ['a', 'b'])
    await makeNode(cluster, name, { allocatable: { cpu: '1', memory: '1Gi', pods: '10' } });
  await makeNode(cluster, 'c', { spec: { taints: [{ key: 'team', value: 'x', effect: 'NoSchedule' }] } });
  await makePod(cluster, 'other', { containers: requests('2') });
  const message =
    '0/3 nodes are available: 1 node(s) had untolerated taint {team: x}, 2 Insufficient cpu. preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling.';
  const condition = await unschedulable(cluster, 'other', message);
  t.is(condition.reason, 'Unschedulable');
  await eventually('the event', async () => {
    const { items } = await cluster.list(resources.events, { namespace: 'default' });
    return items.some((event) => event.reason === 'FailedScheduling' && event.message === message);
  });
  const node = await cluster.get(resources.nodes, { name: 'c' });
  await cluster.update(resources.nodes, { ...node, spec: { ...node.spec, taints: [] } });
  t.is(await placed(cluster, 'pod'), 'c');
  t.is(await placed(cluster, 'other'), 'c');
});

test('a deleted pod makes room for one that waits; the more important pod goes first', async (t) => {
  const { cluster, start } = await open(t);
  await makeNode(cluster, 'a', { allocatable: { cpu: '1', memory: '8Gi', pods: '110' } });
  await start();
  await makePod(cluster, 'first', { containers: requests('1') });
  await placed(cluster, 'first');
  const full = '0/1 nodes are available: 1 Insufficient cpu.';
  await makePod(cluster, 'low', { containers: requests('1') });
  const nobody = ' preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod.';
  await unschedulable(cluster, 'low', full + nobody);
  await makePod(cluster, 'high', { containers: requests('1'), priorityClassName: 'system-cluster-critical' });
  await eventually('high waits', async () => (await scheduledCondition(cluster, 'high'))?.message?.startsWith(full));
  await cluster.delete(resources.pods, { namespace: 'default', name: 'first' }, { gracePeriodSeconds: 0 });
  await placed(cluster, 'high');
  await quiescence(cluster);
  t.is(await nodeOf(cluster, 'low'), undefined);
});

test('a free place does not wake all the pods that wait for one', async (t) => {
  let patches = 0;
  const { cluster, start } = await open(t, {
    wrap: (real) =>
      new Proxy(real, {
        get: (target, name) => {
          const value = Reflect.get(target, name) as (...args: unknown[]) => unknown;
          if (typeof value !== 'function') return value;
          return (...args: unknown[]) => {
            if (name === 'patch') patches++;
            return value.apply(target, args);
          };
        },
      }),
  });
  await makeNode(cluster, 'a', { allocatable: { cpu: '1', memory: '8Gi', pods: '110' } });
  await start();
  for (let i = 0; i < 30; i++) await makePod(cluster, `pod-${i}`, { containers: requests('1') });
  await eventually('29 wait', async () => {
    const { items } = await cluster.list(resources.pods);
    return (
      items.filter((pod) => findCondition(pod.status?.conditions, 'PodScheduled')?.status === 'False').length === 29
    );
  });
  await quiescence(cluster);
  patches = 0;
  const { items } = await cluster.list(resources.pods);
  const running = items.find((pod) => pod.spec.nodeName === 'a') as Pod;
  await cluster.delete(
    resources.pods,
    { namespace: 'default', name: running.metadata.name },
    { gracePeriodSeconds: 0 },
  );
  await eventually('another has it', async () => (await counts(cluster))['a'] === 1);
  await quiescence(cluster);
  t.true(patches < 5, `${patches} writes`);
});

test('a restart binds nothing twice and counts what is there', async (t) => {
  const { cluster, start } = await open(t);
  await makeNode(cluster, 'a', { allocatable: { cpu: '2', memory: '8Gi', pods: '110' } });
  const first = await start();
  await makePod(cluster, 'one', { containers: requests('1500m') });
  await placed(cluster, 'one');
  await first[Symbol.asyncDispose]();
  await makePod(cluster, 'two', { containers: requests('1') });
  await makePod(cluster, 'three', { containers: requests('500m') });
  await start();
  t.is(await placed(cluster, 'three'), 'a');
  await unschedulable(
    cluster,
    'two',
    '0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod.',
  );
});

test('a binding that fails is forgotten and tried again, and the room is free meanwhile', async (t) => {
  let failures = 1;
  const { cluster, start } = await open(t, {
    wrap: (real) =>
      new Proxy(real, {
        get: (target, name) => {
          const value = Reflect.get(target, name) as (...args: unknown[]) => unknown;
          if (typeof value !== 'function') return value;
          return (...args: unknown[]) => {
            const options = args[2] as { subresource?: string; parent?: { name: string } } | undefined;
            if (
              name === 'create' &&
              options?.subresource === 'binding' &&
              options.parent?.name === 'unlucky' &&
              failures-- > 0
            )
              return Promise.reject(new PintleError('UNAVAILABLE', 'not now'));
            return value.apply(target, args);
          };
        },
      }),
  });
  await makeNode(cluster, 'a', { allocatable: { cpu: '3', memory: '8Gi', pods: '110' } });
  await start();
  await makePod(cluster, 'unlucky', { containers: requests('2') });
  t.is(await placed(cluster, 'unlucky'), 'a');
  await makePod(cluster, 'other', { containers: requests('1') });
  t.is(await placed(cluster, 'other'), 'a');
});

test('gates hold a pod back until they are gone', async (t) => {
  const { cluster, start } = await open(t);
  await makeNode(cluster, 'a');
  await start();
  await makePod(cluster, 'gated', { schedulingGates: [{ name: 'example.com/wait' }] });
  await makePod(cluster, 'plain');
  await placed(cluster, 'plain');
  await quiescence(cluster);
  t.is(await nodeOf(cluster, 'gated'), undefined);
  const body = { spec: { schedulingGates: [] } };
  await cluster.patch(resources.pods, { namespace: 'default', name: 'gated' }, { kind: 'merge', body });
  t.is(await placed(cluster, 'gated'), 'a');
});

test('a policy that throws fails that pod alone', async (t) => {
  const broken: SchedulerPolicy = {
    filter: () => {
      throw new Error('a bug in the policy');
    },
    score: () => 0,
  };
  const { cluster, start } = await open(t, { policies: [['broken', broken]] });
  await makeNode(cluster, 'a');
  const component = await start();
  await makePod(cluster, 'poor', { schedulerName: 'broken' });
  await makePod(cluster, 'fine');
  await placed(cluster, 'fine');
  await eventually('the event', async () => {
    const { items } = await cluster.list(resources.events, { namespace: 'default' });
    return items.some((event) => event.reason === 'FailedScheduling' && event.message === 'a bug in the policy');
  });
  t.true(component.status().ready);
});

test('a policy that looks at other nodes is given all of them, assumed pods included', async (t) => {
  // One pod of an app on each zone: needs to see where the others are.
  const apart: SchedulerPolicy = {
    classify: (pod) => ({ key: pod.metadata.labels?.['app'] ?? '', local: false }),
    filter: ({ key }, node, { nodes }) => {
      const zone = node.node.metadata.labels?.['zone'];
      const isTaken = [...nodes.values()].some(
        (other) =>
          other.node.metadata.labels?.['zone'] === zone &&
          [...other.pods.values()].some((pod) => pod.metadata.labels?.['app'] === key),
      );
      return isTaken ? { fits: false, reasons: ['zone(s) were taken'], resolvable: true } : { fits: true };
    },
    score: () => 0,
  };
  const { cluster, start } = await open(t, { policies: [['apart', apart]] });
  for (const [name, zone] of [
    ['a1', 'a'],
    ['a2', 'a'],
    ['b1', 'b'],
  ] as const)
    await makeNode(cluster, name, { labels: { zone } });
  for (const name of ['one', 'two', 'three']) await makePod(cluster, name, { schedulerName: 'apart' }, { app: 'x' });
  await start();
  await eventually('one waits', async () => (await counts(cluster))[''] === 1);
  const { items } = await cluster.list(resources.pods);
  const waiting = items.find((pod) => pod.spec.nodeName === undefined) as Pod;
  const zones = items.flatMap((pod) => (pod.spec.nodeName === undefined ? [] : [pod.spec.nodeName[0]]));
  t.deepEqual(zones.toSorted(), ['a', 'b']);
  await unschedulable(
    cluster,
    waiting.metadata.name,
    '0/3 nodes are available: 3 zone(s) were taken. preemption: 0/3 nodes are available: 3 No preemption victims found for incoming pod.',
  );
  const inA = items.find((pod) => pod.spec.nodeName?.startsWith('a') === true) as Pod;
  await cluster.delete(resources.pods, { namespace: 'default', name: inA.metadata.name }, { gracePeriodSeconds: 0 });
  t.regex(await placed(cluster, waiting.metadata.name), /^a/);
});

test('equal pods on many nodes cost few judgements, and equal nodes take turns', async (t) => {
  let judged = 0;
  const flat: SchedulerPolicy = {
    classify: () => ({ key: '', local: true }),
    filter: () => {
      judged++;
      return { fits: true };
    },
    score: () => 50,
  };
  const { cluster, start } = await open(t, { policies: [['flat', flat]] });
  for (let i = 0; i < 100; i++) await makeNode(cluster, `node-${i}`);
  for (let i = 0; i < 300; i++) await makePod(cluster, `pod-${i}`, { schedulerName: 'flat' });
  await start();
  await eventually('all are placed', async () => (await counts(cluster))[''] === undefined);
  t.true(judged <= 100 + 2 * 300, `${judged} judgements`);
  t.deepEqual(new Set(Object.values(await counts(cluster))), new Set([3]));
});
