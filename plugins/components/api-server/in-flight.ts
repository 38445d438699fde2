/**
 * How many requests are served at once, readers and writers apart (kube-apiserver's defaults: 400 and 200). Watches, logs
 * and streams are long by nature and have their own bounds; health checks are never refused.
 */
import { PintleError } from '../../../kernel/contract/index.ts';

export interface InFlightLimits {
  readonly reads: number;
  readonly writes: number;
}

export class InFlight {
  readonly #limits: InFlightLimits;
  #reads = 0;
  #writes = 0;

  constructor(limits: InFlightLimits) {
    this.#limits = limits;
  }

  get counts(): InFlightLimits {
    return { reads: this.#reads, writes: this.#writes };
  }

  /** Runs `work`, or refuses it with TOO_MANY_REQUESTS. */
  async run<T>(isWrite: boolean, work: () => Promise<T>): Promise<T> {
    if (isWrite ? this.#writes >= this.#limits.writes : this.#reads >= this.#limits.reads)
      throw new PintleError('TOO_MANY_REQUESTS', 'Too many requests, please try again later.', {
        details: { retryAfterSeconds: 1 },
      });
    if (isWrite) this.#writes++;
    else this.#reads++;
    try {
      return await work();
    } finally {
      if (isWrite) this.#writes--;
      else this.#reads--;
    }
  }
}
