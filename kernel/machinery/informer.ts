/**
 * A local, indexed copy of one resource, kept current by list and watch. One copy is shared by all users of a cluster
 * object in this process; it stops when its last user closes.
 *
 * After EXPIRED it lists again and reports the difference, deletions that happened in the gap included; an object that was
 * deleted and created again under its old name is reported as two changes. After any other failure it watches again from
 * where it was, with backoff and jitter. It never reports a state twice, except on an asked-for resync.
 */
import type { Clock, Cluster, KubernetesObject, Logger, ResourceType } from '../contract/index.ts';
import { systemClock } from './clock.ts';
import { ObjectIndex } from './object-index.ts';
import { Reflector, type Change, type ChangeSink, type ReflectorOptions } from './reflector.ts';

export type { Change };

export interface InformerFilter {
  readonly namespace?: string | undefined;
  readonly labelSelector?: string | undefined;
  readonly fieldSelector?: string | undefined;
  /** Objects come with these parts alone, when the server knows how (see ListOptions), and other changes are not told. */
  readonly fields?: readonly string[] | undefined;
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
export function createInformers(cluster: Cluster, log?: Logger, options: ReflectorOptions = {}): Informers {
  const reflectors = new Map<string, Reflector<KubernetesObject>>();
  return {
    get<T extends KubernetesObject>(type: ResourceType<T>, filter: InformerFilter = {}): Informer<T> {
      const { namespace, labelSelector, fieldSelector, fields } = filter;
      const id = JSON.stringify([
        type.group,
        type.version,
        type.resource,
        namespace,
        labelSelector,
        fieldSelector,
        fields,
      ]);
      let reflector = reflectors.get(id) as Reflector<T> | undefined;
      if (reflector === undefined) {
        reflector = new Reflector<T>(cluster, type, { namespace, labelSelector, fieldSelector, fields }, log, options);
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

/** One user's view: its listeners and indexes over the shared copy. */
class SharedInformer<T extends KubernetesObject> implements Informer<T>, ChangeSink<T> {
  readonly #reflector: Reflector<T>;
  readonly #indexes = new Map<string, ObjectIndex<T>>();
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
    const index = new ObjectIndex(valuesOf);
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
