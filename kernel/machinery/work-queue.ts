/**
 * A queue of keys to reconcile. A key that is added while it waits is one entry; a key that is added while it is being
 * processed runs once more afterwards, never at the same time. A key whose `process` rejects comes back after its own
 * exponential backoff; a key that succeeds is forgotten.
 */
import type { Clock, Logger } from '../contract/index.ts';
import { backoffDelay, type BackoffOptions } from './backoff.ts';
import { systemClock } from './clock.ts';
import { Heap } from './heap.ts';
import { countQueue, WorkQueueCounts } from './metrics/work-queue-metrics.ts';

export interface WorkQueueOptions<K> {
  readonly process: (key: K, signal: AbortSignal) => Promise<void>;
  /** Keys in work at once. Default 1. */
  readonly concurrency?: number | undefined;
  /** Default 10 ms to 60 s. */
  readonly backoff?: BackoffOptions | undefined;
  /** Failures are logged here, with this queue's name in `fields`. */
  readonly log?: Logger | undefined;
  readonly name?: string | undefined;
  readonly clock?: Clock | undefined;
}

export interface WorkQueue<K> {
  add(key: K): void;
  /** Adds the key after `ms`; of several pending delays of one key the earliest counts. */
  addAfter(key: K, ms: number): void;
  /** Works until the signal aborts, then resolves when the work in flight has ended. */
  run(signal: AbortSignal): Promise<void>;
  /** Keys that wait to be processed now (without delayed ones). */
  readonly length: number;
}

const defaultBackoff: BackoffOptions = { minMs: 10, maxMs: 60_000 };

export function createWorkQueue<K>(options: WorkQueueOptions<K>): WorkQueue<K> {
  return new KeyedQueue(options);
}

class KeyedQueue<K> implements WorkQueue<K> {
  readonly #options: WorkQueueOptions<K>;
  readonly #clock: Clock;
  /** The keys that wait, and since when. */
  readonly #waiting = new Map<K, number>();
  readonly #counts: WorkQueueCounts;
  readonly #inWork = new Set<K>();
  readonly #addedAgain = new Set<K>();
  readonly #failures = new Map<K, number>();
  readonly #due = new Map<K, number>();
  readonly #delays = new Heap<{ readonly at: number; readonly key: K }>((a, b) => a.at < b.at);
  #sleep: { readonly until: number; readonly cancel: AbortController } | undefined;
  #signal: AbortSignal | undefined;
  #ended: (() => void) | undefined;

  constructor(options: WorkQueueOptions<K>) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#counts = new WorkQueueCounts(options.name ?? '', () => this.#waiting.size);
  }

  get length(): number {
    return this.#waiting.size;
  }

  add(key: K): void {
    this.#due.delete(key);
    this.#counts.adds++;
    if (this.#inWork.has(key)) this.#addedAgain.add(key);
    else this.#wait(key);
    this.#dispatch();
  }

  addAfter(key: K, ms: number): void {
    if (ms <= 0) {
      this.add(key);
      return;
    }
    const at = this.#clock.now() + ms;
    const known = this.#due.get(key);
    if (known !== undefined && known <= at) return;
    this.#due.set(key, at);
    this.#delays.push({ at, key });
    this.#sleepUntilNext();
  }

  async run(signal: AbortSignal): Promise<void> {
    if (this.#signal !== undefined) throw new Error('This work queue already runs: one queue, one run at a time.');
    if (signal.aborted) return;
    this.#signal = signal;
    const end = () => {
      this.#sleep?.cancel.abort();
      if (this.#inWork.size === 0) this.#ended?.();
    };
    signal.addEventListener('abort', end, { once: true });
    const ended = new Promise<void>((resolve) => {
      this.#ended = resolve;
    });
    this.#sleepUntilNext();
    this.#dispatch();
    const uncount = this.#options.name === undefined ? undefined : countQueue(this.#counts);
    await ended;
    uncount?.();
    signal.removeEventListener('abort', end);
    this.#signal = undefined;
    this.#ended = undefined;
  }

  #dispatch(): void {
    const signal = this.#signal;
    if (signal === undefined || signal.aborted) return;
    const concurrency = this.#options.concurrency ?? 1;
    for (const [key, since] of this.#waiting) {
      if (this.#inWork.size >= concurrency) return;
      this.#waiting.delete(key);
      this.#inWork.add(key);
      this.#counts.waited.observe((performance.now() - since) / 1000);
      void this.#work(key, signal);
    }
  }

  #wait(key: K): void {
    if (!this.#waiting.has(key)) this.#waiting.set(key, performance.now());
  }

  async #work(key: K, signal: AbortSignal): Promise<void> {
    const began = performance.now();
    try {
      // A key added from inside an event handler is processed after that handler, not within it.
      await Promise.resolve();
      if (!signal.aborted) await this.#options.process(key, signal);
      else this.#addedAgain.add(key);
      this.#failures.delete(key);
    } catch (error) {
      if (signal.aborted) this.#addedAgain.add(key);
      else this.#retry(key, error);
    }
    this.#inWork.delete(key);
    this.#counts.worked.observe((performance.now() - began) / 1000);
    if (this.#addedAgain.delete(key)) this.#wait(key);
    if (signal.aborted && this.#inWork.size === 0) this.#ended?.();
    this.#dispatch();
  }

  #retry(key: K, error: unknown): void {
    const failures = (this.#failures.get(key) ?? 0) + 1;
    this.#failures.set(key, failures);
    this.#counts.retries++;
    const retryInMs = Math.ceil(backoffDelay(failures, this.#options.backoff ?? defaultBackoff));
    this.#options.log?.[failures > 3 ? 'warn' : 'debug']('reconcile failed, will be retried', {
      queue: this.#options.name,
      key: String(key),
      failures,
      retryInMs,
      error: error instanceof Error ? error.message : String(error),
    });
    this.addAfter(key, retryInMs);
  }

  #sleepUntilNext(): void {
    const signal = this.#signal;
    if (signal === undefined || signal.aborted) return;
    let next = this.#delays.peek();
    while (next !== undefined && this.#due.get(next.key) !== next.at) {
      this.#delays.pop();
      next = this.#delays.peek();
    }
    if (next === undefined) return;
    if (this.#sleep !== undefined) {
      if (this.#sleep.until <= next.at) return;
      this.#sleep.cancel.abort();
    }
    const sleep = { until: next.at, cancel: new AbortController() };
    this.#sleep = sleep;
    this.#clock.sleep(Math.max(0, next.at - this.#clock.now()), sleep.cancel.signal).then(
      () => {
        if (this.#sleep === sleep) this.#sleep = undefined;
        this.#release();
      },
      () => {
        if (this.#sleep === sleep) this.#sleep = undefined;
      },
    );
  }

  #release(): void {
    const now = this.#clock.now();
    for (let next = this.#delays.peek(); next !== undefined && next.at <= now; next = this.#delays.peek()) {
      this.#delays.pop();
      if (this.#due.get(next.key) === next.at) this.add(next.key);
    }
    this.#sleepUntilNext();
  }
}
