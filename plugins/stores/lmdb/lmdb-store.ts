/**
 * The store over LmdbFile. Reads are answered from the MVCC index in memory (values from a ring of recent ones, else from
 * the file), which only ever holds what is durable. Commits queue; one at a time a batch of them is judged, written as one
 * disk transaction, applied to the index, and answered. So concurrent commits share an fsync, and each has its revision.
 */
import type { Clock, Logger } from '../../../kernel/contract/plugin.ts';
import type {
  CommitResult,
  Store,
  StoreChange,
  StoredEntry,
  StoreStatus,
  WatchBatch,
} from '../../../kernel/contract/store.ts';
import type { PintleError } from '../../../kernel/contract/errors.ts';
import { checkChanges } from '../../../kernel/machinery/store/check-changes.ts';
import {
  checkRevision,
  entryOf,
  futureRevision,
  Keyspace,
  readableRevision,
  type Version,
} from '../../../kernel/machinery/store/keyspace.ts';
import { runRetention, type RetentionLimits } from '../../../kernel/machinery/store/retention.ts';
import { WatchHub } from '../../../kernel/machinery/store/watch-hub.ts';
import { judgeBatch, type JudgedBatch, type PendingCommit } from './batch.ts';
import type { LmdbFile } from './lmdb-file.ts';
import { encodeRecord } from './record.ts';
import { ValueRing } from './value-ring.ts';
import { closedStore, failed, readOnly, readOnlyReason } from './write-failure.ts';

/** Bounds of one disk transaction. */
const batchCommits = 1_024;
const batchBytes = 8 * 1_048_576;
const batchRemoves = 512;
/** Values read from the file in one go. */
const readSlice = 1_000;
const probeMs = 1_000;

export interface LmdbStoreOptions {
  readonly history: RetentionLimits;
  /** Free space below which commits are refused, so that compaction and other programs have some left. */
  readonly reserveBytes: number;
  readonly cacheBytes: number;
  readonly clock: Clock;
  readonly log: Logger;
}

export class LmdbStore implements Store, AsyncDisposable {
  readonly #file: LmdbFile;
  readonly #options: LmdbStoreOptions;
  readonly #keyspace = new Keyspace();
  readonly #ring: ValueRing;
  readonly #hub: WatchHub;
  readonly #readValue = (version: Version): Uint8Array => version.value ?? this.#file.readValue(version);
  readonly #stop = new AbortController();
  readonly #retention: Promise<void>;
  readonly #unlock: () => void;

  #queue: PendingCommit[] = [];
  /** Versions that are out of the index and still in the file. */
  #removes: Version[] = [];
  #durableCompacted: number;
  #running: Promise<void> | undefined;
  /** Lists that read values over several turns: nothing is removed from the file meanwhile. */
  #pins = 0;
  /** Why the last write failed; undefined when it did not. */
  #unwritable: PintleError | undefined;
  #needsReopen = false;
  #reopening: Promise<void> | undefined;
  #probing: Promise<void> | undefined;
  #disposed: Promise<void> | undefined;

  constructor(file: LmdbFile, unlock: () => void, options: LmdbStoreOptions) {
    this.#file = file;
    this.#unlock = unlock;
    this.#options = options;
    this.#ring = new ValueRing(options.cacheBytes);
    const { revision, compacted } = file.state();
    this.#removes = this.#keyspace.restore(revision, compacted, file.versions());
    this.#durableCompacted = compacted;
    this.#hub = new WatchHub(this.#keyspace, this.#readValue, () => this.#reopening);
    if (this.#removes.length > 0) this.#start();
    this.#retention = runRetention({
      limits: options.history,
      clock: options.clock,
      signal: this.#stop.signal,
      revision: () => this.#keyspace.revision,
      compact: async (target) => this.#moveBorder(target),
    });
  }

  async get(key: string): Promise<StoredEntry | undefined> {
    this.#checkOpen();
    await this.#reopening;
    const version = this.#keyspace.current(key);
    return version === undefined ? undefined : entryOf(version, this.#readValue);
  }

  async list(query: { prefix: string; after?: string; limit?: number; revision?: number }) {
    this.#checkOpen();
    await this.#reopening;
    const revision = readableRevision(this.#keyspace, query.revision);
    const { versions, more } = this.#keyspace.list({ ...query, revision });
    if (versions.length <= readSlice)
      return { entries: versions.map((version) => entryOf(version, this.#readValue)), revision, more };
    const entries: StoredEntry[] = [];
    this.#pins++;
    try {
      for (const version of versions) {
        if (entries.length % readSlice === readSlice - 1) await nextTurn();
        await this.#reopening;
        this.#checkOpen();
        entries.push(entryOf(version, this.#readValue));
      }
    } finally {
      this.#pins--;
      if (this.#pins === 0 && this.#removes.length > 0) this.#start();
    }
    return { entries, revision, more };
  }

  async commit(changes: readonly StoreChange[]): Promise<CommitResult> {
    this.#checkOpen();
    checkChanges(changes);
    const records = changes.map(({ key, value }) => encodeRecord(key, value));
    const bytes = records.reduce((sum, record) => sum + record.byteLength, 0);
    return new Promise((resolve, reject) => {
      this.#queue.push({ changes, records, bytes, resolve, reject });
      this.#start();
    });
  }

  watch(query: { readonly prefix: string; readonly after: number }, signal: AbortSignal): AsyncIterable<WatchBatch> {
    return this.#hub.watch(query, signal);
  }

  async compact(revision: number): Promise<void> {
    this.#checkOpen();
    checkRevision(revision, 0);
    if (revision > this.#keyspace.revision) throw futureRevision(revision, this.#keyspace.revision);
    this.#moveBorder(revision);
    while (this.#hasHousekeeping && this.#pins === 0) {
      this.#start();
      await this.#running;
      if (this.#unwritable !== undefined) throw this.#unwritable;
      this.#checkOpen();
    }
  }

  status(): StoreStatus {
    const reason = this.#disposed === undefined ? this.#unwritable?.message : 'the store has been disposed';
    return {
      revision: this.#keyspace.revision,
      compacted: this.#keyspace.compacted,
      keys: this.#keyspace.liveKeys,
      sizeBytes: this.#disposed === undefined ? this.#file.sizeBytes : 0,
      writable: reason === undefined,
      ...(reason === undefined ? {} : { reason }),
    };
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#disposed ??= this.#dispose();
    return this.#disposed;
  }

  async #dispose(): Promise<void> {
    this.#stop.abort();
    this.#hub.close(closedStore());
    await this.#retention;
    await this.#probing;
    while (this.#running !== undefined) await this.#running;
    try {
      await this.#file.close();
    } finally {
      this.#unlock();
    }
  }

  #checkOpen(): void {
    if (this.#stop.signal.aborted) throw closedStore();
  }

  #moveBorder(revision: number): void {
    if (!this.#keyspace.compactTo(revision)) return;
    this.#hub.notify();
    this.#start();
  }

  get #hasHousekeeping(): boolean {
    return this.#removes.length > 0 || this.#keyspace.needsSweep || this.#durableCompacted < this.#keyspace.compacted;
  }

  #start(): void {
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined;
      if (this.#queue.length > 0) this.#start();
    });
  }

  /** Writes until nothing is left to write; housekeeping stops at the first failure, and when the store is being disposed. */
  async #run(): Promise<void> {
    for (;;) {
      // Commits that arrive in one turn of the event loop share the batch.
      await nextTurn();
      const isIdle = this.#queue.length === 0;
      const mayKeepHouse =
        this.#hasHousekeeping && this.#pins === 0 && this.#unwritable === undefined && !this.#stop.signal.aborted;
      if (isIdle && !mayKeepHouse) return;
      await this.#writeBatch(this.#takeBatch());
    }
  }

  #takeBatch(): PendingCommit[] {
    let bytes = 0;
    let count = 0;
    for (const commit of this.#queue) {
      bytes += commit.bytes;
      if (count > 0 && (count === batchCommits || bytes > batchBytes)) break;
      count++;
    }
    return this.#queue.splice(0, count);
  }

  async #writeBatch(commits: readonly PendingCommit[], isProbe = false): Promise<void> {
    try {
      const batch = judgeBatch(commits, this.#keyspace, this.#readValue);
      const removes = this.#takeRemoves();
      if (
        isProbe ||
        batch.appends.length > 0 ||
        removes.length > 0 ||
        this.#durableCompacted < this.#keyspace.compacted
      ) {
        try {
          await this.#write(batch, removes, isProbe);
        } catch (error) {
          this.#removes.push(...removes);
          throw error;
        }
      }
      for (const { revision, versions } of batch.revisions) {
        this.#keyspace.apply(revision, versions);
        for (const version of versions) this.#ring.add(version);
      }
      if (batch.revisions.length > 0) this.#hub.notify();
      for (const answer of batch.answers) answer();
    } catch (error) {
      for (const { reject } of commits) reject(error);
    }
  }

  #takeRemoves(): Version[] {
    if (this.#pins > 0 || this.#stop.signal.aborted) return [];
    if (this.#removes.length < batchRemoves) {
      for (const version of this.#keyspace.sweep(batchRemoves - this.#removes.length).dropped)
        this.#removes.push(version);
    }
    return this.#removes.splice(0, batchRemoves);
  }

  /** Writes durably, or throws what the callers are told, with nothing written. */
  async #write(batch: JudgedBatch, removes: readonly Version[], isProbe: boolean): Promise<void> {
    if (this.#unwritable?.code === 'STORE_FAILED') throw this.#unwritable;
    const state = { revision: batch.revision, compacted: this.#keyspace.compacted };
    try {
      if (this.#needsReopen) await this.#reopen();
      this.#checkSpace(batch);
      await this.#file.write({ appends: batch.appends, removes, state, isProbe });
    } catch (error) {
      this.#setUnwritable(await this.#afterFailure(error, state.revision));
      throw this.#unwritable;
    }
    this.#durableCompacted = state.compacted;
    if (this.#unwritable !== undefined) this.#options.log.info('store/lmdb can write again');
    this.#unwritable = undefined;
  }

  #checkSpace(batch: JudgedBatch): void {
    if (batch.appends.length === 0 || this.#options.reserveBytes === 0) return;
    const { freeBytes } = this.#file;
    if (freeBytes >= this.#options.reserveBytes) return;
    throw Object.assign(new Error(`${freeBytes} bytes are free, ${this.#options.reserveBytes} are kept in reserve`), {
      code: 'ENOSPC',
      isBeforeWrite: true,
    });
  }

  /** What became of a failed transaction decides: read-only when surely nothing was written, failed otherwise. */
  async #afterFailure(error: unknown, revision: number): Promise<PintleError> {
    if ((error as { isBeforeWrite?: boolean }).isBeforeWrite !== true) {
      this.#needsReopen = true;
      try {
        await this.#reopen();
        const durable = this.#file.state().revision;
        if (durable !== this.#keyspace.revision)
          return failed(
            `its file is at revision ${durable} after a write of ${revision} that was reported to fail`,
            error,
          );
      } catch (cause) {
        return readOnlyReason(cause) === undefined
          ? failed('its file could not be opened again', cause)
          : readOnly(cause);
      }
    }
    return readOnlyReason(error) === undefined ? failed('a write failed', error) : readOnly(error);
  }

  /** Reads wait meanwhile. */
  async #reopen(): Promise<void> {
    const reopening = this.#file.reopen();
    // Heard of below; reads that wait find out by themselves.
    this.#reopening = reopening.catch(() => undefined);
    try {
      await reopening;
      this.#needsReopen = false;
    } finally {
      this.#reopening = undefined;
    }
  }

  #setUnwritable(error: PintleError): void {
    const before = this.#unwritable?.message;
    this.#unwritable = error;
    if (before !== error.message) this.#options.log.error(error.message, { code: error.code });
    if (error.code === 'STORE_READ_ONLY' && !this.#stop.signal.aborted)
      this.#probing ??= this.#probe().finally(() => (this.#probing = undefined));
  }

  /** Nobody may be writing when space returns: tries until it can write, so that the status tells and compaction goes on. */
  async #probe(): Promise<void> {
    while (this.#unwritable?.code === 'STORE_READ_ONLY') {
      try {
        await this.#options.clock.sleep(probeMs, this.#stop.signal);
      } catch {
        return;
      }
      if (this.#running !== undefined) await this.#running;
      if (this.#unwritable === undefined || this.#stop.signal.aborted) continue;
      if (this.#options.reserveBytes > 0 && this.#file.freeBytes < this.#options.reserveBytes) continue;
      this.#running ??= this.#writeBatch([], true).finally(() => {
        this.#running = undefined;
        this.#start();
      });
      await this.#running;
    }
  }
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
