/** A worker thread of the etcd clients: gRPC in JavaScript costs more than etcd itself, so one thread would be the limit. */
import { parentPort, workerData } from 'node:worker_threads';
import { Etcd3 } from 'etcd3';
import { writeLoad, type LoadShape } from './write-load.ts';

export interface EtcdWork extends LoadShape {
  readonly url: string;
  readonly connections: number;
  /** Keys to write and list as a whole; 0: another thread does that. */
  readonly listed: number;
}

export interface EtcdAnswer {
  readonly writes: Float64Array;
  readonly reads: Float64Array;
  readonly listMs: number | undefined;
}

const work = workerData as EtcdWork;
const clients = Array.from({ length: work.connections }, () => new Etcd3({ hosts: work.url }));
let turn = 0;
const next = (): Etcd3 => clients[turn++ % clients.length]!;

async function list(count: number): Promise<number> {
  const value = Buffer.alloc(1_024, 'v');
  const batch = 100;
  // In transactions of as many keys as the other stores are filled by.
  for (let from = 0; from < count; from += batch) {
    const success = Array.from({ length: Math.min(batch, count - from) }, (_, index) => ({
      request_put: { key: Buffer.from(`/listed/${from + index}`), value },
    }));
    await next().kv.txn({ success });
  }
  const began = performance.now();
  // By first digits: a gRPC answer holds 4 MiB at most.
  for (let digit = 0; digit < 10; digit += 1) await next().getAll().prefix(`/listed/${digit}`).buffers();
  return performance.now() - began;
}

const writes = await writeLoad((key, value) => next().put(key).value(value).exec(), work);
const reads = await writeLoad((key) => next().get(key).buffer(), { ...work, warmUpMs: 50, seconds: work.seconds / 2 });
const listMs = work.listed > 0 ? await list(work.listed) : undefined;
for (const client of clients) client.close();
const answer: EtcdAnswer = { writes, reads, listMs };
parentPort?.postMessage(answer, [writes.buffer as ArrayBuffer, reads.buffer as ArrayBuffer]);
