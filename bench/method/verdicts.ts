/** What may be said of the samples: each cell beside its baseline, and a winner only where there is one. */
import type { CellResult, Metric, Sample, SuiteResult } from './result.ts';
import { type Interval, medianInterval } from './statistics.ts';

export interface Figure {
  readonly cell: CellResult;
  readonly value: Interval;
  /** Beside the baseline, round by round: shares (1: equal), or differences for metrics that are compared so. */
  readonly relative: Interval | undefined;
  /** The interval is so wide that the median says little. */
  readonly isVague: boolean;
}

export interface Verdict {
  readonly metric: Metric;
  readonly figures: readonly Figure[];
  readonly contests: readonly Contest[];
}

export interface Contest {
  readonly name: string;
  /** Id of the one cell that beats each of the others in the same rounds; undefined: none does. */
  readonly winner: string | undefined;
  /** Why there is none. */
  readonly why: string;
}

export const isWinner = ({ contests }: Verdict, cell: string): boolean =>
  contests.some(({ winner }) => winner === cell);

/** Widths of intervals as a share of the median from which on a figure is called vague. */
const vagueWidth = 0.4;
/** Below this coverage an interval is no ground for a winner: fewer than five rounds. */
const leastCoverage = 0.9;

export function verdictsOf(suite: SuiteResult): readonly Verdict[] {
  const cells = new Map(suite.cells.map((cell) => [cell.id, cell]));
  return suite.metrics.flatMap((metric): readonly Verdict[] => {
    const figures = suite.cells.flatMap((cell): readonly Figure[] => {
      const samples = cell.samples[metric.id];
      if (samples === undefined || samples.length === 0) return [];
      const value = medianInterval(samples.map((sample) => sample.value));
      const relative = relativeOf(metric, samples, cells.get(cell.baseline ?? '')?.samples[metric.id]);
      return [{ cell, value, relative, isVague: isVague(metric, relative ?? value) }];
    });
    if (figures.length === 0) return [];
    const names = [...new Set(figures.filter(({ cell }) => !cell.isBaseline).map(({ cell }) => cell.contest))];
    const contests = names.map((name) => {
      const rivals = figures.filter(({ cell }) => !cell.isBaseline && cell.contest === name);
      return { name, ...winnerOf(metric, rivals) };
    });
    return [{ metric, figures, contests }];
  });
}

/** This cell beside another one, by rounds that both have. */
export function relativeOf(
  metric: Metric,
  samples: readonly Sample[],
  base: readonly Sample[] | undefined,
): Interval | undefined {
  const byRound = new Map(base?.map(({ round, value }) => [round, value]));
  const pairs = samples.flatMap(({ round, value }) => {
    const other = byRound.get(round);
    if (other === undefined) return [];
    if (metric.compare === 'difference') return [value - other];
    return other > 0 ? [value / other] : [];
  });
  return pairs.length === 0 ? undefined : medianInterval(pairs);
}

function isVague(metric: Metric, { median, low, high }: Interval): boolean {
  if (metric.compare === 'difference') return high - low > 4 * metric.leastChange;
  return high - low > vagueWidth * Math.abs(median);
}

const goodness = ({ better, compare }: Metric, { median }: Interval): number =>
  better === 'more' ? median : compare === 'difference' ? -median : 1 / median;

function winnerOf(metric: Metric, rivals: readonly Figure[]): Omit<Contest, 'name'> {
  if (rivals.length < 2) return { winner: undefined, why: 'nothing to compare' };
  const ranked = rivals.toSorted(
    (a, b) => goodness(metric, b.relative ?? b.value) - goodness(metric, a.relative ?? a.value),
  );
  const [best, ...others] = ranked as [Figure, ...Figure[]];
  if (best.isVague) return { winner: undefined, why: `${best.cell.id} leads, but too wide to say` };
  for (const other of others) {
    const against = relativeOf(metric, best.cell.samples[metric.id]!, other.cell.samples[metric.id]);
    if (against === undefined || against.coverage < leastCoverage)
      return { winner: undefined, why: 'too few rounds to say' };
    if (!isBetter(metric, against)) return { winner: undefined, why: `no clear lead over ${other.cell.id}` };
  }
  return { winner: best.cell.id, why: '' };
}

/** The whole interval of (one beside the other) lies on the better side. */
function isBetter({ better, compare }: Metric, { low, high }: Interval): boolean {
  const equal = compare === 'difference' ? 0 : 1;
  return better === 'more' ? low > equal : high < equal;
}
