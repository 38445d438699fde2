/**
 * Keeps work in proportion: the work on some keys grows with how much belongs to them, and each of these parts changes by
 * itself. Looked at after every single change, a Service of 5,000 pods would cost 5,000 times 5,000. So after each work on
 * a large key the next has to wait a little, and what happens meanwhile is done at once; small keys never wait.
 */
import type { Clock } from '../contract/index.ts';
import type { WorkQueue } from './work-queue.ts';

/** 1,000 parts: 50 ms. */
const defaultMsPerPart = 0.05;

export class Pace {
  readonly #clock: Clock;
  readonly #msPerPart: number;
  readonly #notBefore = new Map<string, number>();

  constructor(clock: Clock, msPerPart = defaultMsPerPart) {
    this.#clock = clock;
    this.#msPerPart = msPerPart;
  }

  /** False: too early; the key has been added to the queue for later. */
  mayWork(key: string, queue: WorkQueue<string>): boolean {
    const at = this.#notBefore.get(key);
    if (at === undefined) return true;
    const rest = at - this.#clock.now();
    if (rest > 0) {
      queue.addAfter(key, rest);
      return false;
    }
    this.#notBefore.delete(key);
    return true;
  }

  /** Work on so many parts has been done. */
  worked(key: string, parts: number): void {
    const ms = parts * this.#msPerPart;
    if (ms >= 1) this.#notBefore.set(key, this.#clock.now() + ms);
  }
}
