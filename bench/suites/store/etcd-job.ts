/** The same work for Debian's etcd, asked by gRPC from worker threads: the yardstick. */
import { Worker } from 'node:worker_threads';
import { type EtcdServer, startEtcd } from '../../store/etcd-server.ts';
import type { EtcdWatchNews, EtcdWatchWork } from '../../store/etcd-watcher.ts';
import type { EtcdAnswer, EtcdWork } from '../../store/etcd-worker.ts';
import { ascending, quantile } from '../../method/statistics.ts';
import type { StoreJobArgs } from './store-job.ts';

/** gRPC in JavaScript costs more than etcd itself: one thread would be the limit. */
const threads = 2;
const connections = 2;

export async function measureEtcd(
  args: Omit<StoreJobArgs, 'choice' | 'isDurable'>,
): Promise<Readonly<Record<string, number>>> {
  const etcd = await startEtcd(args.folder);
  try {
    const answers = await Promise.all(Array.from({ length: threads }, (_, thread) => askEtcd(etcd.url, thread, args)));
    const writes = ascending(answers.flatMap((answer) => [...answer.writes]));
    const reads = answers.reduce((sum, answer) => sum + answer.reads.length, 0);
    const list = answers[0]?.listMs ?? Number.NaN;
    const fanOut = await measureFanOut(etcd.url, args);
    const history = await measureHistory(etcd.url);
    const memory = etcd.residentBytes() / 2 ** 20;
    return {
      ...{ ...history, 'fan-out': fanOut },
      ...{ recovery: await recover(etcd), memory },
      ...{ writes: writes.length / args.seconds, reads: (reads / args.seconds) * 2, list },
      ...{ 'write-p50': quantile(writes, 0.5), 'write-p99': quantile(writes, 0.99) },
    };
  } finally {
    await etcd.close();
  }
}

async function timed(act: () => Promise<unknown>): Promise<number> {
  const began = performance.now();
  await act();
  return performance.now() - began;
}

async function measureHistory(url: string): Promise<Readonly<Record<string, number>>> {
  const { Etcd3 } = await import('etcd3');
  const client = new Etcd3({ hosts: url });
  try {
    const { dbSize, header } = await client.maintenance.status();
    // Physical: answered when the old revisions are gone, as with the other stores.
    const compaction = await timed(() => client.kv.compact({ revision: header.revision, physical: true }));
    return { bytes: Number(dbSize) / 2 ** 20, compaction };
  } finally {
    client.close();
  }
}

/** Killed in the middle of writing, and started anew: the same that is asked of the others. */
async function recover(etcd: EtcdServer): Promise<number> {
  const { Etcd3 } = await import('etcd3');
  const client = new Etcd3({ hosts: etcd.url });
  let last = 0;
  let failure: unknown;
  const writing = (async () => {
    for (let number = 1; ; number += 1) {
      await client.put(`/crashed/${number}`).value('v'.repeat(1_024)).exec();
      last = number;
    }
  })().catch((error: unknown) => (failure = error));
  while (last < 100) {
    if (failure !== undefined) throw failure;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  await etcd.kill();
  await writing;
  client.close();
  return timed(() => etcd.restart());
}

/** Events a second that reach all watchers, from the first write on: they are there before. */
async function measureFanOut(
  url: string,
  { watchers, events }: Pick<StoreJobArgs, 'watchers' | 'events'>,
): Promise<number> {
  const workers = Array.from({ length: threads }, (_, thread) => {
    const own = Math.floor(watchers / threads) + (thread < watchers % threads ? 1 : 0);
    const workerData: EtcdWatchWork = { url, watchers: own, events, isWriter: thread === 0 };
    return new Worker(new URL('../../store/etcd-watcher.js', import.meta.url), { workerData });
  });
  const news = (wanted: EtcdWatchNews) =>
    Promise.all(
      workers.map(
        (worker) =>
          new Promise<void>((resolve, reject) => {
            worker.on('message', (told: EtcdWatchNews) => told === wanted && resolve());
            worker.once('error', reject);
          }),
      ),
    );
  const [ready, seen] = [news('ready'), news('seen')];
  // Both may fail of the same cause; only one is waited for at a time.
  seen.catch(() => undefined);
  try {
    await ready;
    const began = performance.now();
    for (const worker of workers) worker.postMessage('go');
    await seen;
    return (events * watchers) / ((performance.now() - began) / 1_000);
  } finally {
    await Promise.all(workers.map((worker) => worker.terminate()));
  }
}

function askEtcd(
  url: string,
  thread: number,
  { clients, seconds, listed }: Omit<StoreJobArgs, 'choice' | 'isDurable'>,
): Promise<EtcdAnswer> {
  const own = Array.from({ length: clients }, (_, index) => index).filter((client) => client % threads === thread);
  const workerData: EtcdWork = {
    ...{ clients: own, warmUpMs: 200, seconds, url, connections },
    listed: thread === 0 ? listed : 0,
  };
  const worker = new Worker(new URL('../../store/etcd-worker.js', import.meta.url), { workerData });
  return new Promise((resolve, reject) => {
    worker.once('message', resolve).once('error', reject);
  });
}
