/**
 * Durable single-key writes: the lmdb store plugin beside Debian's etcd-server, in interleaved rounds of one run.
 *
 *   node out/bench/suites/store.js [--clients 64] [--rounds 5] [--seconds 5] [--connections 4] [--json]
 *
 * Each round starts each system over an empty folder on the same file system, writes for a second to warm up, then counts
 * acknowledged writes of 1 KiB values, each client one after the other on 100 keys of its own. The store runs in this
 * process, as it does in `pintle server`. etcd is a process of its own on a loopback port, asked with plain gRPC (npm etcd3)
 * over several connections; the CPU that it and this process use is printed, which tells who was the limit.
 */
import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import type { ClusterFacts, Logger } from '../../kernel/contract/index.ts';
import { systemClock } from '../../kernel/machinery/clock.ts';
import lmdb from '../../plugins/stores/lmdb/index.ts';

interface Target {
  readonly write: (key: string, value: Buffer) => Promise<unknown>;
  /** CPU seconds that its own process has used; 0 when it has none. */
  readonly cpuSeconds: () => Promise<number>;
  readonly close: () => Promise<void>;
}

interface Sample {
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly ownCpu: number;
  readonly targetCpu: number;
}

const keysPerClient = 100;
const valueBytes = 1_024;
const warmUpMs = 1_000;
const clockTicksPerSecond = 100;

async function openLmdb(folder: string): Promise<Target> {
  const checked = await lmdb.config['~standard'].validate({});
  if (checked.issues !== undefined) throw new Error('the lmdb store refuses its default config');
  const silent: Logger = { debug() {}, info() {}, warn() {}, error() {} };
  const cluster: ClusterFacts = { podCidrs: [], serviceCidrs: [], dnsDomain: 'cluster.local', dnsServiceIp: '' };
  const store = await lmdb.start(
    {
      config: checked.value,
      cluster,
      uses: {},
      log: silent,
      clock: systemClock,
      stateDir: folder,
      nodeName: undefined,
    },
    new AbortController().signal,
  );
  return {
    write: (key, value) => store.commit([{ key, value }]),
    cpuSeconds: async () => 0,
    close: async () => {
      await store[Symbol.asyncDispose]();
    },
  };
}

async function openEtcd(folder: string, connections: number): Promise<Target> {
  const { Etcd3 } = await import('etcd3');
  const [clientPort, peerPort] = await freePorts(2);
  const clientUrl = `http://127.0.0.1:${clientPort}`;
  const peerUrl = `http://127.0.0.1:${peerPort}`;
  const argv = [
    ...[
      '--name',
      'bench',
      '--data-dir',
      folder,
      '--logger',
      'zap',
      '--log-level',
      'error',
      '--quota-backend-bytes',
      String(8 * 2 ** 30),
    ],
    ...['--listen-client-urls', clientUrl, '--advertise-client-urls', clientUrl],
    ...[
      '--listen-peer-urls',
      peerUrl,
      '--initial-advertise-peer-urls',
      peerUrl,
      '--initial-cluster',
      `bench=${peerUrl}`,
    ],
  ];
  const child = spawn('etcd', argv, { stdio: ['ignore', 'ignore', 'inherit'] });
  const ended = new Promise<void>((resolve, reject) => {
    child.once('exit', () => resolve());
    child.once('error', () => reject(new Error('etcd could not be run; install it: apt-get install etcd-server')));
  });
  ended.catch(() => undefined);
  const clients = Array.from({ length: connections }, () => new Etcd3({ hosts: clientUrl }));
  const close = async (): Promise<void> => {
    for (const client of clients) client.close();
    child.kill('SIGTERM');
    await ended;
  };
  try {
    await Promise.race([
      untilHealthy(`${clientUrl}/health`),
      ended.then(() => Promise.reject(new Error('etcd ended'))),
    ]);
  } catch (error) {
    await close().catch(() => undefined);
    throw error;
  }
  let next = 0;
  return {
    write: (key, value) => clients[next++ % clients.length]!.put(key).value(value).exec(),
    cpuSeconds: async () => {
      const fields = (await readFile(`/proc/${child.pid}/stat`, 'utf8')).split(') ')[1]!.split(' ');
      return (Number(fields[11]) + Number(fields[12])) / clockTicksPerSecond;
    },
    close,
  };
}

async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer());
  const ports = await Promise.all(
    servers.map(
      (server) =>
        new Promise<number>((resolve) => {
          server.listen(0, '127.0.0.1', () => resolve((server.address() as AddressInfo).port));
        }),
    ),
  );
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

async function untilHealthy(url: string): Promise<void> {
  for (;;) {
    const answer = await fetch(url).catch(() => undefined);
    if (answer?.ok === true && (await answer.text()).includes('true')) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

async function measure(target: Target, clients: number, seconds: number): Promise<Sample> {
  const value = Buffer.alloc(valueBytes, 'v');
  const latencies: number[] = [];
  const start = performance.now() + warmUpMs;
  const end = start + seconds * 1_000;
  let ownBefore = process.cpuUsage();
  let targetBefore = 0;
  const counting = new Promise<void>((resolve, reject) => {
    setTimeout(() => {
      ownBefore = process.cpuUsage();
      target.cpuSeconds().then((used) => {
        targetBefore = used;
        resolve();
      }, reject);
    }, warmUpMs);
  });
  const client = async (number: number): Promise<void> => {
    for (let count = 0; ; count++) {
      const began = performance.now();
      if (began >= end) return;
      await target.write(`/bench/client-${number}/${count % keysPerClient}`, value);
      if (began >= start) latencies.push(performance.now() - began);
    }
  };
  await Promise.all([counting, ...Array.from({ length: clients }, (_, number) => client(number))]);
  const own = process.cpuUsage(ownBefore);
  const took = (performance.now() - start) / 1_000;
  const targetAfter = await target.cpuSeconds();
  latencies.sort((a, b) => a - b);
  return {
    perSecond: latencies.length / took,
    p50Ms: latencies[Math.floor(latencies.length * 0.5)]!,
    p99Ms: latencies[Math.floor(latencies.length * 0.99)]!,
    ownCpu: (own.user + own.system) / 1e6 / took,
    targetCpu: (targetAfter - targetBefore) / took,
  };
}

function median(numbers: readonly number[]): number {
  const sorted = [...numbers].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

function summary(samples: readonly Sample[]): Record<string, number> {
  const rates = samples.map(({ perSecond }) => perSecond);
  const of = (field: keyof Sample): number => median(samples.map((sample) => sample[field]));
  return {
    median: Math.round(median(rates)),
    least: Math.round(Math.min(...rates)),
    most: Math.round(Math.max(...rates)),
    p50Ms: Number(of('p50Ms').toFixed(2)),
    p99Ms: Number(of('p99Ms').toFixed(2)),
    cpuOfThisProcess: Number(of('ownCpu').toFixed(2)),
    cpuOfServer: Number(of('targetCpu').toFixed(2)),
  };
}

const { values } = parseArgs({
  options: {
    clients: { type: 'string', default: '64' },
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '5' },
    connections: { type: 'string', default: '4' },
    json: { type: 'boolean', default: false },
  },
});
const systems: Readonly<Record<string, (folder: string) => Promise<Target>>> = {
  etcd: (folder) => openEtcd(folder, Number(values.connections)),
  lmdb: openLmdb,
};
const samples: Record<string, Sample[]> = {};
for (let round = 1; round <= Number(values.rounds); round++)
  for (const [name, open] of Object.entries(systems)) {
    const folder = await mkdtemp(join(tmpdir(), 'pintle-bench-store-'));
    try {
      const target = await open(folder);
      try {
        const sample = await measure(target, Number(values.clients), Number(values.seconds));
        (samples[name] ??= []).push(sample);
        if (!values.json) console.log(`round ${round}: ${name} ${Math.round(sample.perSecond)} writes/s`);
      } finally {
        await target.close();
      }
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  }
const summaries = Object.fromEntries(Object.entries(samples).map(([name, list]) => [name, summary(list)]));
const ratio = Number((summaries['lmdb']!['median']! / summaries['etcd']!['median']!).toFixed(2));
if (values.json) console.log(JSON.stringify({ clients: Number(values.clients), ...summaries, ratio }));
else {
  console.table(summaries);
  console.log(
    `lmdb writes ${ratio} times as much as etcd (${values.clients} clients, medians of ${values.rounds} rounds)`,
  );
}
