/**
 * The current state of the API in memory, fed by nothing but the store: one list at the start, then the store's watch. So
 * it is the same code whether this process is the store's only writer or one of several.
 *
 * Writes go to the store first; `commit` resolves when the state has seen the revision they made. An object that this
 * process has just encoded is not parsed again when it comes back: its bytes are compared, and the object is taken over.
 */
import { PintleError, isPintleError } from '../../../../kernel/contract/index.ts';
import type {
  Clock,
  KubernetesObject,
  Logger,
  Store,
  StoreChange,
  StoreEvent,
  StoredEntry,
} from '../../../../kernel/contract/index.ts';
import { Histogram } from '../../../../kernel/machinery/metrics/histogram.ts';
import { Collection } from './collection.ts';
import type { HistoryLimits } from './collection.ts';
import { decodeObject } from './encoding.ts';
import { deepFreeze } from './frozen-json.ts';

export const root = '/registry/';
/** How long a call waits for the state to come up with a revision that the store has. */
const catchUpMs = 10_000;
const timerMs = 250;
/** Revisions before a start that are read again as history: about 0.1 s of work. */
const replayed = 5_000;

export interface Write {
  readonly key: string;
  readonly bytes: Uint8Array;
  /** What the bytes say; handed over to the state, which freezes it. */
  readonly object: KubernetesObject;
  readonly expected: number;
}
export interface Removal {
  readonly key: string;
  readonly bytes: undefined;
  readonly expected: number;
}

interface Waiter {
  readonly revision: number;
  readonly deadlineMs: number;
  readonly done: (reached: boolean) => void;
}

export class State {
  readonly commitSeconds = new Histogram();
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #limits: HistoryLimits;
  readonly #collections = new Map<string, Collection>();
  readonly #written = new Map<string, Write>();
  readonly #stop = new AbortController();
  readonly #ends = new Set<() => void>();
  #waiters: Waiter[] = [];
  #timer: NodeJS.Timeout | undefined;
  #revision = 0;
  #isFresh = false;
  #failure: string | undefined = 'the state has not been read from the store yet';
  #feeding: Promise<void> = Promise.resolve();

  constructor(store: Store, clock: Clock, log: Logger, limits: HistoryLimits) {
    this.#store = store;
    this.#clock = clock;
    this.#log = log;
    this.#limits = limits;
  }

  get revision(): number {
    return this.#revision;
  }

  /** Why the state does not follow the store at the moment. */
  get failure(): string | undefined {
    return this.#failure;
  }

  /** When the state is disposed: watches end then. */
  get isStopped(): boolean {
    return this.#stop.signal.aborted;
  }

  /** Calls `end` when the state is disposed, unless what this answers is called before. A signal would search its listeners for each new one. */
  onStop(end: () => void): () => void {
    this.#ends.add(end);
    return () => this.#ends.delete(end);
  }

  /** `path`: "apps/deployments". */
  collection(path: string): Collection {
    let collection = this.#collections.get(path);
    if (!collection) {
      collection = new Collection(this.#limits);
      collection.reset([], this.#revision);
      this.#collections.set(path, collection);
    }
    return collection;
  }

  /**
   * Reads a state from a little while ago and lets the watch bring the rest, so that watches and page tokens from before
   * a restart go on as if nothing had happened.
   */
  async start(signal: AbortSignal): Promise<void> {
    const { revision, compacted } = this.#store.status();
    const past = Math.max(compacted, revision - Math.min(replayed, this.#limits.maxChanges), 1);
    try {
      await this.#load(past < revision ? past : undefined);
    } catch (error) {
      if (!isPintleError(error, 'COMPACTED')) throw error;
      await this.#load();
    }
    signal.throwIfAborted();
    this.#feeding = this.#feed();
    await this.#seen(revision);
    signal.throwIfAborted();
  }

  /** Ends the feed and every watch. */
  async stop(): Promise<void> {
    this.#stop.abort(new PintleError('UNAVAILABLE', 'The API is stopping.'));
    for (const end of this.#ends) end();
    await this.#feeding;
    this.#settle(Number.POSITIVE_INFINITY, false);
  }

  /** Writes all or nothing; undefined when a condition did not hold (the state has then seen why, as far as it can). */
  async commit(changes: readonly (Write | Removal)[]): Promise<number | undefined> {
    const toStore: StoreChange[] = changes.map(({ key, bytes, expected }) => ({ key, value: bytes, expected }));
    for (const change of changes) if (change.bytes) this.#written.set(change.key, change);
    const began = performance.now();
    try {
      const result = await this.#store.commit(toStore);
      if (result.ok) {
        if (result.revision > this.#revision) await this.#seen(result.revision);
        return result.revision;
      }
      await this.#seen(result.current?.modified ?? this.#store.status().revision);
      return undefined;
    } catch (error) {
      throw storeError(error);
    } finally {
      this.commitSeconds.observe((performance.now() - began) / 1000);
      for (const change of changes) {
        if (change.bytes && this.#written.get(change.key) === change) this.#written.delete(change.key);
      }
    }
  }

  /**
   * Resolves when the state has seen everything that the store had when this was called, or a turn of the event loop
   * before: what this process has written is in the state anyway, and asking the store may cost it a system call.
   */
  async fresh(): Promise<void> {
    if (this.#isFresh) return;
    this.#isFresh = true;
    setImmediate(() => (this.#isFresh = false));
    const { revision } = this.#store.status();
    if (revision > this.#revision) await this.reach(revision);
  }

  /** Resolves when the state has this revision; rejects TIMEOUT when it does not come within the time. */
  async reach(revision: number, withinMs = catchUpMs): Promise<void> {
    if (await this.#reaches(revision, withinMs)) return;
    throw new PintleError('TIMEOUT', `Too large resource version: ${revision}, current: ${this.#revision}`, {
      details: {
        retryAfterSeconds: 1,
        causes: [{ reason: 'ResourceVersionTooLarge', message: 'Too large resource version', field: '' }],
      },
    });
  }

  /** False: not within the time. */
  async #reaches(revision: number, withinMs: number): Promise<boolean> {
    if (revision <= this.#revision) return true;
    if (this.#stop.signal.aborted) throw this.#stop.signal.reason as Error;
    const reached = await new Promise<boolean>((resolve) => {
      this.#waiters.push({ revision, deadlineMs: performance.now() + withinMs, done: resolve });
      this.#armTimer();
    });
    if (!reached && this.#stop.signal.aborted) throw this.#stop.signal.reason as Error;
    return reached;
  }

  /** A write is answered only when every later read will show it. */
  async #seen(revision: number): Promise<void> {
    if (await this.#reaches(revision, catchUpMs)) return;
    throw new PintleError(
      'UNAVAILABLE',
      `The write is stored (revision ${revision}), but the state has not caught up with the store: ${this.#failure ?? 'it is slow'}. Read again before you write again.`,
      { details: { retryAfterSeconds: 1 } },
    );
  }

  /** One coarse timer for all: nearly every wait is over long before, and a timer for each would cost more than it. */
  #armTimer(): void {
    if (this.#timer) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      const now = performance.now();
      const late = this.#waiters.filter(({ deadlineMs }) => deadlineMs <= now);
      this.#waiters = this.#waiters.filter(({ deadlineMs }) => deadlineMs > now);
      for (const { done } of late) done(false);
      if (this.#waiters.length > 0) this.#armTimer();
    }, timerMs).unref();
  }

  /** Forgets history that is older than the limits. */
  trim(): void {
    const now = this.#clock.now();
    for (const collection of this.#collections.values()) collection.trim(now);
  }

  /** Undefined: the state of now. */
  async #load(at?: number): Promise<void> {
    const entries: StoredEntry[] = [];
    let after: string | undefined;
    let revision = at;
    for (;;) {
      const page = await this.#store.list({
        prefix: root,
        limit: 10_000,
        ...(after === undefined ? {} : { after }),
        ...(revision === undefined ? {} : { revision }),
      });
      for (const entry of page.entries) entries.push(entry);
      revision = page.revision;
      if (!page.more) break;
      after = page.entries.at(-1)!.key;
    }
    const sorted = new Map<string, [string, KubernetesObject][]>();
    for (const entry of entries) {
      const place = splitStoreKey(entry.key);
      const object = place && this.#decode(entry);
      if (!place || !object) continue;
      let list = sorted.get(place.path);
      if (!list) sorted.set(place.path, (list = []));
      list.push([place.key, object]);
    }
    for (const path of sorted.keys()) this.collection(path);
    for (const [path, collection] of this.#collections) {
      // The store orders by UTF-8 bytes, the tree by code units: the same for all but astral characters.
      const list = (sorted.get(path) ?? []).sort(([a], [b]) => (a < b ? -1 : 1));
      collection.reset(list, revision);
    }
    this.#advance(revision);
    this.#failure = undefined;
  }

  async #feed(): Promise<void> {
    for (let failures = 0; !this.#stop.signal.aborted; failures++) {
      try {
        for await (const batch of this.#store.watch({ prefix: root, after: this.#revision }, this.#stop.signal)) {
          failures = 0;
          this.#failure = undefined;
          for (const event of batch.events) this.#apply(event);
          this.#advance(batch.progress);
        }
        if (this.#stop.signal.aborted) return;
        throw new PintleError('STORE_FAILED', 'The watch on the store ended by itself.');
      } catch (error) {
        if (this.#stop.signal.aborted) return;
        const message = error instanceof Error ? error.message : String(error);
        this.#failure = `the state does not follow the store: ${message}`;
        this.#log.error('The watch on the store failed; trying again', { error: message });
        await this.#recover(error, failures);
      }
    }
  }

  async #recover(error: unknown, failures: number): Promise<void> {
    try {
      if (failures > 0 || !isPintleError(error, 'COMPACTED')) {
        await this.#clock.sleep(Math.min(5_000, 50 * 2 ** Math.min(failures, 10)), this.#stop.signal);
      }
      if (isPintleError(error, 'COMPACTED', 'FUTURE_REVISION')) await this.#load();
    } catch (again) {
      if (!this.#stop.signal.aborted) this.#log.error('Reading the state again failed', { error: String(again) });
    }
  }

  #apply(event: StoreEvent): void {
    const place = splitStoreKey(event.key);
    if (!place) return;
    let object: KubernetesObject | undefined;
    if (event.entry) {
      object = this.#decode(event.entry);
      if (!object) return;
    }
    this.collection(place.path).apply(place.key, object, event.revision, this.#clock.now(), event.entry?.value.length);
  }

  #decode(entry: StoredEntry): KubernetesObject | undefined {
    const own = this.#written.get(entry.key);
    if (own && Buffer.compare(own.bytes, entry.value) === 0) {
      this.#written.delete(entry.key);
      own.object.metadata.resourceVersion = String(entry.modified);
      return deepFreeze(own.object);
    }
    try {
      return decodeObject(entry.value, entry.modified);
    } catch (error) {
      this.#log.error('A stored object is not readable and is left out', { key: entry.key, error: String(error) });
      return undefined;
    }
  }

  #advance(revision: number): void {
    if (revision <= this.#revision) return;
    this.#revision = revision;
    this.#settle(revision, true);
  }

  #settle(revision: number, reached: boolean): void {
    if (this.#waiters.length === 0) return;
    const ready = this.#waiters.filter((waiter) => waiter.revision <= revision);
    if (ready.length === 0) return;
    this.#waiters = this.#waiters.filter((waiter) => waiter.revision > revision);
    for (const waiter of ready) waiter.done(reached);
  }
}

/** "/registry/apps/deployments/default/web" → "apps/deployments", "default/web". */
function splitStoreKey(key: string): { path: string; key: string } | undefined {
  const group = key.indexOf('/', root.length);
  const resource = group < 0 ? -1 : key.indexOf('/', group + 1);
  if (resource < 0) return undefined;
  return { path: key.slice(root.length, resource), key: key.slice(resource + 1) };
}

function storeError(error: unknown): unknown {
  if (isPintleError(error, 'STORE_READ_ONLY', 'STORE_FAILED', 'STORE_CLOSED')) {
    return new PintleError('UNAVAILABLE', `The store did not take the write: ${error.message}`, {
      cause: error,
      details: { retryAfterSeconds: 1 },
    });
  }
  return error;
}
