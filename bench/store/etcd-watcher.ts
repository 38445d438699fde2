/**
 * A worker thread of many watchers of the same keys in etcd, on one stream as its clients have them; one of the threads
 * writes, too. Says when all its watchers are there, and when each has seen each event.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { Etcd3 } from 'etcd3';

export interface EtcdWatchWork {
  readonly url: string;
  readonly watchers: number;
  readonly events: number;
  readonly isWriter: boolean;
}

export type EtcdWatchNews = 'ready' | 'seen';

const { url, watchers, events, isWriter } = workerData as EtcdWatchWork;
const client = new Etcd3({ hosts: url });
const prefix = '/watched/';

let missing = watchers * events;
await Promise.all(
  Array.from({ length: watchers }, async () => {
    const watcher = await client.watch().prefix(prefix).create();
    watcher.on('put', () => {
      missing -= 1;
      if (missing === 0) tell('seen');
    });
  }),
);
parentPort?.once('message', () => {
  if (!isWriter) return;
  const value = Buffer.alloc(1_024, 'v');
  const writes = Array.from({ length: events }, (_, index) => client.put(`${prefix}${index}`).value(value).exec());
  // A write that fails ends this thread, and its parent is told.
  void Promise.all(writes);
});
tell('ready');

function tell(news: EtcdWatchNews): void {
  parentPort?.postMessage(news);
}
