/** What the cases of the store kit work with: one store of their own, and short ways to use it. */
import type { CommitResult, Store, StoreChange, StoredEntry, WatchBatch } from '../../contract/store.ts';
import type { SeenBatch, SeenEntry, SeenEvent } from './history.ts';

export type OpenedStore = Store & AsyncDisposable;

/** The store of one case. `reopen` disposes it and opens the same place again. */
export interface StoreSubject {
  readonly store: OpenedStore;
  readonly reopen: () => Promise<OpenedStore>;
}

export function bytes(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

export function change(key: string, value: string | undefined, expected?: number): StoreChange {
  return { key, value: value === undefined ? undefined : bytes(value), expected };
}

/** Commits what must succeed; resolves to the revision. */
export async function commit(store: Store, ...changes: StoreChange[]): Promise<number> {
  const result = await store.commit(changes);
  if (!result.ok) throw new Error(`a commit conflicted on "${result.key}"`);
  return result.revision;
}

export function seenEntry(entry: StoredEntry): SeenEntry {
  return {
    key: entry.key,
    value: new TextDecoder().decode(entry.value),
    created: entry.created,
    modified: entry.modified,
  };
}

export function seenOrUndefined(entry: StoredEntry | undefined): SeenEntry | undefined {
  return entry === undefined ? undefined : seenEntry(entry);
}

export function seenBatch(batch: WatchBatch): SeenBatch {
  const events = batch.events.map(({ key, revision, entry, previous }): SeenEvent => ({
    key,
    revision,
    entry: seenOrUndefined(entry),
    previous: seenOrUndefined(previous),
  }));
  return { events, progress: batch.progress };
}

/** "key=value" of each, in order: the short form that most cases compare. */
export function listed(answer: { readonly entries: readonly StoredEntry[] }): string[] {
  return answer.entries.map((entry) => `${entry.key}=${new TextDecoder().decode(entry.value)}`);
}

export function conflicted(result: CommitResult): { key: string; current: SeenEntry | undefined } | undefined {
  return result.ok ? undefined : { key: result.key, current: seenOrUndefined(result.current) };
}

/** Reads a watch until it has delivered everything up to a revision. */
export async function watchUntil(
  store: Store,
  query: { readonly prefix: string; readonly after: number },
  until: number,
): Promise<SeenBatch[]> {
  const stop = new AbortController();
  const batches: SeenBatch[] = [];
  for await (const batch of store.watch(query, stop.signal)) {
    batches.push(seenBatch(batch));
    if (batch.progress >= until) break;
  }
  stop.abort();
  return batches;
}

/** The first answer of a watch: rejects when the watch does. */
export async function firstOf(
  store: Store,
  query: { readonly prefix: string; readonly after: number },
): Promise<IteratorResult<WatchBatch, unknown>> {
  const stop = new AbortController();
  const iterator = store.watch(query, stop.signal)[Symbol.asyncIterator]();
  try {
    return await iterator.next();
  } finally {
    stop.abort();
  }
}

/** "revision key=value" of each event, "(deleted)" for a deletion. */
export function events(batches: readonly SeenBatch[]): string[] {
  return batches.flatMap((batch) =>
    batch.events.map(({ key, revision, entry }) => `${revision} ${key}=${entry?.value ?? '(deleted)'}`),
  );
}

export function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
