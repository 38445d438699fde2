/**
 * Kind `store`: ordered keys, one revision counter, compare-and-swap, snapshot reads, watch from a revision, compaction.
 * etcd's promises (etcd.io/docs: KV API guarantees) with a smaller surface.
 *
 * Vocabulary. A *revision* is a positive integer, one counter for the whole store; every committed transaction takes the
 * next one, all its changes share it. A fresh store is at revision 1. Keys are strings ordered by their UTF-8 bytes; a
 * key is 1 to 1,024 bytes, well-formed Unicode. Values are byte strings of at most 4 MiB. A transaction names each key once.
 *
 * Guarantees
 * - `commit` is atomic and strictly serializable. When it resolves with a revision, the change is visible to every later
 *   read, and, with the capability `durable`, survives `kill -9` and power loss (as far as fsync can promise).
 * - A rejected or conflicting commit changed nothing. A commit whose process died may or may not have happened, whole.
 * - `list` returns one revision's state. `list` with `revision` set reads that past state as long as it is not compacted.
 * - `watch` delivers every change with a revision above `after` that falls under the prefix, in revision order, none twice, none missing,
 *   all changes of one revision in one batch. `progress` never runs ahead of delivered events.
 * - Bytes given to `commit` are copied or not kept; bytes handed out must not be changed by the receiver.
 *
 * Idempotency: `compact` with a revision at or below the compacted one does nothing. Dispose twice is harmless.
 * Ordering and concurrency: any number of calls at once; concurrent commits may share one disk commit (group commit), the
 * revisions still differ.
 * Cancellation: `watch` ends (returns) when its signal aborts. Other calls run to their end.
 * Restart: the revision never goes back; kept history is still watchable after a restart.
 * Errors: COMPACTED, FUTURE_REVISION, STORE_READ_ONLY, STORE_INVALID (a call that breaks the rules above; nothing was
 * written), STORE_FAILED, STORE_CLOSED (of calls and running watches, once disposed). A slow watcher does not slow writers:
 * if it lags behind compaction it gets COMPACTED.
 * Capabilities: `durable`, `shared` (several processes may use it at the same time, e.g. etcd).
 */
export type StoreCapability = 'durable' | 'shared';

export interface StoredEntry {
  readonly key: string;
  readonly value: Uint8Array;
  /** Revision at which the key came to be (after its last deletion). */
  readonly created: number;
  /** Revision of the last change. */
  readonly modified: number;
}

export interface StoreChange {
  readonly key: string;
  /** Undefined deletes the key. */
  readonly value: Uint8Array | undefined;
  /** The `modified` revision that the key must have; 0: the key must not exist; undefined: no condition. */
  readonly expected?: number | undefined;
}

export type CommitResult =
  | { readonly ok: true; readonly revision: number }
  /** Nothing was written. `current` is the entry of the first key whose condition failed, as the commit saw it. */
  | { readonly ok: false; readonly key: string; readonly current: StoredEntry | undefined };

export interface StoreEvent {
  readonly key: string;
  readonly revision: number;
  /** Undefined: the key was deleted. */
  readonly entry: StoredEntry | undefined;
  /** The value before this change; undefined: the key did not exist. */
  readonly previous: StoredEntry | undefined;
}

export interface WatchBatch {
  /** Changes in revision order; may be empty (a pure progress notice). A revision is never split over two batches. */
  readonly events: readonly StoreEvent[];
  /** Every change up to and including this revision has been delivered. */
  readonly progress: number;
}

export interface StoreStatus {
  readonly revision: number;
  readonly compacted: number;
  readonly keys: number;
  /** Bytes on disk, or in memory for a store without a disk. */
  readonly sizeBytes: number;
  readonly writable: boolean;
  /** Why it is not writable, or why compaction stopped. */
  readonly reason?: string;
}

export interface Store {
  get(key: string): Promise<StoredEntry | undefined>;
  /**
   * Keys that start with `prefix`, in order. `after` (a key, exclusive) and `limit` page through them; `revision` pins the
   * snapshot. `more` is true when `limit` cut the answer.
   */
  list(query: {
    readonly prefix: string;
    readonly after?: string;
    readonly limit?: number;
    readonly revision?: number;
  }): Promise<{ readonly entries: readonly StoredEntry[]; readonly revision: number; readonly more: boolean }>;
  /** Deleting an absent key without a condition is not a change; a transaction without any change returns the current revision. */
  commit(changes: readonly StoreChange[]): Promise<CommitResult>;
  /** `after` >= the compacted revision, else the iterator rejects with COMPACTED. A future `after` rejects with FUTURE_REVISION. */
  watch(query: { readonly prefix: string; readonly after: number }, signal: AbortSignal): AsyncIterable<WatchBatch>;
  /** Forgets history below `revision`: reads and watches need `revision` or later from now on. Runs off the write path. */
  compact(revision: number): Promise<void>;
  status(): StoreStatus;
}
