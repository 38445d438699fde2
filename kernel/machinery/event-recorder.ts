/**
 * Writes core/v1 Events about objects. Recording never blocks and never fails the caller: an event that cannot be written
 * is dropped with a log line, and so is one of an object that floods (25 at once, then one in five minutes).
 * The same event again (object, type, reason, message) raises `count` and `lastTimestamp` of the first.
 */
import {
  isPintleError,
  type Clock,
  type Cluster,
  type KubernetesObject,
  type Logger,
  type NewObject,
} from '../contract/index.ts';
import type { Event, ObjectReference } from '../contract/kubernetes.ts';
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
/**
 * Where events go over the network, what happens within this time goes in one request: a pod that starts has three events
 * or more, and a request of their own would cost each more than all else that is done for it.
 */
const gatherMs = 100;
const maxTogether = 100;
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
  #gathering: NodeJS.Timeout | undefined;
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
    this.#start();
    if (this.#writes === 0) return Promise.resolve();
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
    if (this.#cluster.createEach === undefined) this.#start();
    else this.#gathering ??= setTimeout(() => this.#start(), gatherMs).unref();
  }

  #start(): void {
    clearTimeout(this.#gathering);
    this.#gathering = undefined;
    if (this.#queue.size === 0 || this.#writes >= maxWrites) return;
    this.#writes++;
    void this.#drain();
  }

  async #drain(): Promise<void> {
    for (let entries = this.#take(); entries.length > 0; entries = this.#take()) {
      // Others help with what is left.
      this.#start();
      await this.#write(entries);
      for (const entry of entries) {
        entry.isQueued = false;
        if (entry.count > entry.writtenCount && entry.writtenCount > 0) this.#enqueue(entry);
      }
    }
    this.#writes--;
    if (this.#writes > 0) return;
    for (const resolve of this.#idle) resolve();
    this.#idle.clear();
  }

  /** What is written next: one, or all that can be created with it. */
  #take(): readonly Entry[] {
    const [first] = this.#queue;
    if (first === undefined) return [];
    const isNewBeside = ({ namespace, writtenCount }: Entry) => writtenCount === 0 && namespace === first.namespace;
    const taken = [first];
    if (this.#cluster.createEach !== undefined && first.writtenCount === 0)
      for (const entry of this.#queue)
        if (entry !== first && taken.length < maxTogether && isNewBeside(entry)) taken.push(entry);
    for (const entry of taken) this.#queue.delete(entry);
    return taken;
  }

  /** Never rejects. */
  async #write(entries: readonly Entry[]): Promise<void> {
    const [first] = entries;
    const dropped = ({ event: { reason } }: Entry, error: unknown) =>
      this.#options.log?.debug('an event could not be written', {
        reason,
        error: error instanceof Error ? error.message : String(error),
      });
    try {
      if (first !== undefined && entries.length === 1) return await this.#writeOne(first);
      const counts = entries.map(({ count }) => count);
      const outcomes = await this.#cluster.createEach!(
        resources.events,
        entries.map((entry) => this.#eventOf(entry)),
      );
      for (const [index, entry] of entries.entries()) {
        const failure = outcomes[index];
        if (failure === undefined) entry.writtenCount = counts[index]!;
        else dropped(entry, failure);
      }
    } catch (error) {
      for (const entry of entries) dropped(entry, error);
    }
  }

  async #writeOne(entry: Entry): Promise<void> {
    const { count } = entry;
    if (entry.writtenCount > 0) {
      try {
        const key = { namespace: entry.namespace, name: entry.name };
        const body = { count, lastTimestamp: apiTime(entry.lastAt) };
        await this.#cluster.patch(resources.events, key, { kind: 'merge', body });
        entry.writtenCount = count;
        return;
      } catch (error) {
        // Events live for a limited time; one that is gone is written anew.
        if (!isPintleError(error, 'NOT_FOUND')) throw error;
      }
    }
    await this.#cluster.create(resources.events, this.#eventOf(entry));
    entry.writtenCount = count;
  }

  #eventOf({ namespace, name, event, count, firstAt, lastAt }: Entry): NewObject<Event> {
    const { about, type, reason, message } = event;
    const { component, host } = this.#options;
    return {
      metadata: { name, namespace },
      involvedObject: about,
      type,
      reason,
      message,
      count,
      firstTimestamp: apiTime(firstAt),
      lastTimestamp: apiTime(lastAt),
      source: host === undefined ? { component } : { component, host },
      reportingComponent: component,
      reportingInstance: host ?? '',
    };
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
