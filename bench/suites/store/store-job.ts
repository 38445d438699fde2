/** What one store does in its own process, as in `pintle server`: checked first, then measured. */
import { setMaxListeners } from 'node:events';
import { openSync, writeSync } from 'node:fs';
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
  /** Seen by each of them. */
  readonly events: number;
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
  figures['fan-out'] = await fanOut(store, args);
  const before = store.status();
  figures['compaction'] = await timed(() => store.compact(before.revision));
  figures['bytes'] = before.sizeBytes / 2 ** 20;
  await churn(store, args.seconds, figures);
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

const churnedKeys = 1_000;
const churnWidth = 16;
/** What a server keeps behind its newest revision before it compacts. */
const keptRevisions = 2_000;

/**
 * The same keys written again and again, one of ten deleted, with compaction as it goes: after a first half in which free
 * room is found, the store should not grow any more.
 */
async function churn(store: Store, seconds: number, figures: Record<string, number>): Promise<void> {
  let [count, compactions] = [0, 0];
  const half = async (): Promise<number[]> => {
    const took: number[] = [];
    const end = performance.now() + seconds * 1_000;
    const lane = async (): Promise<void> => {
      for (let began = performance.now(); began < end; began = performance.now()) {
        const key = `/churned/${(count += 1) % churnedKeys}`;
        await store.commit([{ key, value: count % 10 === 0 ? undefined : value }]);
        took.push(performance.now() - began);
        const { revision, compacted } = store.status();
        if (revision - compacted < 2 * keptRevisions) continue;
        compactions += 1;
        await store.compact(revision - keptRevisions);
      }
    };
    await Promise.all(Array.from({ length: churnWidth }, lane));
    return took;
  };
  await half();
  const before = store.status().sizeBytes;
  const took = ascending(await half());
  figures['churn'] = took.length / seconds;
  figures['churn-p99'] = quantile(took, 0.99);
  figures['growth'] = (store.status().sizeBytes / before - 1) * 100;
  if (compactions === 0) delete figures['growth'];
}

/** Written one after the other until the process is killed; each number is noted outside once it is acknowledged. */
export const storeCrashJob: Job<CrashArgs, never> = async ({ choice, folder, notes }, start) => {
  const store = await start<Store>(choice, join(folder, 'store'));
  const file = openSync(notes, 'w');
  for (let number = 1; ; number += 1) {
    await store.commit([{ key: `/crashed/${number}`, value }]);
    writeSync(file, String(number).padStart(10), 0);
  }
};

export interface CrashArgs {
  readonly choice: PluginChoice;
  readonly folder: string;
  /** File that has the last acknowledged number. */
  readonly notes: string;
}

/** In a new process over what the killed one left: how many of the last acknowledged ones are missing. */
export const storeRecoverJob: Job<CrashArgs & { readonly acknowledged: number }, number> = async (args, start) => {
  const store = await start<Store>(args.choice, join(args.folder, 'store'));
  let missing = 0;
  for (let number = args.acknowledged; number > Math.max(0, args.acknowledged - 200); number -= 1)
    if ((await store.get(`/crashed/${number}`)) === undefined) missing += 1;
  await store[Symbol.asyncDispose]();
  return missing;
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

/** Events a second that reach all watchers of the same keys, from the first write on: they are there before. */
async function fanOut(store: Store, { watchers, events }: Pick<StoreJobArgs, 'watchers' | 'events'>): Promise<number> {
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
  const all = Promise.all(Array.from({ length: watchers }, watch));
  const began = performance.now();
  await Promise.all(Array.from({ length: events }, (_, index) => store.commit([{ key: `/watched/${index}`, value }])));
  await all;
  const seconds = (performance.now() - began) / 1000;
  stop.abort();
  return (events * watchers) / seconds;
}
