import type { Clock } from '../../../kernel/contract/index.ts';
import { backoffDelay } from '../../../kernel/machinery/backoff.ts';

export interface FailedPodsOptions {
  readonly clock: Clock;
  readonly failedPodDelayMs: number;
  readonly failedPodMaxDelayMs: number;
}

interface Failures {
  count: number;
  last: string;
  at: number;
  notBefore: number;
}

/** How long a pod that failed on a node has to wait for its successor: the more often in a row, the longer. */
export class FailedPods {
  readonly #options: FailedPodsOptions;
  readonly #failures = new Map<string, Failures>();

  constructor(options: FailedPodsOptions) {
    this.#options = options;
  }

  /** 0 when the pod may be replaced now. */
  msToWait(place: string, uid: string): number {
    const { clock, failedPodDelayMs: minMs, failedPodMaxDelayMs: maxMs } = this.#options;
    const now = clock.now();
    const known = this.#failures.get(place);
    if (known?.last === uid) return Math.max(0, known.notBefore - now);
    // Long quiet since the last failure: this is a new trouble.
    const count = known === undefined || now - known.at > 2 * maxMs ? 1 : known.count + 1;
    // The first one is replaced at once.
    const delay = count === 1 ? 0 : backoffDelay(count - 1, { minMs, maxMs });
    this.#failures.set(place, { count, last: uid, at: now, notBefore: now + delay });
    return delay;
  }

  forget(prefix: string): void {
    for (const place of this.#failures.keys()) if (place.startsWith(prefix)) this.#failures.delete(place);
  }
}
