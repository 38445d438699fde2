/** How long a Job waits before it replaces a pod that failed: the more in a row, the longer. */
import type { Clock } from '../../../kernel/contract/index.ts';
import type { Pod } from '../../../kernel/contract/kubernetes.ts';
import { backoffDelay } from '../../../kernel/machinery/backoff.ts';

export interface JobBackoffOptions {
  readonly clock: Clock;
  readonly podFailureDelayMs: number;
  readonly podFailureMaxDelayMs: number;
}

interface Failures {
  /** Uids of the pods that failed since the last success. */
  readonly pods: Set<string>;
  lastAt: number;
}

export class JobBackoff {
  readonly #options: JobBackoffOptions;
  readonly #failures = new Map<string, Failures>();

  constructor(options: JobBackoffOptions) {
    this.#options = options;
  }

  note(key: string, failed: readonly Pod[], succeeded: readonly Pod[]): void {
    const now = this.#options.clock.now();
    let lastSuccess = -Infinity;
    for (const pod of succeeded) lastSuccess = Math.max(lastSuccess, finishedAt(pod, now));
    if (succeeded.length > 0) this.#failures.delete(key);
    for (const pod of failed) {
      const at = finishedAt(pod, now);
      if (at < lastSuccess) continue;
      let known = this.#failures.get(key);
      if (known === undefined) this.#failures.set(key, (known = { pods: new Set(), lastAt: at }));
      if (!known.pods.has(pod.metadata.uid)) known.lastAt = Math.max(known.lastAt, at);
      known.pods.add(pod.metadata.uid);
    }
  }

  /** 0 when it may create pods now. */
  msToWait(key: string): number {
    const known = this.#failures.get(key);
    return known === undefined ? 0 : this.#rest(known.pods.size, known.lastAt);
  }

  /** The same for one index, whose pod failed last as the `count`th. */
  msToWaitAfter(pod: Pod, count: number): number {
    return this.#rest(count, finishedAt(pod, this.#options.clock.now()));
  }

  #rest(count: number, lastAt: number): number {
    const { clock, podFailureDelayMs: minMs, podFailureMaxDelayMs: maxMs } = this.#options;
    return Math.max(0, lastAt + backoffDelay(count, { minMs, maxMs }) - clock.now());
  }

  forget(key: string): void {
    this.#failures.delete(key);
  }
}

function finishedAt({ status, metadata }: Pod, now: number): number {
  const times = (status?.containerStatuses ?? []).map(({ state }) => Date.parse(state?.terminated?.finishedAt ?? ''));
  const known = times.filter((time) => time > 0);
  if (known.length > 0) return Math.max(...known);
  return metadata.deletionTimestamp === undefined ? now : Date.parse(metadata.deletionTimestamp);
}
