/** A client that writes down what it does and gets, for the history checker. */
import type { Store, StoreChange } from '../../contract/store.ts';
import { isPintleError } from '../../contract/errors.ts';
import type { Seen, SeenBatch, SeenCommit } from './history.ts';
import { seenBatch, seenEntry, seenOrUndefined } from './subject.ts';

export class RecordingClient {
  readonly seen: Seen[] = [];
  readonly #store: Store;

  constructor(store: Store) {
    this.#store = store;
  }

  async commit(changes: SeenCommit['changes']): Promise<void> {
    const call = performance.now();
    const result = await this.#store.commit(changes.map(encode));
    const outcome = result.ok
      ? { revision: result.revision }
      : { conflict: result.key, current: seenOrUndefined(result.current) };
    this.seen.push({ kind: 'commit', call, return: performance.now(), changes, outcome });
  }

  async get(key: string): Promise<number> {
    const call = performance.now();
    const entry = seenOrUndefined(await this.#store.get(key));
    this.seen.push({ kind: 'get', call, return: performance.now(), key, entry });
    return entry?.modified ?? 0;
  }

  /** A past revision may be compacted meanwhile; that is no answer to judge. */
  async list(prefix: string, asked?: number): Promise<void> {
    const call = performance.now();
    try {
      const answer = await this.#store.list({ prefix, ...(asked === undefined ? {} : { revision: asked }) });
      const entries = answer.entries.map(seenEntry);
      this.seen.push({
        kind: 'list',
        call,
        return: performance.now(),
        prefix,
        asked,
        revision: answer.revision,
        entries,
      });
    } catch (error) {
      if (asked === undefined || !isPintleError(error, 'COMPACTED')) throw error;
    }
  }

  /** Watches until the signal aborts or the watch is told that it lags; reads on only after `pause`. */
  async watch(prefix: string, after: number, signal: AbortSignal, pause: () => Promise<void>): Promise<void> {
    const batches: SeenBatch[] = [];
    this.seen.push({ kind: 'watch', prefix, after, batches });
    try {
      for await (const batch of this.#store.watch({ prefix, after }, signal)) {
        batches.push(seenBatch(batch));
        await pause();
      }
    } catch (error) {
      if (!isPintleError(error, 'COMPACTED')) throw error;
    }
  }
}

function encode({ key, value, expected }: SeenCommit['changes'][number]): StoreChange {
  return { key, value: value === undefined ? undefined : new TextEncoder().encode(value), expected };
}
