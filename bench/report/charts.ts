/** Which charts a result has: headline figures with error bars, latency distributions, figures against a number. */
import type { CellResult, Metric, SuiteResult } from '../method/result.ts';
import type { Interval } from '../method/statistics.ts';
import { type Verdict, verdictsOf } from '../method/verdicts.ts';
import type { Chart, Point } from './page/chart.ts';

const point = (series: string, at: string | number, { median, low, high }: Interval): Point => ({
  ...{ series, at, median, low, high },
});

/** Above this ratio of the largest to the smallest, a linear axis would hide the small ones. */
const wide = 20;

function spansWide(points: readonly Point[]): boolean {
  const values = points.flatMap(({ median, low, high }) => [median, low, high]);
  return Math.min(...values) > 0 && Math.max(...values) / Math.min(...values) > wide;
}

const goal = ({ better }: Metric): string => (better === 'more' ? 'More is better.' : 'Less is better.');

export function chartsOf(suite: SuiteResult): readonly Chart[] {
  const verdicts = verdictsOf(suite);
  const sweep = sweepOf(suite);
  const seen = new Set<string>();
  const charts = verdicts.flatMap((verdict): readonly Chart[] => {
    const { metric } = verdict;
    const family = /^(.*)-p\d+$/.exec(metric.id)?.[1];
    const isWorth = verdicts.some((one) => one.metric.group === metric.group && one.metric.headline);
    if (!isWorth) return [];
    if (sweep !== undefined) return metric.headline ? sweepCharts(suite, verdict, sweep) : [];
    if (family === undefined) return metric.headline ? [rowChart(suite, verdict)] : [];
    if (seen.has(family)) return [];
    seen.add(family);
    const percentiles = verdicts.filter((one) => one.metric.id.startsWith(`${family}-p`));
    if (percentiles.length > 1) return [distributionChart(suite, family, percentiles)];
    return metric.headline ? [rowChart(suite, verdict)] : [];
  });
  return charts.map((chart) => (isNought(chart) ? { ...chart, ...nothing } : chart));
}

const isNought = ({ points }: Chart): boolean => points.every(({ low, high }) => low === 0 && high === 0);
/** There is nothing to draw, and no axis that would fit. */
const nothing = { kind: 'nothing', note: 'Nought in every cell and every round.', points: [] } as const;

function rowChart(suite: SuiteResult, { metric, figures }: Verdict): Chart {
  const points = figures.map(({ cell, value }) => point(cell.isBaseline ? 'baseline' : 'measured', cell.id, value));
  const isLogarithmic = spansWide(points);
  return {
    ...{ id: `chart-${suite.name}-${metric.id}`, title: `${metric.title}`, note: goal(metric), unit: metric.unit },
    ...{
      kind: isLogarithmic ? 'dots' : 'bars',
      isLogarithmic,
      horizontal: '',
      series: ['baseline', 'measured'],
      baselines: ['baseline'],
      points,
    },
  };
}

function distributionChart(suite: SuiteResult, family: string, percentiles: readonly Verdict[]): Chart {
  const [first] = percentiles as [Verdict, ...Verdict[]];
  const points = percentiles.flatMap(({ metric, figures }) =>
    figures.map(({ cell, value }) => point(metric.title.split(', ').at(-1)!, cell.id, value)),
  );
  return {
    ...{ id: `chart-${suite.name}-${family}`, title: first.metric.title.replace(/, p\d.*$/, '') },
    ...{ note: `Distribution. ${goal(first.metric)}`, unit: first.metric.unit },
    ...{ kind: 'dots', isLogarithmic: points.every(({ low }) => low > 0), horizontal: '' },
    series: [...new Set(points.map((one) => one.series))],
    baselines: [],
    points,
  };
}

/** A factor of numbers with several values: what the figures are drawn against. */
function sweepOf(suite: SuiteResult): string | undefined {
  const names = Object.keys(suite.cells[0]?.factors ?? {});
  return names.find((name) => {
    const values = new Set(suite.cells.map(({ factors }) => factors[name] ?? '').filter((value) => value !== ''));
    return values.size > 1 && [...values].every((value) => /^\d+$/.test(value));
  });
}

/** As many as the page has colours for. */
const mostSeries = 7;

/** One, or one for each workload, family ..., where one would have more lines than can be told apart. */
function sweepCharts(suite: SuiteResult, verdict: Verdict, sweep: string): readonly Chart[] {
  const series = ({ factors }: CellResult): string => valuesOf(factors, [sweep]);
  const rivals = suite.cells.filter(({ isBaseline }) => !isBaseline).map(series);
  if (new Set(rivals).size <= mostSeries) return [sweepChart(suite, verdict, { sweep, series, title: '' })];
  // What is compared is a cell's first factor; the rest is what it is compared at.
  const [subject = ''] = Object.keys(suite.cells[0]?.factors ?? {}).filter((name) => name !== sweep);
  const setting = ({ factors }: CellResult): string => valuesOf(factors, [sweep, subject]);
  return [...new Set(suite.cells.map(setting))].flatMap((title) => {
    const isHere = (cell: CellResult): boolean => setting(cell) === title;
    const cells = suite.cells.filter(isHere);
    const figures = verdict.figures.filter(({ cell }) => isHere(cell));
    if (figures.length === 0) return [];
    const one = { sweep, series: ({ factors }: CellResult) => factors[subject] ?? '', title };
    return [sweepChart({ ...suite, cells }, { ...verdict, figures }, one)];
  });
}

const valuesOf = (factors: CellResult['factors'], without: readonly string[]): string =>
  Object.entries(factors)
    .filter(([name, value]) => !without.includes(name) && value !== '')
    .map(([, value]) => value)
    .join(' ');

interface Sweep {
  readonly sweep: string;
  readonly series: (cell: CellResult) => string;
  /** What sets it apart from other charts of the same metric. */
  readonly title: string;
}

function sweepChart(suite: SuiteResult, { metric, figures }: Verdict, { sweep, series, title }: Sweep): Chart {
  const places = [...new Set(suite.cells.map(({ factors }) => factors[sweep] ?? '').filter((value) => value !== ''))];
  const points = figures.flatMap((figure) => {
    const at = figure.cell.factors[sweep] ?? '';
    // A baseline that does not depend on the number is a level line.
    return (at === '' ? places : [at]).map((place) => point(series(figure.cell), Number(place), figure.value));
  });
  return {
    id: ['chart', suite.name, metric.id, ...(title === '' ? [] : [title.replaceAll(/\W+/g, '-')])].join('-'),
    title: `${[metric.title, ...(title === '' ? [] : [title])].join(': ')}, against the number of ${sweep}`,
    ...{
      note: goal(metric),
      unit: metric.unit,
      kind: 'lines',
      isLogarithmic: spansWide(points),
      horizontal: sweep,
    },
    series: [...new Set(suite.cells.map(series))],
    baselines: [...new Set(suite.cells.filter(({ isBaseline }) => isBaseline).map(series))],
    points,
  };
}
