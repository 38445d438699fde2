/**
 * Events are kept for a time only, and no more of them than a number: they lie in memory like everything else. Their order
 * of last change is their order of expiry, so a queue is enough: nothing is searched. Too many are seen to at once and a
 * few at a time: what a storm leaves in half a minute would be a lot of memory, and hold everybody up when it is cleared
 * away. Whoever expires an event expects the revision it saw, so several servers do not disturb each other.
 */
import type { Clock, KubernetesObject } from '../../../kernel/contract/index.ts';
import type { Event } from '../../../kernel/contract/kubernetes.ts';
import { resources } from '../../../kernel/machinery/resources.ts';
import type { Storage } from './catalog.ts';
import type { Engine } from './engine.ts';
import type { Change, Follower } from './state/collection.ts';

interface Entry {
  readonly key: string;
  readonly resourceVersion: string;
  readonly expiresMs: number;
}

/** Deletions in one transaction: a storm of events goes as fast as it came, and holds nobody up for long. */
const together = 200;

function lastSeenMs(object: KubernetesObject): number {
  const event = object as Event;
  const text =
    event.series?.lastObservedTime ?? event.lastTimestamp ?? event.eventTime ?? event.metadata.creationTimestamp;
  const ms = Date.parse(text);
  return Number.isNaN(ms) ? 0 : ms;
}

export class EventExpiry implements Follower {
  readonly #engine: Engine;
  readonly #clock: Clock;
  readonly #ttlMs: number;
  readonly #maximum: number;
  readonly #unfollow: () => void;
  #queue: Entry[] = [];
  #clearing = false;

  constructor(engine: Engine, clock: Clock, ttlMs: number, maximum: number) {
    this.#engine = engine;
    this.#clock = clock;
    this.#ttlMs = ttlMs;
    this.#maximum = maximum;
    const { collection } = engine.stored(resources.events, 'delete').storage;
    this.#unfollow = collection.follow(this);
    this.reset();
  }

  /** What is there already counts from when it was last seen. */
  reset(): void {
    this.#queue = [];
    const { collection } = this.#engine.stored(resources.events, 'delete').storage;
    collection.tree.scan('', (key, object) => {
      const { resourceVersion } = object.metadata;
      this.#queue.push({ key, resourceVersion, expiresMs: lastSeenMs(object) + this.#ttlMs });
      return true;
    });
    this.#queue.sort((a, b) => a.expiresMs - b.expiresMs);
  }

  changed(change: Change): void {
    if (change.type === 'DELETED') return;
    const { resourceVersion } = change.object.metadata;
    this.#queue.push({ key: change.key, resourceVersion, expiresMs: this.#clock.now() + this.#ttlMs });
    const { collection } = this.#engine.stored(resources.events, 'delete').storage;
    if (collection.tree.size < this.#maximum + together || this.#clearing) return;
    this.#clearing = true;
    setImmediate(() => void this.#clear());
  }

  async #clear(): Promise<void> {
    try {
      await this.sweep();
    } catch {
      // The next change tries again, and so does the housekeeping, which says why.
    }
    this.#clearing = false;
  }

  async sweep(): Promise<void> {
    const { storage } = this.#engine.stored(resources.events, 'delete');
    const due = this.#takeDue(storage);
    for (let at = 0; at < due.length; at += together) {
      const removals = due.slice(at, at + together).map(({ key, resourceVersion }) => ({
        key: storage.prefix + key,
        bytes: undefined,
        expected: Number(resourceVersion),
      }));
      const isDone = (await this.#engine.state.commit(removals)) !== undefined;
      // Somebody changed one of them in between: the others still go.
      if (!isDone) for (const removal of removals) await this.#engine.state.commit([removal]);
    }
  }

  /** What is too old, and the oldest of what is too many. Entries of events that have changed since are passed over. */
  #takeDue({ collection }: Storage): readonly Entry[] {
    const nowMs = this.#clock.now();
    const due: Entry[] = [];
    let tooMany = collection.tree.size - this.#maximum;
    let count = 0;
    for (const entry of this.#queue) {
      if (entry.expiresMs > nowMs && tooMany <= 0) break;
      count++;
      if (collection.get(entry.key)?.metadata.resourceVersion !== entry.resourceVersion) continue;
      due.push(entry);
      tooMany--;
    }
    this.#queue.splice(0, count);
    return due;
  }

  close(): void {
    this.#unfollow();
  }
}
