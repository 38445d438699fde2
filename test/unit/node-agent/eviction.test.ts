import test from 'ava';
import type { NodeUsage, PodUsage } from '../../../kernel/contract/index.ts';
import type { Pod } from '../../../kernel/contract/kubernetes.ts';
import { refusalOf } from '../../../plugins/components/node-agent/eviction/admit-pod.ts';
import type { PodDiskUsage } from '../../../plugins/components/node-agent/eviction/disk-usage.ts';
import { EvictionMonitor, type Eviction } from '../../../plugins/components/node-agent/eviction/eviction-monitor.ts';
import { rankByPriority, rankByUse } from '../../../plugins/components/node-agent/eviction/rank-pods.ts';
import { storageExcess } from '../../../plugins/components/node-agent/eviction/storage-limits.ts';
import {
  isThresholdValue,
  thresholdsOf,
  upstreamHard,
  type EvictionSettings,
} from '../../../plugins/components/node-agent/eviction/thresholds.ts';

const Mi = 2 ** 20;

interface Shape {
  readonly request?: string;
  readonly priority?: number;
  readonly storage?: { readonly limit?: string; readonly request?: string };
  readonly graceSeconds?: number;
  readonly tolerations?: object[];
}

function pod(name: string, shape: Shape = {}): Pod {
  const requests = {
    ...(shape.request === undefined ? {} : { memory: shape.request }),
    ...(shape.storage?.request === undefined ? {} : { 'ephemeral-storage': shape.storage.request }),
  };
  const limits = shape.storage?.limit === undefined ? {} : { 'ephemeral-storage': shape.storage.limit };
  return {
    metadata: { name, namespace: 'default', uid: name },
    spec: {
      priority: shape.priority ?? 0,
      terminationGracePeriodSeconds: shape.graceSeconds ?? 30,
      tolerations: shape.tolerations ?? [],
      containers: [{ name: 'c', resources: { requests, limits } }],
    },
    status: { phase: 'Running' },
  } as unknown as Pod;
}

const names = (pods: readonly Pod[]): readonly string[] => pods.map(({ metadata }) => metadata.name);

test('pods above their requests go first, then low priority, then who is furthest above', (t) => {
  const pods = [
    pod('modest', { request: '100Mi' }),
    pod('important', { priority: 10 }),
    pod('greedy'),
    pod('greedier'),
    pod('unknown', { priority: 5 }),
    pod('modest-and-low', { request: '100Mi', priority: -1 }),
  ];
  const uses = new Map([
    ['modest', 50 * Mi],
    ['important', 500 * Mi],
    ['greedy', 60 * Mi],
    ['greedier', 90 * Mi],
    ['modest-and-low', 1 * Mi],
  ]);
  const ranked = rankByUse(pods, uses, 'memory');
  t.deepEqual(names(ranked), ['greedier', 'greedy', 'unknown', 'important', 'modest-and-low', 'modest']);
  t.deepEqual(names(rankByPriority(pods)).slice(0, 1), ['modest-and-low']);
});

test('a node short of memory takes pods that say how much they need, or know about it', (t) => {
  const memory = ['MemoryPressure'] as const;
  t.is(refusalOf(pod('a'), []), undefined);
  t.is(refusalOf(pod('a', { request: '1Mi' }), memory), undefined);
  t.deepEqual(refusalOf(pod('a'), memory), {
    reason: 'Evicted',
    message: 'Pod was rejected: The node had condition: [MemoryPressure]. ',
  });
  t.is(refusalOf(pod('a', { tolerations: [{ operator: 'Exists' }] }), memory), undefined);
  t.is(refusalOf(pod('a', { priority: 2_000_000_000 }), ['DiskPressure']), undefined);
  t.is(
    refusalOf(pod('a', { request: '1Mi' }), ['MemoryPressure', 'DiskPressure'])?.message,
    'Pod was rejected: The node had condition: [MemoryPressure DiskPressure]. ',
  );
});

const disk = (totalBytes: number, container = totalBytes): PodDiskUsage => ({
  totalBytes,
  containers: new Map([['c', container]]),
});

test('limits that a pod sets itself on its disk', (t) => {
  t.is(storageExcess(pod('a', { storage: { limit: '20Mi' } }), disk(20 * Mi)), undefined);
  t.is(
    storageExcess(pod('a', { storage: { limit: '20Mi' } }), disk(20 * Mi + 1)),
    'Pod ephemeral local storage usage exceeds the total limit of containers 20Mi. ',
  );
  const two = pod('a', { storage: { limit: '20Mi' } });
  two.spec.containers.push({ name: 'free', image: 'host' });
  t.is(storageExcess(two, disk(99 * Mi, 1)), undefined);
  t.is(storageExcess(two, disk(99 * Mi, 21 * Mi)), 'Container c exceeded its local ephemeral storage limit "20Mi". ');
});

test('thresholds are amounts or shares, and zero turns one off', (t) => {
  t.deepEqual(['100Mi', '10%', '5.5%', '0', '0%', '101%', 'x', '-1'].map(isThresholdValue), [
    true,
    true,
    true,
    true,
    true,
    false,
    false,
    false,
  ]);
  const thresholds = thresholdsOf({ ...settings, hard: { ...upstreamHard, 'nodefs.available': '0%' } });
  t.deepEqual(
    thresholds.map(({ signal, limit }) => [signal, limit(1000 * Mi)]),
    [
      ['memory.available', 100 * Mi],
      ['allocatableMemory.available', 100 * Mi],
      ['nodefs.inodesFree', 50 * Mi],
    ],
  );
});

const settings: EvictionSettings = {
  hard: upstreamHard,
  soft: {},
  softGraceSeconds: {},
  minimumReclaim: {},
  pressureTransitionSeconds: 300,
  maxPodGraceSeconds: 0,
};

function bed(change: Partial<EvictionSettings>, pods: Pod[], reservedMemoryBytes = 0) {
  const chosen = { ...settings, ...change };
  const world = {
    now: 1_000_000,
    uses: new Map<string, number>(),
    onDisk: new Map<string, PodDiskUsage>(),
    availableMi: 900,
    diskFree: 50,
    inodesFree: 50,
    processes: 10,
    going: new Set<string>(),
    evicted: [] as (readonly [string, Eviction])[],
    reclaimed: [] as string[],
    changes: 0,
    measured: [] as string[],
  };
  const monitor = new EvictionMonitor({
    thresholds: thresholdsOf(chosen),
    pressureTransitionMs: chosen.pressureTransitionSeconds * 1000,
    maxPodGraceMs: chosen.maxPodGraceSeconds * 1000,
    facts: () => ({ reservedMemoryBytes, isSimulated: false }),
    clock: { now: () => world.now, sleep: () => Promise.resolve() },
    log: { debug() {}, info() {}, warn() {}, error() {} },
    pods: () =>
      pods.filter(
        ({ metadata }) => !world.evicted.some(([name]) => name === metadata.name) || world.going.has(metadata.name),
      ),
    containers: async () => [],
    diskUsage: async ({ metadata }) => {
      world.measured.push(metadata.name);
      return world.onDisk.get(metadata.name) ?? disk(0);
    },
    evict: ({ metadata }, eviction) => {
      world.evicted.push([metadata.name, eviction]);
      world.going.add(metadata.name);
    },
    isGoing: (uid) => world.going.has(uid),
    changed: () => world.changes++,
    reclaiming: (resource) => world.reclaimed.push(resource),
  });
  const tick = (seconds = 10): Promise<void> => {
    world.now += seconds * 1000;
    const podUsages: PodUsage[] = [...world.uses].map(([name, bytes]) => ({
      namespace: 'default',
      name,
      uid: name,
      startedMs: 0,
      unsampled: [],
      containers: [
        {
          name: 'c',
          startedMs: 0,
          timeMs: 0,
          windowMs: 1,
          cpu: { totalNanos: 0, nanoCores: 0 },
          memory: { usageBytes: bytes, workingSetBytes: bytes },
        },
      ],
    }));
    const usage: NodeUsage = {
      nodeName: 'n',
      startedMs: 0,
      timeMs: world.now,
      windowMs: 10_000,
      cpu: { totalNanos: 0, nanoCores: 0 },
      memory: {
        usageBytes: 0,
        workingSetBytes: (1000 - world.availableMi) * Mi,
        availableBytes: world.availableMi * Mi,
      },
      fileSystem: {
        capacityBytes: 100 * Mi,
        availableBytes: world.diskFree * Mi,
        usedBytes: 0,
        inodes: 100,
        inodesFree: world.inodesFree,
      },
      processes: { count: world.processes, max: 100 },
      pods: podUsages,
    };
    return monitor.heed(usage);
  };
  return { world, monitor, tick };
}

test('memory that runs out ends the pod that is furthest above its request, one at a time', async (t) => {
  const { world, monitor, tick } = bed({}, [pod('small', { request: '50Mi' }), pod('large')]);
  world.uses = new Map([
    ['small', 10 * Mi],
    ['large', 70 * Mi],
  ]);
  await tick();
  t.deepEqual([monitor.pressures, world.evicted, world.changes], [[], [], 0]);
  world.availableMi = 90;
  await tick();
  t.deepEqual(monitor.pressures, ['MemoryPressure']);
  t.deepEqual(world.evicted, [
    [
      'large',
      {
        graceMs: 0,
        resource: 'memory',
        message:
          'The node was low on resource: memory. Threshold quantity: 100Mi, available: 90Mi. Container c was using 70Mi, request is 0, has larger consumption of memory. ',
      },
    ],
  ]);
  t.deepEqual(world.reclaimed, ['memory']);
  await tick();
  t.is(world.evicted.length, 1, 'the next waits until this one has ended');
  world.going.clear();
  world.uses.delete('large');
  world.availableMi = 500;
  await tick();
  t.is(world.evicted.length, 1);
  t.deepEqual(monitor.pressures, ['MemoryPressure'], 'a pressure lasts a while');
  await tick(300);
  t.deepEqual(monitor.pressures, []);
  t.is(world.changes, 2);
});

test('an eviction that does not end is not waited for forever', async (t) => {
  const { world, tick } = bed({}, [pod('a', { priority: 1 }), pod('b')]);
  world.availableMi = 1;
  await tick();
  await tick();
  t.is(world.evicted.length, 1);
  await tick(30);
  t.deepEqual(
    world.evicted.map(([name]) => name),
    ['b', 'a'],
  );
});

test('pods may use no more together than is not reserved', async (t) => {
  const { world, monitor, tick } = bed({}, [pod('a')], 800 * Mi);
  world.uses = new Map([['a', 99 * Mi]]);
  await tick();
  t.deepEqual(monitor.pressures, []);
  world.uses = new Map([['a', 101 * Mi]]);
  await tick();
  t.deepEqual(monitor.pressures, ['MemoryPressure']);
  t.regex(world.evicted[0]![1].message, /Threshold quantity: 100Mi, available: 99Mi/);
});

test('a soft threshold waits for its grace, and gives pods theirs', async (t) => {
  const change = {
    hard: {},
    soft: { 'memory.available': '50%' },
    softGraceSeconds: { 'memory.available': 60 },
    maxPodGraceSeconds: 20,
  };
  const { world, monitor, tick } = bed(change, [
    pod('slow', { graceSeconds: 300 }),
    pod('quick', { graceSeconds: 5, priority: 1 }),
  ]);
  world.availableMi = 400;
  await tick();
  await tick(50);
  t.deepEqual([monitor.pressures, world.evicted], [[], []]);
  world.availableMi = 600;
  await tick();
  world.availableMi = 400;
  await tick();
  await tick(59);
  t.deepEqual(world.evicted, [], 'the grace starts anew');
  await tick(1);
  t.like(world.evicted, { 0: ['slow', { graceMs: 20_000 }] });
  world.going.clear();
  await tick();
  t.like(world.evicted, { 1: ['quick', { graceMs: 5000 }] });
});

test('a disk that fills up ends the pod with most on it; only then is everybody measured', async (t) => {
  const { world, monitor, tick } = bed({}, [pod('lean'), pod('fat', { storage: { request: '5Mi' } })]);
  world.onDisk = new Map([
    ['lean', disk(1 * Mi)],
    ['fat', disk(30 * Mi)],
  ]);
  await tick();
  t.deepEqual(world.measured, []);
  world.diskFree = 9;
  await tick();
  t.deepEqual(monitor.pressures, ['DiskPressure']);
  t.deepEqual(world.measured, ['lean', 'fat']);
  t.is(world.evicted[0]![0], 'fat');
  t.is(
    world.evicted[0]![1].message,
    'The node was low on resource: ephemeral-storage. Threshold quantity: 10Mi, available: 9Mi. Container c was using 30Mi, request is 5Mi, has larger consumption of ephemeral-storage. ',
  );
  t.deepEqual(
    [...monitor.storage],
    [
      ['lean', 1 * Mi],
      ['fat', 30 * Mi],
    ],
  );
});

test('inodes and process ids run out too, and reclaim asks for more than the limit', async (t) => {
  const change = { hard: { ...upstreamHard, 'pid.available': '10%' }, minimumReclaim: { 'pid.available': '20' } };
  const { world, monitor, tick } = bed({ ...change, pressureTransitionSeconds: 0 }, [
    pod('a', { priority: 3 }),
    pod('b'),
  ]);
  world.processes = 91;
  await tick();
  t.deepEqual(monitor.pressures, ['PIDPressure']);
  t.deepEqual(
    world.evicted.map(([name, { message }]) => [name, message]),
    [['b', 'The node was low on resource: pids. Threshold quantity: 10, available: 9. ']],
  );
  world.going.clear();
  world.processes = 80;
  await tick();
  t.deepEqual(monitor.pressures, ['PIDPressure'], '20 are free, 30 are asked for');
  world.processes = 60;
  await tick();
  t.deepEqual(monitor.pressures, []);
  world.inodesFree = 4;
  await tick();
  t.deepEqual(monitor.pressures, ['DiskPressure']);
});

test('critical pods stay, whatever happens', async (t) => {
  const { world, tick } = bed({}, [pod('critical', { priority: 2_000_001_000 })]);
  world.availableMi = 1;
  await tick();
  t.deepEqual(world.evicted, []);
});

test('who breaks a limit of its own goes while the node has plenty', async (t) => {
  const { world, monitor, tick } = bed({}, [pod('a', { storage: { limit: '1Mi' } }), pod('b')]);
  world.onDisk = new Map([['a', disk(2 * Mi)]]);
  await tick();
  t.deepEqual(world.measured, ['a']);
  t.deepEqual(
    world.evicted.map(([name, { message }]) => [name, message]),
    [['a', 'Pod ephemeral local storage usage exceeds the total limit of containers 1Mi. ']],
  );
  t.deepEqual(monitor.pressures, []);
});
