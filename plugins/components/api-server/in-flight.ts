/**
 * How many requests are served at once, readers and writers apart (kube-apiserver's defaults: 400 and 200). Those beyond
 * wait for their turn, first come first served; when too many wait already they are refused. Watches, logs and streams are
 * long by nature and have their own bounds; health checks are never refused.
 */
import { PintleError } from '../../../kernel/contract/index.ts';

export interface InFlightLimits {
  readonly reads: number;
  readonly writes: number;
  /** Of each kind. A thousand nodes that start together are a crowd for a second, and no reason for errors. */
  readonly waiting: number;
}

export class InFlight {
  readonly #reads: Lane;
  readonly #writes: Lane;

  constructor({ reads, writes, waiting }: InFlightLimits) {
    this.#reads = new Lane(reads, waiting);
    this.#writes = new Lane(writes, waiting);
  }

  /** Those that are served now. */
  get counts(): { readonly reads: number; readonly writes: number } {
    return { reads: this.#reads.served, writes: this.#writes.served };
  }

  /** Runs `work` when its turn has come, or refuses it with TOO_MANY_REQUESTS. */
  run<T>(isWrite: boolean, work: () => Promise<T>): Promise<T> {
    return (isWrite ? this.#writes : this.#reads).run(work);
  }
}

class Lane {
  readonly #limit: number;
  readonly #maxWaiting: number;
  /** In order of arrival: a Set, because taking the first of a long array is not cheap. */
  readonly #waiting = new Set<() => void>();
  served = 0;

  constructor(limit: number, maxWaiting: number) {
    this.#limit = limit;
    this.#maxWaiting = maxWaiting;
  }

  async run<T>(work: () => Promise<T>): Promise<T> {
    if (this.served < this.#limit) this.served++;
    else {
      if (this.#waiting.size >= this.#maxWaiting)
        throw new PintleError('TOO_MANY_REQUESTS', 'Too many requests, please try again later.', {
          details: { retryAfterSeconds: 1 },
        });
      // Who is woken takes over the place of the one that has ended, so that nobody slips in between.
      await new Promise<void>((resolve) => this.#waiting.add(resolve));
    }
    try {
      return await work();
    } finally {
      const [next] = this.#waiting;
      if (next === undefined) this.served--;
      else {
        this.#waiting.delete(next);
        next();
      }
    }
  }
}
