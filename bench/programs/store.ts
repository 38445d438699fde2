/**
 * Durable single-key writes: the lmdb store plugin beside Debian's etcd-server, in interleaved rounds of one run.
 *
 *   node out/bench/programs/store.js [--clients 64] [--rounds 5] [--seconds 5] [--threads 2] [--connections 2] [--json]
 *
 * Each round starts each system over an empty folder on the same file system, writes for a second to warm up, then counts
 * acknowledged writes of 1 KiB values; each client writes one after the other, on 100 keys of its own. The store runs in
 * this process, as it does in `pintle server`. etcd runs in its own, on a loopback port, and is asked by plain gRPC (npm
 * etcd3) from worker threads with several connections each. The CPU of this process (clients, and the store) and of etcd is
 * printed: it tells what the limit was.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { Worker } from 'node:worker_threads';
import type { ClusterFacts, Logger } from '../../kernel/contract/index.ts';
import { systemClock } from '../../kernel/machinery/clock.ts';
import lmdb from '../../plugins/stores/lmdb/index.ts';
import { startEtcd } from '../store/etcd-server.ts';
import type { EtcdWork } from '../store/etcd-worker.ts';
import { writeLoad, type LoadShape } from '../store/write-load.ts';

interface Sample {
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** Cores used by this process and by the server beside it, warm-up and start of threads included. */
  readonly ownCores: number;
  readonly serverCores: number;
}

const warmUpMs = 1_000;

const { values } = parseArgs({
  options: {
    clients: { type: 'string', default: '64' },
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '5' },
    threads: { type: 'string', default: '2' },
    connections: { type: 'string', default: '2' },
    json: { type: 'boolean', default: false },
  },
});
const seconds = Number(values.seconds);
const clients = Array.from({ length: Number(values.clients) }, (_, number) => number);
const shape: LoadShape = { clients, warmUpMs, seconds };

async function measureLmdb(folder: string): Promise<Sample> {
  const checked = await lmdb.config['~standard'].validate({});
  if (checked.issues !== undefined) throw new Error('the lmdb store refuses its default config');
  const log: Logger = { debug() {}, info() {}, warn: console.error, error: console.error };
  const cluster: ClusterFacts = { podCidrs: [], serviceCidrs: [], dnsDomain: 'cluster.local', dnsServiceIp: '' };
  const context = {
    config: checked.value,
    cluster,
    uses: {},
    log,
    clock: systemClock,
    nodeName: undefined,
    processMetrics: async () => '',
  };
  const store = await lmdb.start({ ...context, stateDir: folder }, new AbortController().signal);
  try {
    return await sample(
      () => writeLoad((key, value) => store.commit([{ key, value }]), shape),
      async () => 0,
    );
  } finally {
    await store[Symbol.asyncDispose]();
  }
}

async function measureEtcd(folder: string): Promise<Sample> {
  const etcd = await startEtcd(folder);
  const threads = Number(values.threads);
  const load = async (thread: number): Promise<Float64Array> => {
    const workerData: EtcdWork = {
      ...shape,
      clients: clients.filter((client) => client % threads === thread),
      url: etcd.url,
      connections: Number(values.connections),
    };
    const worker = new Worker(new URL('../store/etcd-worker.js', import.meta.url), { workerData });
    return new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject));
  };
  try {
    return await sample(async () => {
      const parts = await Promise.all(Array.from({ length: threads }, (_, thread) => load(thread)));
      return Float64Array.from(parts.flatMap((part) => [...part]));
    }, etcd.cpuSeconds);
  } finally {
    await etcd.close();
  }
}

async function sample(load: () => Promise<Float64Array>, serverCpu: () => Promise<number>): Promise<Sample> {
  const began = performance.now();
  const ownBefore = process.cpuUsage();
  const serverBefore = await serverCpu();
  const latencies = (await load()).sort();
  const own = process.cpuUsage(ownBefore);
  const took = (performance.now() - began) / 1_000;
  return {
    perSecond: latencies.length / seconds,
    p50Ms: latencies[Math.floor(latencies.length * 0.5)] ?? NaN,
    p99Ms: latencies[Math.floor(latencies.length * 0.99)] ?? NaN,
    ownCores: (own.user + own.system) / 1e6 / took,
    serverCores: ((await serverCpu()) - serverBefore) / took,
  };
}

function median(numbers: readonly number[]): number {
  const sorted = [...numbers].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

function summary(samples: readonly Sample[]): Record<string, number> {
  const rates = samples.map(({ perSecond }) => perSecond);
  const of = (field: keyof Sample): number => Number(median(samples.map((one) => one[field])).toFixed(2));
  return {
    median: Math.round(median(rates)),
    least: Math.round(Math.min(...rates)),
    most: Math.round(Math.max(...rates)),
    p50Ms: of('p50Ms'),
    p99Ms: of('p99Ms'),
    ownCores: of('ownCores'),
    serverCores: of('serverCores'),
  };
}

const systems = { etcd: measureEtcd, lmdb: measureLmdb };
const samples: { [name in keyof typeof systems]: Sample[] } = { etcd: [], lmdb: [] };
for (let round = 1; round <= Number(values.rounds); round++)
  for (const name of ['etcd', 'lmdb'] as const) {
    const folder = await mkdtemp(join(tmpdir(), 'pintle-bench-store-'));
    try {
      const one = await systems[name](folder);
      samples[name].push(one);
      if (!values.json) console.log(`round ${round}: ${name} ${Math.round(one.perSecond)} writes/s`);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  }
const summaries = { etcd: summary(samples.etcd), lmdb: summary(samples.lmdb) };
const ratio = Number((summaries.lmdb['median']! / summaries.etcd['median']!).toFixed(2));
if (values.json) console.log(JSON.stringify({ clients: clients.length, ...summaries, ratio }));
else {
  console.table(summaries);
  console.log(
    `lmdb writes ${ratio} times as much as etcd (${clients.length} clients, medians of ${values.rounds} rounds)`,
  );
}
