/**
 * Two runs side by side. Runs differ in more than what was changed between them, so a cell is compared by its share of the
 * baseline that was measured beside it, and a change counts only when the medians moved by more than the least change of the
 * metric and the intervals of both runs lie apart by a part of their own width.
 *
 * Why apart is not enough: of two times five samples of one and the same thing, one in 126 pairs of ranges does not overlap,
 * and a standard matrix compares about 700 pairs. A gap of their mean width makes it one in ten thousand for noise of the
 * usual kinds (test/unit/bench/compare.test.ts draws them); widths of shares are taken as factors, as noise multiplies.
 */
import type { CellResult, Metric, Result, SuiteResult } from './result.ts';
import { type Interval, medianInterval } from './statistics.ts';
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

export function compareResults(before: Result, after: Result, options: ComparisonOptions = {}): readonly Comparison[] {
  return before.suites.flatMap((suite) => {
    const other = after.suites.find(({ name }) => name === suite.name);
    return other === undefined ? [] : compareSuites(suite, other, options);
  });
}

function compareSuites(before: SuiteResult, after: SuiteResult, options: ComparisonOptions): readonly Comparison[] {
  return before.cells.flatMap((cell): readonly Comparison[] => {
    const other = after.cells.find(({ id }) => id === cell.id);
    if (other === undefined || cell.state !== 'measured' || cell.isBaseline) return [];
    const place = { suite: before.name, cell: cell.id };
    if (other.state === 'broken') {
      const blank = { metric: undefined, before: undefined, after: undefined, isRelative: false };
      return [{ ...place, ...blank, change: 'worse', detail: other.reason ?? 'is broken now' }];
    }
    return before.metrics.flatMap((metric): readonly Comparison[] => {
      // The same words for another measurement (another unit, another generator) are no ground to compare on.
      const same = after.metrics.find(
        ({ id, unit, title }) => id === metric.id && unit === metric.unit && title === metric.title,
      );
      if (same === undefined) return [];
      const [one, two] = [figure(before, cell, metric), figure(after, other, metric)];
      if (one === undefined || two === undefined || one.isRelative !== two.isRelative) return [];
      const change = judge(metric, one.interval, two.interval, one.isRelative, options);
      const shared = { metric, before: one.interval, after: two.interval, isRelative: one.isRelative };
      return [{ ...place, ...shared, change, detail: '' }];
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

/** As a share of the widths of both intervals together. */
const leastGap = 0.5;

function judge(
  { better, compare, leastChange }: Metric,
  before: Interval,
  after: Interval,
  isRelative: boolean,
  { tolerance = 0 }: ComparisonOptions,
): Change {
  const at = scaleOf(compare, [before, after]);
  const apart = leastGap * (at(before.high) - at(before.low) + at(after.high) - at(after.low));
  const isHigher = at(after.low) - at(before.high) > apart;
  const isLower = at(before.low) - at(after.high) > apart;
  if (!isHigher && !isLower) return 'same';
  const moved = after.median - before.median;
  const least =
    compare === 'difference'
      ? leastChange
      : // Without a baseline the machine itself is in the figure: twice the change is asked for.
        Math.max(leastChange * (isRelative ? 1 : 2), tolerance) * Math.abs(before.median);
  if (Math.abs(moved) < least) return 'same';
  return isHigher === (better === 'more') ? 'better' : 'worse';
}
