/**
 * Two runs side by side. Runs differ in more than what was changed between them, so a cell is compared by its share of the
 * baseline that was measured beside it, and a change counts only when the medians moved by more than the least change of the
 * metric and the intervals of both runs lie apart by so much that noise would hardly do it.
 *
 * "Hardly" is meant of the comparison as a whole: a standard matrix has about 900 pairs of intervals, and what happens once
 * in a hundred would happen nine times. So the more pairs are compared, the wider the gap must be (Bonferroni's rule): of
 * twenty comparisons of one and the same thing, nineteen should find nothing. Widths of shares are taken as factors, as noise
 * multiplies.
 */
import type { CellResult, Metric, Result, SuiteResult } from './result.ts';
import { type Interval, leastGap, medianInterval } from './statistics.ts';
import { relativeOf } from './verdicts.ts';

export type Change = 'same' | 'better' | 'worse';

export interface Comparison {
  readonly suite: string;
  readonly cell: string;
  /** Undefined: of the cell as a whole. */
  readonly metric: Metric | undefined;
  readonly change: Change;
  readonly before: Interval | undefined;
  readonly after: Interval | undefined;
  /** Shares of a baseline, or plain values where there is none. */
  readonly isRelative: boolean;
  readonly detail: string;
}

export interface ComparisonOptions {
  /** Takes the place of the metrics' own least change where it is larger; a share. */
  readonly tolerance?: number;
}

/** Of a whole comparison: that it finds something where there is nothing but noise. */
const falseAlarms = 0.05;

interface Pair {
  readonly suite: string;
  readonly cell: string;
  readonly metric: Metric;
  readonly before: Interval;
  readonly after: Interval;
  readonly isRelative: boolean;
}

export function compareResults(before: Result, after: Result, options: ComparisonOptions = {}): readonly Comparison[] {
  const found = before.suites.flatMap((suite) => {
    const other = after.suites.find(({ name }) => name === suite.name);
    return other === undefined ? [] : pairsOf(suite, other);
  });
  const chance = falseAlarms / found.filter(({ metric }) => metric !== undefined).length;
  return found.map((one) =>
    one.metric === undefined ? one : { ...one, change: judge(one, chance, options), detail: '' },
  );
}

/** What both results have; a cell that is broken now is judged by that alone. */
function pairsOf(
  before: SuiteResult,
  after: SuiteResult,
): readonly (Pair | (Comparison & { readonly metric: undefined }))[] {
  return before.cells.flatMap((cell): ReturnType<typeof pairsOf> => {
    const other = after.cells.find(({ id }) => id === cell.id);
    if (other === undefined || cell.state !== 'measured' || cell.isBaseline) return [];
    const place = { suite: before.name, cell: cell.id };
    if (other.state === 'broken') {
      const blank = { metric: undefined, before: undefined, after: undefined, isRelative: false };
      return [{ ...place, ...blank, change: 'worse', detail: other.reason ?? 'is broken now' }];
    }
    return before.metrics.flatMap((metric): readonly Pair[] => {
      // The same words for another measurement (another unit, another generator) are no ground to compare on.
      const same = after.metrics.find(
        ({ id, unit, title }) => id === metric.id && unit === metric.unit && title === metric.title,
      );
      if (same === undefined) return [];
      const [one, two] = [figure(before, cell, metric), figure(after, other, metric)];
      if (one === undefined || two === undefined || one.isRelative !== two.isRelative) return [];
      return [{ ...place, metric, before: one.interval, after: two.interval, isRelative: one.isRelative }];
    });
  });
}

function figure(
  suite: SuiteResult,
  cell: CellResult,
  metric: Metric,
): { readonly interval: Interval; readonly isRelative: boolean } | undefined {
  const samples = cell.samples[metric.id];
  if (samples === undefined || samples.length === 0) return undefined;
  const base = suite.cells.find(({ id }) => id === cell.baseline)?.samples[metric.id];
  const relative = relativeOf(metric, samples, base);
  if (relative !== undefined) return { interval: relative, isRelative: true };
  return { interval: medianInterval(samples.map(({ value }) => value)), isRelative: false };
}

/** Logarithms where all is above nought and is compared as a ratio. */
const scaleOf = (compare: Metric['compare'], intervals: readonly Interval[]): ((value: number) => number) =>
  compare === 'ratio' && intervals.every(({ low }) => low > 0) ? Math.log : (value) => value;

function judge(
  { metric: { better, compare, leastChange }, before, after, isRelative }: Pair,
  chance: number,
  { tolerance = 0 }: ComparisonOptions,
): Change {
  const at = scaleOf(compare, [before, after]);
  const widths = at(before.high) - at(before.low) + at(after.high) - at(after.low);
  const between = Math.max(at(after.low) - at(before.high), at(before.low) - at(after.high));
  // Also where all rounds have one and the same value: of one round nothing is known, of two hardly anything.
  const least = leastGap(Math.min(before.count, after.count), chance);
  if (least === Number.POSITIVE_INFINITY || between <= least * widths) return 'same';
  const moved = after.median - before.median;
  const leastMove =
    compare === 'difference'
      ? leastChange
      : // Without a baseline the machine itself is in the figure: twice the change is asked for.
        Math.max(leastChange * (isRelative ? 1 : 2), tolerance) * Math.abs(before.median);
  if (Math.abs(moved) < leastMove) return 'same';
  return moved > 0 === (better === 'more') ? 'better' : 'worse';
}
