import { ascending, median, quantile } from '../../method/statistics.ts';
import type { Recorder, Size } from '../../method/suite.ts';
import type { ApiClients } from './client.ts';

export interface Effort {
  /** Of requests of all sorts, until compilers and caches have settled: in the first round the clients' own, too. */
  readonly warmUpMs: number;
  readonly objects: number;
  /** And updates. */
  readonly reads: number;
  readonly watched: number;
  readonly watchLists: number;
  /** Objects that each of them is sent first. */
  readonly watchListed: number;
}

export const efforts: Readonly<Record<Size, Effort>> = {
  smoke: { warmUpMs: 100, objects: 100, reads: 100, watched: 10, watchLists: 5, watchListed: 10 },
  standard: { warmUpMs: 1_500, objects: 10_000, reads: 3_000, watched: 60, watchLists: 1_000, watchListed: 50 },
  full: { warmUpMs: 2_000, objects: 30_000, reads: 10_000, watched: 500, watchLists: 1_000, watchListed: 500 },
};

const clients = 16;
const path = '/api/v1/namespaces/default/configmaps';
const padding = 'v'.repeat(1_024);
const object = (name: string, round: number) => ({
  ...{ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name }, data: { padding, round: String(round) } },
});

async function inParallel(
  count: number,
  work: (index: number) => Promise<unknown>,
): Promise<{ readonly took: number[]; readonly perSecond: number }> {
  const took: number[] = [];
  let next = 0;
  const began = performance.now();
  const lane = async (): Promise<void> => {
    for (let index = next++; index < count; index = next++) {
      const from = performance.now();
      await work(index);
      took.push(performance.now() - from);
    }
  };
  await Promise.all(Array.from({ length: clients }, lane));
  return { took: ascending(took), perSecond: (count / (performance.now() - began)) * 1000 };
}

async function timed(act: () => Promise<unknown>): Promise<number> {
  const began = performance.now();
  await act();
  return performance.now() - began;
}

async function warmUp(api: ApiClients, ms: number, signal: AbortSignal): Promise<void> {
  const until = performance.now() + ms;
  const lane = async (lane: number): Promise<void> => {
    for (let index = 0; performance.now() < until; index += 1) {
      signal.throwIfAborted();
      const name = `warm-up-${lane}-${index}`;
      await api.ask('POST', path, object(name, 0));
      await api.ask('GET', `${path}/${name}`);
      await api.ask('PUT', `${path}/${name}`, object(name, 1));
      await api.ask('DELETE', `${path}/${name}`);
    }
  };
  await Promise.all(Array.from({ length: clients }, (_, index) => lane(index)));
}

/** One alone would be as long as the collection of garbage that happens to fall into it. */
async function medianTime(act: () => Promise<unknown>): Promise<number> {
  await act();
  const took: number[] = [];
  for (let count = 0; count < 5; count += 1) took.push(await timed(act));
  return median(took);
}

/** What the bare server does too. */
export async function measureApi(
  api: ApiClients,
  effort: Effort,
  record: Recorder,
  signal: AbortSignal,
): Promise<void> {
  await warmUp(api, effort.warmUpMs, signal);
  signal.throwIfAborted();
  const made = await inParallel(effort.objects, (index) => api.ask('POST', path, object(`object-${index}`, 0)));
  record('create', made.perSecond);
  record('create-p50', quantile(made.took, 0.5));
  record('create-p99', quantile(made.took, 0.99));
  signal.throwIfAborted();
  const read = await inParallel(effort.reads, (index) => api.ask('GET', `${path}/object-${index % effort.objects}`));
  record('get', read.perSecond);
  const changed = await inParallel(effort.reads, (index) => {
    const name = `object-${index % effort.objects}`;
    return api.ask('PUT', `${path}/${name}`, object(name, 1));
  });
  record('update', changed.perSecond);
  signal.throwIfAborted();
  record('list-all', await medianTime(() => api.ask('GET', path)));
}

export async function measureWatches(
  api: ApiClients,
  effort: Effort,
  record: Recorder,
  signal: AbortSignal,
): Promise<void> {
  record('list-500', await medianTime(() => api.ask('GET', `${path}?limit=500`)));
  const list = JSON.parse(await api.ask('GET', `${path}?limit=1`)) as {
    readonly metadata: { readonly resourceVersion: string };
  };
  const written = new Map<string, number>();
  const delays: number[] = [];
  const version = list.metadata.resourceVersion;
  const watch = api.watch(`${path}?watch=true&resourceVersion=${version}`, ({ object: seen }) => {
    const from = written.get(seen.metadata.name ?? '');
    if (from !== undefined) delays.push(performance.now() - from);
    return delays.length === effort.watched;
  });
  await watch.open;
  for (let index = 0; index < effort.watched; index += 1) {
    signal.throwIfAborted();
    const name = `watched-${index}`;
    written.set(name, performance.now());
    await api.ask('POST', path, object(name, 0));
  }
  await watch.done;
  const sorted = ascending(delays);
  record('watch-p50', quantile(sorted, 0.5));
  record('watch-p99', quantile(sorted, 0.99));
  await measureWatchLists(api, effort, record, signal);
}

const listedNamespace = 'watch-listed';

/** All at once, each on a connection of its own, until each has its list and the bookmark after it. */
async function measureWatchLists(
  api: ApiClients,
  { watchLists, watchListed }: Effort,
  record: Recorder,
  signal: AbortSignal,
): Promise<void> {
  const meta = { apiVersion: 'v1', kind: 'Namespace', metadata: { name: listedNamespace } };
  await api.ask('POST', '/api/v1/namespaces', meta);
  const place = `/api/v1/namespaces/${listedNamespace}/configmaps`;
  await inParallel(watchListed, (index) => api.ask('POST', place, object(`listed-${index}`, 0)));
  signal.throwIfAborted();
  const query = 'watch=true&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan';
  const one = async (): Promise<void> => {
    let added = 0;
    await api.watch(`${place}?${query}`, ({ type, object: seen }) => {
      if (type === 'ADDED') added += 1;
      return type === 'BOOKMARK' && seen.metadata.annotations?.['k8s.io/initial-events-end'] === 'true';
    }).done;
    // The namespace has an object of its own, too: the cluster's certificate.
    if (added < watchListed) throw new Error(`a WatchList was sent ${added} objects of ${watchListed}`);
  };
  record('watch-lists', await timed(() => Promise.all(Array.from({ length: watchLists }, one))));
}
