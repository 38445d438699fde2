/**
 * Watches over a keyspace. A watch holds no queue: it is a position in the log that its reader moves. So a slow reader
 * costs nothing and holds nobody up, and finds COMPACTED when the border has passed it.
 */
import type { StoreEvent, WatchBatch } from '../../contract/store.ts';
import type { PintleError } from '../../contract/errors.ts';
import {
  checkRevision,
  compactedRevision,
  entryOf,
  futureRevision,
  type Keyspace,
  type ReadValue,
} from './keyspace.ts';

/** A batch ends at the end of the revision in which it reaches one of these. */
const batchEvents = 1_000;
const batchBytes = 1_048_576;
/** Log entries looked at in one go: a watch whose prefix is rare must not hold the event loop. */
const batchScan = 20_000;

export class WatchHub {
  readonly #keyspace: Keyspace;
  readonly #readValue: ReadValue;
  readonly #busy: () => Promise<void> | undefined;
  readonly #waiting = new Set<() => void>();
  #closed: PintleError | undefined;

  /** `busy` is a promise while values cannot be read. */
  constructor(keyspace: Keyspace, readValue: ReadValue, busy: () => Promise<void> | undefined = () => undefined) {
    this.#keyspace = keyspace;
    this.#readValue = readValue;
    this.#busy = busy;
  }

  /** The keyspace has new revisions, or a new border. */
  notify(): void {
    if (this.#waiting.size === 0) return;
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const wake of waiting) wake();
  }

  /** Every watch ends with this error, and so does every later one. */
  close(error: PintleError): void {
    this.#closed ??= error;
    this.notify();
  }

  watch(query: { readonly prefix: string; readonly after: number }, signal: AbortSignal): AsyncIterable<WatchBatch> {
    return { [Symbol.asyncIterator]: () => this.#iterate(query, signal) };
  }

  #iterate({ prefix, after }: { prefix: string; after: number }, signal: AbortSignal): AsyncIterator<WatchBatch> {
    let position = after;
    let isChecked = false;
    let isDone = false;
    let wake: () => void = () => undefined;
    const onAbort = () => wake();
    signal.addEventListener('abort', onAbort, { once: true });
    const finish = () => {
      isDone = true;
      signal.removeEventListener('abort', onAbort);
      wake();
    };

    const step = async (): Promise<IteratorResult<WatchBatch, undefined>> => {
      for (;;) {
        if (isDone || signal.aborted) {
          finish();
          return { done: true, value: undefined };
        }
        if (this.#closed !== undefined) throw this.#closed;
        const busy = this.#busy();
        if (busy !== undefined) {
          await busy;
          continue;
        }
        if (!isChecked) {
          checkRevision(after, 0);
          if (after > this.#keyspace.revision) throw futureRevision(after, this.#keyspace.revision);
          isChecked = true;
        }
        if (position < this.#keyspace.compacted) throw compactedRevision(position, this.#keyspace.compacted);
        if (position < this.#keyspace.revision) {
          const batch = this.#read(prefix, position);
          position = batch.progress;
          return { done: false, value: batch };
        }
        await new Promise<void>((resolve) => {
          wake = () => {
            this.#waiting.delete(wake);
            resolve();
          };
          this.#waiting.add(wake);
        });
      }
    };
    // Calls of `next` that overlap are answered in order: two must not read from one position.
    let last: Promise<unknown> = Promise.resolve();
    return {
      next: () => {
        const result = last.then(step).catch((error: unknown) => {
          finish();
          throw error;
        });
        // The caller of the step that failed hears of it; the next one only waits for its turn.
        last = result.catch(() => undefined);
        return result;
      },
      return: async () => {
        finish();
        return { done: true, value: undefined };
      },
    };
  }

  /** Whole revisions above `position`; at least one, as there is one. */
  #read(prefix: string, position: number): WatchBatch {
    const events: StoreEvent[] = [];
    let bytes = 0;
    let at = this.#keyspace.positionAfter(position);
    const scanEnd = at + batchScan;
    let revision = position;
    for (let version = this.#keyspace.at(at); version !== undefined; version = this.#keyspace.at(++at)) {
      if (version.revision !== revision) {
        if (events.length >= batchEvents || bytes >= batchBytes || at >= scanEnd) return { events, progress: revision };
        revision = version.revision;
      }
      if (!version.key.startsWith(prefix)) continue;
      const before = version.previous === undefined || version.previous.isDeletion ? undefined : version.previous;
      const entry = version.isDeletion ? undefined : entryOf(version, this.#readValue);
      const previous = before === undefined ? undefined : entryOf(before, this.#readValue);
      bytes += (entry?.value.byteLength ?? 0) + (previous?.value.byteLength ?? 0);
      events.push({ key: version.key, revision, entry, previous });
    }
    return { events, progress: this.#keyspace.revision };
  }
}
