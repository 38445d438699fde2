/**
 * Runs in the reader's browser: draws the charts that the report embeds, with Observable Plot, which is inlined before it.
 * Colours are Okabe and Ito's, told apart by people who see colours otherwise; symbols say the same again.
 */
import type { Chart, Point } from './chart.ts';

type Options = Readonly<Record<string, unknown>>;
type Mark = object;
declare const Plot: {
  plot(options: Options): HTMLElement;
  axisX(data: readonly number[], options: Options): Mark;
  barX(data: readonly Point[], options: Options): Mark;
  dot(data: readonly Point[], options: Options): Mark;
  line(data: readonly Point[], options: Options): Mark;
  ruleX(data: readonly unknown[], options?: Options): Mark;
  ruleY(data: readonly unknown[], options?: Options): Mark;
  tickX(data: readonly Point[], options: Options): Mark;
};

const isDark = matchMedia('(prefers-color-scheme: dark)').matches;
/** Its dark blue is hard to see on a dark ground. */
const palette = [isDark ? '#3a9bdc' : '#0072B2', '#E69F00', '#009E73', '#CC79A7', '#56B4E9', '#D55E00', '#8C8C00'];
const symbols = ['circle', 'triangle', 'square', 'diamond', 'star', 'wye'];

const unique = <T>(values: readonly T[]): T[] => [...new Set(values)];

function draw(chart: Chart, width: number): HTMLElement {
  const present = new Set(chart.points.map((point) => point.series));
  const series = chart.series.filter((name) => present.has(name));
  // By their place in the whole suite, so that one keeps its colour where another one is missing; baselines are grey.
  const rivals = chart.series.filter((name) => !chart.baselines.includes(name));
  const place = (name: string): number => Math.max(0, rivals.indexOf(name));
  const isBase = (name: string): boolean => chart.baselines.includes(name);
  const color = {
    domain: series,
    range: series.map((name) => (isBase(name) ? '#8a939c' : palette[place(name) % palette.length])),
  };
  const symbol = {
    domain: series,
    range: series.map((name) => (isBase(name) ? 'cross' : symbols[place(name) % symbols.length])),
  };
  const base = {
    width,
    style: { background: 'transparent', color: 'currentColor', fontSize: '12px' },
    // The legend of symbols shows the colours too.
    color,
    ...(chart.kind === 'bars' ? {} : { symbol: { ...symbol, legend: series.length > 1 } }),
    ariaLabel: chart.title,
  };
  return chart.kind === 'lines' ? lines(chart, base) : rows(chart, base);
}

/** One row a cell: bars from nought, or dots where a logarithm has no nought. */
function rows(chart: Chart, base: Options): HTMLElement {
  const names = unique(chart.points.map(({ at }) => String(at)));
  const longest = Math.max(...names.map((name) => name.length));
  const interval = { y: 'at', x1: 'low', x2: 'high' };
  const title = (point: Point): string =>
    `${point.at}${point.series === point.at ? '' : `, ${point.series}`}: ${short(point.median)} (${short(point.low)} to ${short(point.high)}) ${chart.unit}`;
  const marks =
    chart.kind === 'bars'
      ? [
          Plot.barX(chart.points, {
            y: 'at',
            x: 'median',
            fill: 'series',
            fillOpacity: 0.85,
            title,
            insetTop: 3,
            insetBottom: 3,
          }),
          Plot.ruleY(chart.points, { ...interval, stroke: 'currentColor', strokeWidth: 1.5 }),
          Plot.tickX(chart.points, { y: 'at', x: 'low', stroke: 'currentColor', insetTop: 7, insetBottom: 7 }),
          Plot.tickX(chart.points, { y: 'at', x: 'high', stroke: 'currentColor', insetTop: 7, insetBottom: 7 }),
          Plot.ruleX([0]),
        ]
      : [
          Plot.ruleY(chart.points, { ...interval, stroke: 'series', strokeWidth: 1.5, strokeOpacity: 0.6 }),
          Plot.dot(chart.points, { y: 'at', x: 'median', fill: 'series', symbol: 'series', r: 5, title }),
        ];
  return Plot.plot({
    ...base,
    height: 74 + names.length * 30,
    marginBottom: 44,
    marginLeft: Math.min(320, 20 + longest * 7.2),
    marginRight: 30,
    x: {
      label: chart.unit,
      labelOffset: 38,
      grid: true,
      type: chart.isLogarithmic ? 'log' : 'linear',
      nice: true,
      ...ticks(chart),
    },
    y: { label: null, domain: names },
    marks,
  });
}

function lines(chart: Chart, base: Options): HTMLElement {
  const places = unique(chart.points.map(({ at }) => Number(at))).sort((a, b) => a - b);
  // A little apart, or the intervals at one place would hide each other.
  const step = ((places.at(-1) ?? 1) / (places[0] ?? 1)) ** 0.012;
  const names = unique(chart.points.map(({ series }) => series));
  const at = ({ series, at: place }: Point): number =>
    Number(place) * step ** (names.indexOf(series) - (names.length - 1) / 2);
  const title = (point: Point): string =>
    `${point.series} at ${point.at}: ${short(point.median)} (${short(point.low)} to ${short(point.high)}) ${chart.unit}`;
  return Plot.plot({
    ...base,
    height: 320,
    marginBottom: 44,
    marginLeft: 70,
    marginRight: 30,
    x: { type: 'log', axis: null },
    y: { label: chart.unit, grid: true, nice: true, type: chart.isLogarithmic ? 'log' : 'linear', ...ticks(chart) },
    marks: [
      // Each place by its own text: a logarithmic scale keeps the labels to itself of what is far from a power of ten.
      Plot.axisX(places, { text: short, label: chart.horizontal, labelOffset: 38 }),
      ...(chart.isLogarithmic ? [] : [Plot.ruleY([0])]),
      Plot.ruleX(chart.points, {
        x: at,
        y1: 'low',
        y2: 'high',
        stroke: 'series',
        strokeWidth: 1.5,
        strokeOpacity: 0.6,
      }),
      Plot.line(chart.points, { x: at, y: 'median', stroke: 'series', strokeWidth: 2, z: 'series', sort: 'at' }),
      Plot.dot(chart.points, { x: at, y: 'median', fill: 'series', symbol: 'series', r: 4.5, title }),
    ],
  });
}

const ticks = ({ isLogarithmic }: Chart): Options =>
  isLogarithmic ? { ticks: 6, tickFormat: short } : { tickFormat: short };

function short(value: number): string {
  const size = Math.abs(value);
  if (size >= 1e6) return `${trim(value / 1e6)}M`;
  if (size >= 1e4) return `${trim(value / 1e3)}k`;
  return trim(value);
}

const trim = (value: number): string => String(Number(value.toPrecision(3)));

/** On a narrow screen not narrower than can be read: the rest is reached by scrolling. */
const widths = { least: 520, most: 860 } as const;
for (const chart of JSON.parse(document.getElementById('charts')?.textContent ?? '[]') as readonly Chart[]) {
  const place = document.getElementById(chart.id);
  place?.append(draw(chart, Math.min(widths.most, Math.max(widths.least, place.clientWidth))));
}
// What is folded away on a screen would be missing on paper.
addEventListener('beforeprint', () => {
  for (const folded of document.querySelectorAll('details')) folded.open = true;
});
document.documentElement.dataset['drawn'] = 'yes';
