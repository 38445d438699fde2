/** Medians with distribution-free confidence intervals: no assumption on how a noisy machine spreads its figures. */

export interface Interval {
  readonly median: number;
  readonly low: number;
  readonly high: number;
  /** Probability that the interval holds the true median: 0 for one value, 0.9375 for the range of five. */
  readonly coverage: number;
  readonly count: number;
}

/** Linear interpolation between order statistics; `sorted` ascending. NaN when there is none. */
export function quantile(sorted: ArrayLike<number>, q: number): number {
  if (sorted.length === 0) return Number.NaN;
  const at = (sorted.length - 1) * q;
  const below = Math.floor(at);
  const [low, high] = [sorted[below]!, sorted[Math.min(below + 1, sorted.length - 1)]!];
  return low + (high - low) * (at - below);
}

export const ascending = (values: readonly number[]): number[] => [...values].sort((a, b) => a - b);

export const median = (values: readonly number[]): number => quantile(ascending(values), 0.5);

const wantedCoverage = 0.95;

/**
 * The narrowest pair of order statistics x(k), x(n+1-k) that covers the median with 95 %; with fewer than six values the
 * whole range, whose lower coverage is told. Coverage is exact, by the binomial distribution with p = 1/2.
 */
export function medianInterval(values: readonly number[]): Interval {
  const sorted = ascending(values);
  const count = sorted.length;
  let [rank, coverage] = [1, coverageOf(count, 1)];
  for (let next = 2; next <= count / 2; next += 1) {
    const narrower = coverageOf(count, next);
    if (narrower < wantedCoverage) break;
    [rank, coverage] = [next, narrower];
  }
  return {
    median: quantile(sorted, 0.5),
    low: sorted[rank - 1] ?? Number.NaN,
    high: sorted[count - rank] ?? Number.NaN,
    coverage,
    count,
  };
}

/** 1 - 2 P(B < rank), B binomial(count, 1/2). */
function coverageOf(count: number, rank: number): number {
  let term = 0.5 ** count;
  let tail = 0;
  for (let successes = 0; successes < rank; successes += 1) {
    tail += term;
    term *= (count - successes) / (successes + 1);
  }
  return Math.max(0, 1 - 2 * tail);
}
