/**
 * Lists and watches one resource into a map, and tells what changed. What it promises: see informer.ts.
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
import { pause, systemClock } from './clock.ts';
import { keyOf } from './metadata.ts';

/** `object` is undefined for a deletion; `previous` is undefined for a new object. Both are set for an update. */
export interface Change<T> {
  readonly key: string;
  readonly object?: T | undefined;
  readonly previous?: T | undefined;
}

export interface ReflectorOptions {
  readonly clock?: Clock | undefined;
  /** Between attempts to reach the server. Default 200 ms to 10 s, half of it random. */
  readonly backoff?: BackoffOptions | undefined;
}

/** One that is told of every change. */
export interface ChangeSink<T> {
  apply(change: Change<T>): void;
}

/** The shared copy itself: lists, watches, and tells its users what changed. */
export class Reflector<T extends KubernetesObject> {
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
    options: ReflectorOptions,
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
      this.#log?.error('a listener of an informer threw', {
        resource: this.#type.resource,
        key: change.key,
        error: String(error),
      });
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
      if (failures > 0) await pause(this.#clock, backoffDelay(failures, this.#backoff), signal);
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
