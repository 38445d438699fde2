/** What one store does in its own process, as in `pintle server`: checked first, then measured. */
import { setMaxListeners } from 'node:events';
import { join } from 'node:path';
import type { Store } from '../../../kernel/contract/index.ts';
import type { Job, PluginChoice } from '../../bed/plugin-process.ts';
import { ascending, quantile } from '../../method/statistics.ts';
import type { Check } from '../../method/suite.ts';
import { writeLoad } from '../../store/write-load.ts';

export interface StoreJobArgs {
  readonly choice: PluginChoice;
  readonly isDurable: boolean;
  readonly folder: string;
  readonly clients: number;
  readonly seconds: number;
  readonly listed: number;
  readonly watchers: number;
}

export interface StoreJobResult {
  readonly checks: readonly Check[];
  readonly figures: Readonly<Record<string, number>>;
}

const value = Buffer.alloc(1_024, 'v');
const batch = 100;

export const storeJob: Job<StoreJobArgs, StoreJobResult> = async (args, start) => {
  const open = (): Promise<Store & AsyncDisposable> => start<Store>(args.choice, join(args.folder, 'store'));
  let store = await open();
  const checks = await checkStore(store);
  if (checks.some(({ ok }) => !ok)) {
    await store[Symbol.asyncDispose]();
    return { checks, figures: {} };
  }
  const figures: Record<string, number> = {};
  const clients = Array.from({ length: args.clients }, (_, index) => index);
  const load = { clients, warmUpMs: 200, seconds: args.seconds };
  const writes = ascending([...(await writeLoad((key, bytes) => store.commit([{ key, value: bytes }]), load))]);
  figures['writes'] = writes.length / args.seconds;
  figures['write-p50'] = quantile(writes, 0.5);
  figures['write-p99'] = quantile(writes, 0.99);
  const reads = await writeLoad((key) => store.get(key), { ...load, warmUpMs: 50, seconds: args.seconds / 2 });
  figures['reads'] = (reads.length / args.seconds) * 2;
  await fill(store, args.listed);
  figures['list'] = await timed(() => store.list({ prefix: '/listed/' }));
  figures['fan-out'] = await fanOut(store, args.watchers);
  const before = store.status();
  figures['compaction'] = await timed(() => store.compact(before.revision));
  figures['bytes'] = before.sizeBytes / 2 ** 20;
  figures['memory'] = process.memoryUsage.rss() / 2 ** 20;
  await store[Symbol.asyncDispose]();
  if (args.isDurable) {
    figures['restart'] = await timed(async () => (store = await open()));
    const kept = await store.get(`/listed/${args.listed - 1}`);
    checks.push({ name: 'what was acknowledged is there after a restart', ok: kept !== undefined, detail: '' });
    await store[Symbol.asyncDispose]();
  }
  return { checks, figures };
};

async function timed(act: () => Promise<unknown>): Promise<number> {
  const began = performance.now();
  await act();
  return performance.now() - began;
}

async function checkStore(store: Store): Promise<Check[]> {
  const key = '/check/a';
  const first = await store.commit([{ key, value, expected: 0 }]);
  const second = await store.commit([{ key, value, expected: 0 }]);
  const read = await store.get(key);
  await store.commit([
    { key: '/check/c', value },
    { key: '/check/b', value },
  ]);
  const { entries } = await store.list({ prefix: '/check/' });
  return [
    { name: 'a key that must not exist is created once', ok: first.ok && !second.ok, detail: '' },
    { name: 'what was written is read', ok: read !== undefined && value.equals(read.value), detail: '' },
    {
      name: 'a list is in order',
      ok: entries.map((entry) => entry.key).join() === '/check/a,/check/b,/check/c',
      detail: '',
    },
  ];
}

async function fill(store: Store, count: number): Promise<void> {
  for (let from = 0; from < count; from += batch) {
    const keys = Array.from({ length: Math.min(batch, count - from) }, (_, index) => `/listed/${from + index}`);
    await store.commit(keys.map((key) => ({ key, value })));
  }
}

/** Events a second that reach `watchers` watchers of the same keys. */
async function fanOut(store: Store, watchers: number): Promise<number> {
  const events = 200;
  const stop = new AbortController();
  setMaxListeners(0, stop.signal);
  const { revision } = store.status();
  const watch = async (): Promise<void> => {
    let seen = 0;
    for await (const { events: some } of store.watch({ prefix: '/watched/', after: revision }, stop.signal)) {
      seen += some.length;
      if (seen >= events) return;
    }
  };
  const began = performance.now();
  const all = Promise.all(Array.from({ length: watchers }, watch));
  await Promise.all(Array.from({ length: events }, (_, index) => store.commit([{ key: `/watched/${index}`, value }])));
  await all;
  const seconds = (performance.now() - began) / 1000;
  stop.abort();
  return (events * watchers) / seconds;
}
