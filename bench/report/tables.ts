/** Results as text: Markdown for people, CSV for spreadsheets, and the outcome of a comparison. */
import type { Comparison } from '../method/compare-results.ts';
import type { CellResult, Metric, Result, SuiteResult } from '../method/result.ts';
import type { Interval } from '../method/statistics.ts';
import { type Figure, isWinner, type Verdict, verdictsOf } from '../method/verdicts.ts';

/** Three significant digits, as more would pretend. */
export function number(value: number): string {
  if (!Number.isFinite(value)) return '-';
  if (value === 0) return '0';
  const digits = Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value))));
  const text = value.toFixed(Math.min(digits, 4));
  return Math.abs(value) >= 10_000 ? text.replaceAll(/\B(?=(\d{3})+(?!\d))/g, ',') : text;
}

export const valueText = ({ unit }: Metric, { median, low, high, count }: Interval): string => {
  const range = count > 1 ? ` (${number(low)} to ${number(high)})` : '';
  return `${number(median)}${range}${unit === '' ? '' : ` ${unit}`}`;
};

export function relativeText({ compare, unit }: Metric, { median, low, high, count }: Interval): string {
  const text = (value: number): string => (compare === 'ratio' ? percent(value) : signed(value));
  const range = count > 1 ? ` (${text(low)} to ${text(high)})` : '';
  return `${text(median)}${range}${compare === 'ratio' || unit === '' ? '' : ` ${unit}`}`;
}

/** From ten times on, percents are hard to read. */
const percent = (share: number): string => (share >= 10 ? `${number(share)} times` : `${number(share * 100)} %`);
const signed = (value: number): string => `${value > 0 ? '+' : ''}${number(value)}`;

export function cellText(metric: Metric, figure: Figure): string {
  const { value, relative, isVague } = figure;
  const text =
    relative === undefined || figure.cell.isBaseline ? valueText(metric, value) : relativeText(metric, relative);
  return `${text}${isVague ? ', too wide to say' : ''}`;
}

/** "94 %": what the intervals of a suite mean. */
export function coverageOf(verdicts: readonly Verdict[]): string {
  const all = verdicts.flatMap(({ figures }) => figures.map(({ value }) => value.coverage));
  return all.length === 0 ? '-' : `${Math.floor(Math.min(...all) * 100)} %`;
}

export const intervalText = ({ rounds }: SuiteResult, coverage: string): string =>
  rounds === 1 ? 'One round: there are no intervals, and no winners.' : `Intervals hold the median with ${coverage}.`;

export function table(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  return [line(header), line(header.map(() => '---')), ...rows.map(line)].join('\n');
}

/** The headline figures, a row a cell, baselines first. */
export function answerTable(suite: SuiteResult): string {
  const verdicts = verdictsOf(suite).filter(({ metric }) => metric.headline);
  const cells = suite.cells.filter(({ state }) => state === 'measured');
  if (verdicts.length === 0) return 'Nothing was measured.';
  return table(
    ['', ...verdicts.map(({ metric }) => `${metric.title} (${metric.better} is better)`)],
    cells
      .toSorted((a, b) => Number(b.isBaseline) - Number(a.isBaseline))
      .map((cell) => [
        cell.isBaseline ? `*${cell.id}* (baseline)` : cell.id,
        ...verdicts.map((verdict) => figureText(verdict, cell)),
      ]),
  );
}

function figureText(verdict: Verdict, cell: CellResult): string {
  const figure = verdict.figures.find((one) => one.cell.id === cell.id);
  if (figure === undefined) return '';
  const text = cellText(verdict.metric, figure);
  return isWinner(verdict, cell.id) ? `**${text}**` : text;
}

/** One line a try that failed, of cells with figures: what a broken one did twice is its reason. */
export const failedTriesOf = (suite: SuiteResult): readonly string[] =>
  suite.cells
    .filter(({ state }) => state !== 'broken')
    .flatMap(({ id, failedTries = [] }) =>
      failedTries.map(({ round, reason }) => `${id} was tried once more in round ${round}: ${reason}`),
    );

/** Names of the facts in which measured cells differ: behaviour, and what was cut short. */
export function differingFacts(cells: readonly CellResult[]): readonly string[] {
  const names = [...new Set(cells.flatMap(({ facts }) => Object.keys(facts)))];
  return names.filter((name) => new Set(cells.map(({ facts }) => facts[name])).size > 1);
}

function suiteMarkdown(suite: SuiteResult): string {
  const verdicts = verdictsOf(suite);
  const parts = [`## ${suite.title}`, suite.summary];
  parts.push(
    `${suite.rounds} interleaved rounds, size ${suite.size}. ${intervalText(suite, coverageOf(verdicts))}`,
    answerTable(suite),
  );
  const cells = suite.cells.filter(({ state }) => state === 'measured');
  if (verdicts.length > 0)
    parts.push(
      'Every figure:',
      table(
        ['', ...cells.map(({ id, isBaseline }) => (isBaseline ? `${id} (baseline)` : id))],
        verdicts.map((verdict) => {
          const { metric } = verdict;
          return [
            `${metric.title}${metric.unit === '' ? '' : `, ${metric.unit}`}, ${metric.better} is better`,
            ...cells.map((cell) => figureText(verdict, cell)),
          ];
        }),
      ),
    );
  const facts = differingFacts(cells);
  if (facts.length > 0)
    parts.push(
      'Behaviour:',
      table(
        ['', ...facts],
        cells.map((cell) => [cell.id, ...facts.map((name) => String(cell.facts[name] ?? ''))]),
      ),
    );
  const out = suite.cells.filter(({ state }) => state !== 'measured');
  if (out.length > 0)
    parts.push(
      out.map(({ id, state, reason }) => `- ${id}: ${state}${reason === undefined ? '' : `: ${reason}`}`).join('\n'),
    );
  const tries = failedTriesOf(suite);
  if (tries.length > 0) parts.push(tries.map((line) => `- ${line}`).join('\n'));
  const left = suite.cells.flatMap(({ id, leftBehind }) => leftBehind.map((line) => `- ${id} left behind: ${line}`));
  if (left.length > 0) parts.push(left.join('\n'));
  return parts.join('\n\n');
}

export function markdownOf(result: Result): string {
  const facts = [...Object.entries(result.machine), ...Object.entries(result.versions)];
  return [
    `# pintle bench, ${result.startedAt.slice(0, 16).replace('T', ' ')} UTC${result.complete ? '' : ' (interrupted)'}`,
    `\`${result.command.join(' ')}\``,
    'Shares are of the baseline, in the same rounds; bold is a winner that beat each other cell in every round that counts.',
    facts.map(([name, value]) => `${name} ${value}`).join(', '),
    `Load average before ${result.loadBefore.join(' ')}, after ${result.loadAfter.join(' ')}.`,
    ...result.suites.map(suiteMarkdown),
    '',
  ].join('\n\n');
}

const quoted = (text: string): string => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);

/** Every sample, one a line. */
export function csvOf(result: Result): string {
  const header = ['suite', 'cell', 'baseline', 'metric', 'unit', 'better', 'round', 'value'];
  const rows = result.suites.flatMap((suite) =>
    suite.cells.flatMap((cell) =>
      suite.metrics.flatMap(({ id, unit, better }) =>
        (cell.samples[id] ?? []).map(({ round, value }) => [
          ...[suite.name, cell.id, cell.baseline ?? '', id, unit, better, String(round), String(value)],
        ]),
      ),
    ),
  );
  return [header, ...rows].map((row) => row.map(quoted).join(',')).join('\n') + '\n';
}

export function comparisonText(comparisons: readonly Comparison[]): readonly string[] {
  return comparisons
    .filter(({ change }) => change !== 'same')
    .map(({ suite, cell, metric, change, before, after, isRelative, detail }) => {
      const place = `${change}: ${suite}: ${cell}`;
      if (metric === undefined || before === undefined || after === undefined) return `${place}: ${detail}`;
      const text = (interval: Interval): string =>
        isRelative ? `${relativeText(metric, interval)} of baseline` : valueText(metric, interval);
      return `${place}: ${metric.title}: ${text(before)}, then ${text(after)}`;
    });
}
