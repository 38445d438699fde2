/** A worker thread of the etcd clients: gRPC in JavaScript costs more than etcd itself, so one thread would be the limit. */
import { parentPort, workerData } from 'node:worker_threads';
import { Etcd3 } from 'etcd3';
import { writeLoad, type LoadShape } from './write-load.ts';

export interface EtcdWork extends LoadShape {
  readonly url: string;
  readonly connections: number;
}

const work = workerData as EtcdWork;
const clients = Array.from({ length: work.connections }, () => new Etcd3({ hosts: work.url }));
let next = 0;
const latencies = await writeLoad((key, value) => clients[next++ % clients.length]!.put(key).value(value).exec(), work);
for (const client of clients) client.close();
parentPort?.postMessage(latencies, [latencies.buffer as ArrayBuffer]);
