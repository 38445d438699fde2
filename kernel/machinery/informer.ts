/**
 * A local, indexed copy of one resource, kept current by list and watch. One copy is shared by all users of a cluster
 * object in this process; it stops when its last user closes.
 *
 * After EXPIRED it lists again and reports the difference, deletions that happened in the gap included; an object that was
 * deleted and created again under its old name is reported as two changes. After any other failure it watches again from
 * where it was, with backoff and jitter. It never reports a state twice, except on an asked-for resync.
 */
import {
  isPintleError,
  type Clock,
  type Cluster,
  type KubernetesObject,
  type ListOptions,
  type Logger,
  type ResourceType,
} from '../contract/index.ts';
import { backoffDelay, type BackoffOptions } from './backoff.ts';
import { systemClock } from './clock.ts';
import { keyOf } from './metadata.ts';

/** `object` is undefined for a deletion; `previous` is undefined for a new object. Both are set for an update. */
export interface Change<T> {
  readonly key: string;
  readonly object?: T | undefined;
  readonly previous?: T | undefined;
}

export interface InformerFilter {
  readonly namespace?: string | undefined;
  readonly labelSelector?: string | undefined;
  readonly fieldSelector?: string | undefined;
  /** Repeats every object to this user's listeners (object === previous) after each such time. Default: never. */
  readonly resyncMs?: number | undefined;
}

export interface Informer<T extends KubernetesObject> {
  get(key: string): T | undefined;
  list(): readonly T[];
  /** Adds an index: `valuesOf` names the values under which `byIndex` finds an object. Repeating a name replaces it. */
  addIndex(name: string, valuesOf: (object: T) => readonly string[]): void;
  byIndex(name: string, value: string): readonly T[];
  /** Objects that are already known are reported at once, before `onChange` returns. Answers the unsubscribe function. */
  onChange(listener: (change: Change<T>) => void): () => void;
  /** Resolves when the first list is in. */
  synced(signal: AbortSignal): Promise<void>;
  readonly isSynced: boolean;
  /** The resourceVersion up to which this copy is complete; 0 before the first list. Compare with that of a write. */
  readonly revision: number;
  close(): void;
}

export interface Informers {
  get<T extends KubernetesObject>(type: ResourceType<T>, filter?: InformerFilter): Informer<T>;
}

export interface InformersOptions {
  readonly clock?: Clock | undefined;
  /** Between attempts to reach the server. Default 200 ms to 10 s, half of it random. */
  readonly backoff?: BackoffOptions | undefined;
}

const shared = new WeakMap<Cluster, Informers>();

/** The informers of this cluster object: the same factory for every caller. */
export function informersFor(cluster: Cluster, log?: Logger): Informers {
  const known = shared.get(cluster);
  if (known !== undefined) return known;
  const made = createInformers(cluster, log);
  shared.set(cluster, made);
  return made;
}

/** A factory of its own; use `informersFor` unless you need other timing. */
export function createInformers(cluster: Cluster, log?: Logger, options: InformersOptions = {}): Informers {
  const reflectors = new Map<string, Reflector<KubernetesObject>>();
  return {
    get<T extends KubernetesObject>(type: ResourceType<T>, filter: InformerFilter = {}): Informer<T> {
      const { namespace, labelSelector, fieldSelector } = filter;
      const id = JSON.stringify([type.group, type.version, type.resource, namespace, labelSelector, fieldSelector]);
      let reflector = reflectors.get(id) as Reflector<T> | undefined;
      if (reflector === undefined) {
        reflector = new Reflector<T>(cluster, type, { namespace, labelSelector, fieldSelector }, log, options);
        reflectors.set(id, reflector as unknown as Reflector<KubernetesObject>);
      }
      const used = reflector;
      return new SharedInformer<T>(used, filter.resyncMs, options.clock ?? systemClock, () => {
        if (used.isUsed) return;
        used.stop();
        reflectors.delete(id);
      });
    },
  };
}

interface ChangeSink<T> {
  apply(change: Change<T>): void;
}

/** One user's view: its listeners and indexes over the shared copy. */
class SharedInformer<T extends KubernetesObject> implements Informer<T>, ChangeSink<T> {
  readonly #reflector: Reflector<T>;
  readonly #indexes = new Map<string, Index<T>>();
  readonly #listeners = new Set<(change: Change<T>) => void>();
  readonly #onClose: () => void;
  readonly #closed = new AbortController();

  constructor(reflector: Reflector<T>, resyncMs: number | undefined, clock: Clock, onClose: () => void) {
    this.#reflector = reflector;
    this.#onClose = onClose;
    reflector.attach(this);
    if (resyncMs !== undefined && resyncMs > 0) void this.#resync(resyncMs, clock);
  }

  get isSynced(): boolean {
    return this.#reflector.isSynced;
  }

  get revision(): number {
    return this.#reflector.revision;
  }

  get(key: string): T | undefined {
    return this.#reflector.objects.get(key);
  }

  list(): readonly T[] {
    return this.#reflector.list();
  }

  addIndex(name: string, valuesOf: (object: T) => readonly string[]): void {
    const index = new Index(valuesOf);
    for (const [key, object] of this.#reflector.objects) index.apply({ key, object });
    this.#indexes.set(name, index);
  }

  byIndex(name: string, value: string): readonly T[] {
    const index = this.#indexes.get(name);
    if (index === undefined) throw new Error(`This informer has no index "${name}": add it with addIndex first.`);
    return index.find(value);
  }

  onChange(listener: (change: Change<T>) => void): () => void {
    for (const [key, object] of this.#reflector.objects) listener({ key, object });
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  synced(signal: AbortSignal): Promise<void> {
    return this.#reflector.synced(signal);
  }

  apply(change: Change<T>): void {
    for (const index of this.#indexes.values()) index.apply(change);
    for (const listener of this.#listeners) this.#reflector.call(listener, change);
  }

  close(): void {
    if (this.#closed.signal.aborted) return;
    this.#closed.abort();
    this.#listeners.clear();
    this.#reflector.detach(this);
    this.#onClose();
  }

  async #resync(everyMs: number, clock: Clock): Promise<void> {
    try {
      for (;;) {
        await clock.sleep(everyMs, this.#closed.signal);
        for (const [key, object] of this.#reflector.objects) {
          const change = { key, object, previous: object };
          for (const listener of this.#listeners) this.#reflector.call(listener, change);
        }
      }
    } catch {
      // Closed.
    }
  }
}

class Index<T> {
  readonly #valuesOf: (object: T) => readonly string[];
  readonly #found = new Map<string, Map<string, T>>();

  constructor(valuesOf: (object: T) => readonly string[]) {
    this.#valuesOf = valuesOf;
  }

  find(value: string): readonly T[] {
    const found = this.#found.get(value);
    return found === undefined ? [] : [...found.values()];
  }

  apply({ key, object, previous }: Change<T>): void {
    if (previous !== undefined) {
      for (const value of this.#valuesOf(previous)) {
        const entries = this.#found.get(value);
        entries?.delete(key);
        if (entries?.size === 0) this.#found.delete(value);
      }
    }
    if (object === undefined) return;
    for (const value of this.#valuesOf(object)) {
      const entries = this.#found.get(value);
      if (entries === undefined) this.#found.set(value, new Map([[key, object]]));
      else entries.set(key, object);
    }
  }
}

/** The shared copy itself: lists, watches, and tells its users what changed. */
class Reflector<T extends KubernetesObject> {
  readonly objects = new Map<string, T>();
  revision = 0;
  isSynced = false;
  readonly #cluster: Cluster;
  readonly #type: ResourceType<T>;
  readonly #filter: ListOptions;
  readonly #log: Logger | undefined;
  readonly #clock: Clock;
  readonly #backoff: BackoffOptions;
  readonly #users = new Set<ChangeSink<T>>();
  readonly #stop = new AbortController();
  readonly #waiters = new Set<() => void>();
  #list: readonly T[] | undefined;
  #started = false;

  constructor(
    cluster: Cluster,
    type: ResourceType<T>,
    filter: ListOptions,
    log: Logger | undefined,
    options: InformersOptions,
  ) {
    this.#cluster = cluster;
    this.#type = type;
    this.#filter = filter;
    this.#log = log;
    this.#clock = options.clock ?? systemClock;
    this.#backoff = options.backoff ?? { minMs: 200, maxMs: 10_000, jitter: 0.5 };
  }

  get isUsed(): boolean {
    return this.#users.size > 0;
  }

  attach(user: ChangeSink<T>): void {
    this.#users.add(user);
    if (this.#started) return;
    this.#started = true;
    // The first list starts after the caller has added its listeners and indexes.
    queueMicrotask(() => void this.#run());
  }

  detach(user: ChangeSink<T>): void {
    this.#users.delete(user);
  }

  stop(): void {
    this.#stop.abort();
  }

  list(): readonly T[] {
    return (this.#list ??= [...this.objects.values()]);
  }

  call(listener: (change: Change<T>) => void, change: Change<T>): void {
    try {
      listener(change);
    } catch (error) {
      this.#log?.error('a listener of an informer threw', { resource: this.#type.resource, key: change.key, error });
    }
  }

  synced(signal: AbortSignal): Promise<void> {
    if (this.isSynced) return Promise.resolve();
    return new Promise((resolve, reject) => {
      if (signal.aborted) {
        reject(signal.reason as Error);
        return;
      }
      const onAbort = () => {
        this.#waiters.delete(onSynced);
        reject(signal.reason as Error);
      };
      const onSynced = () => {
        signal.removeEventListener('abort', onAbort);
        resolve();
      };
      this.#waiters.add(onSynced);
      signal.addEventListener('abort', onAbort, { once: true });
    });
  }

  async #run(): Promise<void> {
    const signal = this.#stop.signal;
    let failures = 0;
    let mustList = true;
    while (!signal.aborted) {
      const before = this.revision;
      const startedAt = this.#clock.now();
      const isHealthy = () => this.revision > before || this.#clock.now() - startedAt > 5000;
      try {
        if (mustList) await this.#relist();
        mustList = false;
        await this.#watch(signal);
        // A server may end a watch whenever it likes; one that ends it at once is not asked again at once.
        failures = isHealthy() ? 0 : failures + 1;
      } catch (error) {
        if (signal.aborted) return;
        if (isHealthy()) failures = 0;
        failures++;
        if (isPintleError(error, 'EXPIRED', 'NOT_FOUND')) mustList = true;
        if (isPintleError(error, 'EXPIRED') && failures === 1) continue;
        this.#log?.[failures > 3 ? 'warn' : 'debug']('list or watch failed, will be retried', {
          resource: this.#type.resource,
          failures,
          error: error instanceof Error ? error.message : String(error),
        });
      }
      if (failures > 0) await this.#clock.sleep(backoffDelay(failures, this.#backoff), signal).catch(() => undefined);
    }
  }

  async #relist(): Promise<void> {
    const { items, resourceVersion } = await this.#cluster.list(this.#type, this.#filter);
    if (this.#stop.signal.aborted) return;
    const gone = new Set(this.objects.keys());
    for (const object of items) {
      const key = keyOf(object);
      gone.delete(key);
      this.#put(key, object);
    }
    for (const key of gone) this.#remove(key, this.objects.get(key) as T);
    this.#seen(resourceVersion);
    this.isSynced = true;
    for (const resolve of this.#waiters) resolve();
    this.#waiters.clear();
  }

  async #watch(signal: AbortSignal): Promise<void> {
    const options = { ...this.#filter, resourceVersion: String(this.revision), allowWatchBookmarks: true };
    for await (const batch of this.#cluster.watch(this.#type, options, signal)) {
      if (signal.aborted) return;
      for (const event of batch) {
        if (event.type !== 'BOOKMARK') {
          const key = keyOf(event.object);
          if (event.type === 'DELETED') this.#remove(key, event.object);
          else this.#put(key, event.object);
        }
        this.#seen(event.object.metadata.resourceVersion);
      }
    }
  }

  #seen(resourceVersion: string): void {
    this.revision = Math.max(this.revision, Number(resourceVersion));
  }

  #put(key: string, object: T): void {
    let previous = this.objects.get(key);
    if (previous !== undefined) {
      if (previous.metadata.resourceVersion === object.metadata.resourceVersion) return;
      if (previous.metadata.uid !== object.metadata.uid) {
        this.#remove(key, previous);
        previous = undefined;
      }
    }
    this.objects.set(key, object);
    this.#tell({ key, object, previous });
  }

  #remove(key: string, last: T): void {
    const previous = this.objects.get(key);
    if (previous === undefined || previous.metadata.uid !== last.metadata.uid) return;
    this.objects.delete(key);
    this.#tell({ key, previous });
  }

  #tell(change: Change<T>): void {
    this.#list = undefined;
    for (const user of this.#users) user.apply(change);
  }
}
