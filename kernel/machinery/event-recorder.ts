/**
 * Writes core/v1 Events about objects. Recording never blocks and never fails the caller: an event that cannot be written
 * is dropped with a log line, and so is one of an object that floods (25 at once, then one in five minutes).
 * The same event again (object, type, reason, message) raises `count` and `lastTimestamp` of the first.
 */
import { isPintleError, type Clock, type Cluster, type KubernetesObject, type Logger } from '../contract/index.ts';
import type { ObjectReference } from '../contract/kubernetes.ts';
import { apiTime } from './clock.ts';
import { resources } from './resources.ts';

export interface EventRecorderOptions {
  readonly component: string;
  readonly host?: string | undefined;
  readonly clock: Clock;
  readonly log?: Logger | undefined;
}

export type EventType = 'Normal' | 'Warning';

export interface EventRecorder {
  (object: KubernetesObject, type: EventType, reason: string, message: string): void;
  /** Resolves when everything recorded so far has been written or dropped. */
  idle(): Promise<void>;
}

interface Entry {
  readonly namespace: string;
  readonly name: string;
  readonly event: {
    /** Not the object itself: thousands of entries would keep as many that are gone. */
    readonly about: ObjectReference;
    readonly type: EventType;
    readonly reason: string;
    readonly message: string;
  };
  readonly firstAt: number;
  lastAt: number;
  count: number;
  writtenCount: number;
  isQueued: boolean;
}

const maxEntries = 4096;
const maxQueued = 20_000;
const maxWrites = 8;
const maxMessageLength = 1024;
const burst = 25;
const refillMs = 300_000;

export function eventRecorder(cluster: Cluster, options: EventRecorderOptions): EventRecorder {
  const writer = new EventWriter(cluster, options);
  return Object.assign(
    (object: KubernetesObject, type: EventType, reason: string, message: string) =>
      writer.record(object, type, reason, message),
    { idle: () => writer.idle() },
  );
}

class EventWriter {
  readonly #cluster: Cluster;
  readonly #options: EventRecorderOptions;
  readonly #entries = new Map<string, Entry>();
  readonly #budgets = new Map<string, { tokens: number; at: number }>();
  readonly #queue = new Set<Entry>();
  readonly #idle = new Set<() => void>();
  #writes = 0;
  #serial = 0;

  constructor(cluster: Cluster, options: EventRecorderOptions) {
    this.#cluster = cluster;
    this.#options = options;
  }

  record(object: KubernetesObject, type: EventType, reason: string, text: string): void {
    const message = text.length > maxMessageLength ? `${text.slice(0, maxMessageLength - 3)}...` : text;
    const identity = object.metadata.uid || `${object.metadata.namespace ?? ''}/${object.metadata.name}`;
    const now = this.#options.clock.now();
    if (!this.#mayRecord(identity, now)) return;
    const id = `${object.kind}\0${identity}\0${type}\0${reason}\0${message}`;
    let entry = this.#entries.get(id);
    if (entry === undefined) {
      const suffix = `${(now * 1000 + (this.#serial++ % 1000)).toString(16)}`;
      entry = {
        namespace: object.metadata.namespace ?? 'default',
        name: `${object.metadata.name.slice(0, 230)}.${suffix}`,
        event: { about: referenceTo(object), type, reason, message },
        firstAt: now,
        lastAt: now,
        count: 0,
        writtenCount: 0,
        isQueued: false,
      };
      keepNewest(this.#entries, maxEntries);
    } else this.#entries.delete(id);
    this.#entries.set(id, entry);
    entry.count++;
    entry.lastAt = now;
    this.#enqueue(entry);
  }

  idle(): Promise<void> {
    if (this.#writes === 0 && this.#queue.size === 0) return Promise.resolve();
    return new Promise((resolve) => this.#idle.add(resolve));
  }

  #mayRecord(identity: string, now: number): boolean {
    let budget = this.#budgets.get(identity);
    if (budget === undefined) {
      keepNewest(this.#budgets, maxEntries);
      budget = { tokens: burst, at: now };
      this.#budgets.set(identity, budget);
    }
    budget.tokens = Math.min(burst, budget.tokens + (now - budget.at) / refillMs);
    budget.at = now;
    if (budget.tokens < 1) return false;
    budget.tokens--;
    return true;
  }

  #enqueue(entry: Entry): void {
    if (entry.isQueued) return;
    if (this.#queue.size >= maxQueued) {
      this.#options.log?.warn('too many events wait to be written: one was dropped', { reason: entry.event.reason });
      return;
    }
    entry.isQueued = true;
    this.#queue.add(entry);
    if (this.#writes < maxWrites) {
      this.#writes++;
      void this.#drain();
    }
  }

  async #drain(): Promise<void> {
    // Entries that are added while this loop runs are visited too.
    for (const entry of this.#queue) {
      this.#queue.delete(entry);
      try {
        await this.#write(entry);
      } catch (error) {
        this.#options.log?.debug('an event could not be written', {
          reason: entry.event.reason,
          error: error instanceof Error ? error.message : String(error),
        });
      }
      entry.isQueued = false;
      if (entry.count > entry.writtenCount && entry.writtenCount > 0) this.#enqueue(entry);
    }
    this.#writes--;
    if (this.#writes > 0) return;
    for (const resolve of this.#idle) resolve();
    this.#idle.clear();
  }

  async #write(entry: Entry): Promise<void> {
    const { count } = entry;
    const lastTimestamp = apiTime(entry.lastAt);
    if (entry.writtenCount > 0) {
      try {
        const key = { namespace: entry.namespace, name: entry.name };
        await this.#cluster.patch(resources.events, key, { kind: 'merge', body: { count, lastTimestamp } });
        entry.writtenCount = count;
        return;
      } catch (error) {
        // Events live for a limited time; one that is gone is written anew.
        if (!isPintleError(error, 'NOT_FOUND')) throw error;
      }
    }
    const { about, type, reason, message } = entry.event;
    const { component, host } = this.#options;
    await this.#cluster.create(resources.events, {
      metadata: { name: entry.name, namespace: entry.namespace },
      involvedObject: about,
      type,
      reason,
      message,
      count,
      firstTimestamp: apiTime(entry.firstAt),
      lastTimestamp,
      source: host === undefined ? { component } : { component, host },
      reportingComponent: component,
      reportingInstance: host ?? '',
    });
    entry.writtenCount = count;
  }
}

function referenceTo({ apiVersion, kind, metadata }: KubernetesObject): ObjectReference {
  const { namespace, name, uid, resourceVersion } = metadata;
  return {
    ...{ apiVersion, kind, name, uid },
    ...(namespace === undefined ? {} : { namespace }),
    ...(resourceVersion === undefined ? {} : { resourceVersion }),
  };
}

/** Drops the oldest entry of a map that is full. */
function keepNewest(map: Map<string, unknown>, limit: number): void {
  if (map.size < limit) return;
  const oldest = map.keys().next();
  if (oldest.done !== true) map.delete(oldest.value);
}
