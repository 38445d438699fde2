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
  const rank = rankOf(count);
  return {
    median: quantile(sorted, 0.5),
    low: sorted[rank - 1] ?? Number.NaN,
    high: sorted[count - rank] ?? Number.NaN,
    coverage: coverageOf(count, rank),
    count,
  };
}

/** k of the interval of so many values. */
function rankOf(count: number): number {
  let rank = 1;
  while (rank + 1 <= count / 2 && coverageOf(count, rank + 1) >= wantedCoverage) rank += 1;
  return rank;
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

/**
 * How far apart two such intervals must lie, as a share of their widths together, for noise alone to set them so far apart
 * with less than `chance`. By the count of values on each side.
 *
 * That they do not overlap at all has an exact chance, whatever the distribution (of five values each, 1 in 126). From there
 * on it falls by a power of the gap; exponent and scale are fitted to drawn samples of normal, uniform, exponential and
 * Laplace distributions (test/unit/bench/compare.test.ts draws them). Two values know so little of their own spread that the
 * gap must be many times their widths; one value knows nothing, and no gap is enough.
 */
export function leastGap(count: number, chance: number): number {
  if (count < 2) return Number.POSITIVE_INFINITY;
  const ratio = apartChance(count) / chance;
  return ratio <= 1 ? 0 : gapScale * (ratio ** (1 / Math.min(2 * count - 2, 10)) - 1);
}

const gapScale = 0.7;

/** That the intervals of two sets of samples of one distribution do not overlap: the one set ends before the other begins. */
function apartChance(count: number): number {
  const rank = rankOf(count);
  let chance = 0;
  // Before the rank-th of the one there are `before` of the other: all orders of the two sets are as likely.
  for (let before = count + 1 - rank; before <= count; before += 1)
    chance +=
      (choose(before + rank - 1, before) * choose(2 * count - before - rank, count - before)) /
      choose(2 * count, count);
  return 2 * chance;
}

function choose(of: number, some: number): number {
  let ways = 1;
  for (let index = 1; index <= some; index += 1) ways = (ways * (of - some + index)) / index;
  return ways;
}
