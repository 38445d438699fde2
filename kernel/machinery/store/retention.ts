/**
 * How much history a store keeps without being asked: by age, but no fewer than `keepRevisions` and no more than
 * `maxRevisions`. Age is counted in ticks, not read from a clock, so that a clock that jumps compacts nothing early. A
 * restarted store counts all it found as new.
 */
import type { Clock } from '../../contract/plugin.ts';

export interface RetentionLimits {
  readonly keepSeconds: number;
  readonly keepRevisions: number;
  readonly maxRevisions: number;
}

const mostTickMs = 5_000;
const ticksOfAge = 12;

export class Retention {
  readonly #limits: RetentionLimits;
  readonly #ticks: number;
  /** The revision at each of the last ticks, oldest first. */
  readonly #samples: number[] = [];
  readonly tickMs: number;

  constructor(limits: RetentionLimits) {
    this.#limits = limits;
    this.tickMs = Math.max(1, Math.min(mostTickMs, (limits.keepSeconds * 1_000) / ticksOfAge));
    this.#ticks = Math.max(1, Math.ceil((limits.keepSeconds * 1_000) / this.tickMs));
  }

  /** Call every `tickMs`. Returns the revision to compact to; it may be at or below the compacted one. */
  tick(revision: number): number {
    this.#samples.push(revision);
    const aged = this.#samples.length > this.#ticks ? this.#samples.shift()! : 0;
    const { keepRevisions, maxRevisions } = this.#limits;
    return Math.max(Math.min(aged, revision - keepRevisions), revision - maxRevisions);
  }
}

/** Compacts by `limits` until the signal aborts. `compact` deals with its own failures. */
export async function runRetention(options: {
  readonly limits: RetentionLimits;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  readonly revision: () => number;
  readonly compact: (revision: number) => Promise<void>;
}): Promise<void> {
  const retention = new Retention(options.limits);
  while (!options.signal.aborted) {
    try {
      await options.clock.sleep(retention.tickMs, options.signal);
    } catch {
      return;
    }
    if (options.signal.aborted) return;
    const target = retention.tick(options.revision());
    if (target > 0) await options.compact(target);
  }
}
