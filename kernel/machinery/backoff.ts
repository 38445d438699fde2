/** Exponential backoff with jitter. The jitter keeps many clients that lost one server from coming back in step. */
export interface BackoffOptions {
  readonly minMs: number;
  readonly maxMs: number;
  /** Part of each delay that is random: 0.5 gives delays between half of the step and the whole. Default 0. */
  readonly jitter?: number | undefined;
  /** 0 <= x < 1. Default Math.random. */
  readonly random?: (() => number) | undefined;
}

/** Delay before attempt `failures + 1`, after `failures` (at least 1) failures in a row. */
export function backoffDelay(failures: number, options: BackoffOptions): number {
  const step = Math.min(options.maxMs, options.minMs * 2 ** Math.min(failures - 1, 52));
  const jitter = options.jitter ?? 0;
  return step * (1 - jitter * (options.random ?? Math.random)());
}
