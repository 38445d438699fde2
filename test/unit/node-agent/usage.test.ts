import test from 'ava';
import type { Container, ContainerStats, Sandbox } from '../../../kernel/contract/index.ts';
import { PintleError } from '../../../kernel/contract/index.ts';
import { parseHostUsage, type HostUsage } from '../../../plugins/components/node-agent/usage/host-usage.ts';
import { UsageSampler } from '../../../plugins/components/node-agent/usage/usage-sampler.ts';

const fileSystem = { capacityBytes: 100, availableBytes: 40, usedBytes: 60, inodes: 10, inodesFree: 5 };

test('the host is read from /proc: busy ticks without idle and iowait, threads, available memory', (t) => {
  const usage = parseHostUsage(
    {
      stat: 'cpu  100 20 30 4000 500 6 7 8 0 0\ncpu0 1 2 3 4 5 6 7 8 0 0\nbtime 1700000000\n',
      meminfo: 'MemTotal:       1000 kB\nMemFree:         300 kB\nMemAvailable:    600 kB\n',
      loadavg: '0.20 0.18 0.12 1/80 11206\n',
      pidMax: '4194304\n',
    },
    fileSystem,
  );
  t.deepEqual(usage, {
    cpuNanos: (100 + 20 + 30 + 6 + 7 + 8) * 10_000_000,
    memoryTotalBytes: 1_024_000,
    memoryUsageBytes: 700 * 1024,
    memoryAvailableBytes: 600 * 1024,
    fileSystem,
    processes: { count: 80, max: 4_194_304 },
  });
});

const sandbox: Sandbox = {
  id: 's',
  podNamespace: 'default',
  podName: 'p',
  podUid: 'u',
  labels: {},
  ready: true,
  netns: undefined,
  createdMs: 0,
};
const container = (name: string, startedMs: number, state: Container['state'] = 'running'): Container => ({
  id: `u_${name}`,
  sandboxId: 's',
  name,
  attempt: 0,
  image: 'i',
  imageId: 'i',
  labels: {},
  state,
  createdMs: startedMs,
  startedMs,
  logPath: '',
});

function bed(simulated: boolean) {
  const world = {
    now: 1_000_000,
    containers: [container('young', 999_000), container('old', 0), container('ended', 0, 'exited')],
    cpu: { young: 500e6, old: 9_000e6 } as Record<string, number>,
    memory: 1024,
    host: { cpuNanos: 1e9 },
  };
  const sampler = new UsageSampler({
    nodeName: 'n',
    runtime: {
      status: () => ({ ready: true, version: 'v', limitations: [], simulated }),
      listSandboxes: async () => [sandbox],
      listContainers: async () => world.containers,
      stats: async (id): Promise<ContainerStats> => {
        const cpuNanos = world.cpu[id.slice(2)];
        if (cpuNanos === undefined) throw new PintleError('CONTAINER_NOT_RUNNING', 'ended');
        return { timeMs: world.now, cpuNanos, memoryBytes: world.memory, workingSetBytes: world.memory / 2 };
      },
    },
    clock: { now: () => world.now, sleep: () => Promise.resolve() },
    log: { debug() {}, info() {}, warn() {}, error() {} },
    periodMs: 10_000,
    host: async (): Promise<HostUsage> => ({
      cpuNanos: world.host.cpuNanos,
      memoryTotalBytes: 10_000,
      memoryUsageBytes: 7_000,
      memoryAvailableBytes: 4_000,
      fileSystem,
      processes: { count: 5, max: 100 },
    }),
  });
  return { world, sampler };
}

test('CPU use is the difference of two samples; a young container is judged by its life', async (t) => {
  const { world, sampler } = bed(false);
  t.throws(() => sampler.latest(), { code: 'UNAVAILABLE' });
  const first = await sampler.sample();
  t.is(first.windowMs, 0);
  // half a second of CPU in its first second
  t.like(first.pods[0]?.containers, { length: 1, 0: { name: 'young', windowMs: 1000, cpu: { nanoCores: 500e6 } } });
  t.deepEqual(first.pods[0]?.unsampled, ['old']);
  world.now += 10_000;
  world.cpu = { young: 500e6, old: 14_000e6 };
  world.host.cpuNanos = 21e9;
  const second = await sampler.sample();
  t.like(second, {
    windowMs: 10_000,
    cpu: { nanoCores: 2e9 },
    memory: { usageBytes: 7000, workingSetBytes: 6000, availableBytes: 4000 },
  });
  t.like(second.pods[0], {
    namespace: 'default',
    name: 'p',
    uid: 'u',
    unsampled: [],
    containers: [
      { name: 'young', cpu: { nanoCores: 0 } },
      { name: 'old', cpu: { nanoCores: 500e6, totalNanos: 14_000e6 }, memory: { workingSetBytes: 512 } },
    ],
  });
  t.is(sampler.latest(), second);
});

test('a container that ends while it is sampled is left out, a counter that falls is no use', async (t) => {
  const { world, sampler } = bed(false);
  await sampler.sample();
  world.now += 10_000;
  world.cpu = { old: 1 };
  const usage = await sampler.sample();
  t.deepEqual(
    usage.pods[0]?.containers.map(({ name, cpu }) => [name, cpu.nanoCores]),
    [['old', 0]],
  );
});

test('a node on which nothing really runs uses what its containers say', async (t) => {
  const { world, sampler } = bed(true);
  await sampler.sample();
  world.now += 10_000;
  world.cpu = { young: 1_500e6, old: 10_000e6 };
  const usage = await sampler.sample();
  t.like(usage, { cpu: { nanoCores: 200e6 }, memory: { workingSetBytes: 1024, availableBytes: 8976 } });
});
