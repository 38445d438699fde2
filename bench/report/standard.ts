/**
 * What the documents show of a result: made from the committed result file and nothing else, so that a test can hold that
 * the documents say what was measured. `bench/programs/publish.ts` writes it there.
 */
import { basename } from 'node:path';
import type { Result, SuiteResult } from '../method/result.ts';
import { type Figure, isWinner, type Verdict, verdictsOf } from '../method/verdicts.ts';
import { answerTable, coverageOf, failedTriesOf, intervalText, number, table } from './tables.ts';
import { panelsSvg, type Panel } from './svg.ts';

/** What is shown of one suite at a glance. */
interface Extract {
  readonly suite: string;
  readonly columns: readonly (readonly [metric: string, head: string])[];
}

const readme: Extract = {
  suite: 'net',
  columns: [
    ['tcp-1', 'TCP, one stream'],
    ['rr-p50', 'round trip'],
    ['crr-p50', 'new connection'],
    ['cpu-gb', 'CPU a GB'],
    ['recovery-kill', 'silent after `kill -9` of the agent'],
    ['recovery-device', 'silent after its device or routes were deleted'],
  ],
};
const panels: readonly (readonly [metric: string, title: string])[] = [
  ['tcp-1', 'TCP, one stream across nodes'],
  ['rr-p50', 'One byte there and back, p50'],
];

const suiteOf = (result: Result, name: string): SuiteResult | undefined =>
  result.suites.find((suite) => suite.name === name);

/** Four digits are more than a round can say, and keep the file small. */
const rounded = (value: number): number => Number(value.toPrecision(4));

/** The result as it is committed: whole, on a line a suite, without digits that say nothing. */
export function compactOf(result: Result): string {
  const suites = result.suites.map((suite) => ({
    ...suite,
    seconds: Math.round(suite.seconds),
    cells: suite.cells.map((cell) => ({
      ...cell,
      // What held everywhere and in every round is said by the state; a detail would be of one round.
      checks: cell.checks.map(({ name, ok, detail }) => ({ name, ok, detail: ok ? '' : detail })),
      samples: Object.fromEntries(
        Object.entries(cell.samples).map(([metric, samples]) => [
          metric,
          samples.map(({ round, value }) => ({ round, value: rounded(value) })),
        ]),
      ),
    })),
  }));
  // Where somebody kept the files says nothing.
  const command = result.command.map((word) => (word.startsWith('/') ? basename(word) : word));
  const { suites: _, ...rest } = { ...result, command };
  const head = JSON.stringify(rest).slice(0, -1);
  return `${head},"suites":[\n${suites.map((suite) => JSON.stringify(suite)).join(',\n')}\n]}\n`;
}

/** "21 November 2026". */
const dayOf = (result: Result): string =>
  new Date(result.startedAt).toLocaleDateString('en-GB', {
    ...{ day: 'numeric', month: 'long', year: 'numeric', timeZone: 'UTC' },
  });

const fact = (result: Result, name: string): string => String(result.machine[name] ?? result.versions[name] ?? '?');

/** Where and when: one sentence. */
function placeOf(result: Result): string {
  const minutes = (Date.parse(result.finishedAt) - Date.parse(result.startedAt)) / 60_000;
  const system = `${fact(result, 'os')}, Linux ${fact(result, 'kernel')}, Node ${fact(result, 'node')}`;
  const machine = `${fact(result, 'cores')} cores of ${fact(result, 'cpu')}, ${fact(result, 'memoryGiB')} GiB`;
  return `${dayOf(result)}, ${machine}${result.machine['virtual'] === true ? ' (virtual)' : ''}, ${system}, ${minutes.toFixed(0)} minutes, load average ${result.loadBefore[0]} before.`;
}

/** The table of the README: medians alone, as the whole is one link away. */
export function readmeTable(result: Result): string {
  const suite = suiteOf(result, readme.suite);
  if (suite === undefined) return 'Not measured.';
  const verdicts = new Map(verdictsOf(suite).map((verdict) => [verdict.metric.id, verdict]));
  const columns = readme.columns.flatMap(([id, head]) => {
    const verdict = verdicts.get(id);
    return verdict === undefined ? [] : [{ verdict, head }];
  });
  const rows = suite.cells
    .filter(({ state }) => state === 'measured')
    .toSorted((a, b) => Number(b.isBaseline) - Number(a.isBaseline))
    .map((cell) => [
      cell.isBaseline ? `*${cell.id}*` : `\`${cell.id}\``,
      ...columns.map(({ verdict }) => {
        const figure = verdict.figures.find((one) => one.cell.id === cell.id);
        return figure === undefined ? '' : medianText(verdict, figure);
      }),
    ]);
  return [
    table(['', ...columns.map(({ head }) => head)], rows),
    `In the rows of baselines: what was measured; below: shares of *routed*, the plain routes between the same nodes. **Bold** beat every other one in every round; ~ has an interval too wide to say. ${placeOf(result)}`,
  ].join('\n\n');
}

function medianText(verdict: Verdict, { cell, value, relative, isVague }: Figure): string {
  const { metric } = verdict;
  const isShare = relative !== undefined && metric.compare === 'ratio' && !cell.isBaseline;
  const text = isShare ? `${number(relative.median * 100)} %` : `${number(value.median)} ${metric.unit}`.trim();
  return isWinner(verdict, cell.id) ? `**${text}**` : isVague ? `~ ${text}` : text;
}

/** The chart of the README, for screens light and dark. */
export function readmeChart(result: Result): string {
  const suite = suiteOf(result, readme.suite);
  const verdicts = suite === undefined ? [] : verdictsOf(suite);
  return panelsSvg(
    panels.flatMap(([id, title]): readonly Panel[] => {
      const verdict = verdicts.find(({ metric }) => metric.id === id);
      if (verdict === undefined) return [];
      const { better, unit } = verdict.metric;
      const rows = verdict.figures.map(({ cell, value }) => ({
        ...{ name: cell.id, isBaseline: cell.isBaseline },
        ...{ median: value.median, low: value.low, high: value.high, label: number(value.median) },
      }));
      return [{ title, note: `${unit}, ${better} is better`, rows }];
    }),
    `Networks between two nodes, ${dayOf(result)}`,
  );
}

/** The part of docs/benchmarks.md: facts, and the answer of every suite. */
export function standardMatrix(result: Result): string {
  const facts = [...Object.entries(result.machine), ...Object.entries(result.versions)];
  return [
    `Measured on ${placeOf(result)} Command: \`${result.command.join(' ')}\`. Load average before ${result.loadBefore.join(' ')}, after ${result.loadAfter.join(' ')}.`,
    ...result.suites.map((suite) => {
      const verdicts = verdictsOf(suite);
      const out = suite.cells.filter(({ state }) => state !== 'measured');
      const notes = [...out.map(({ id, state, reason }) => `${id}: ${state}: ${reason}`), ...failedTriesOf(suite)];
      return [
        `### ${suite.title}`,
        suite.summary,
        answerTable(suite),
        `${suite.rounds} rounds in ${suite.seconds} s; ${intervalText(suite, coverageOf(verdicts))}`,
        ...(notes.length === 0 ? [] : [notes.map((note) => `- ${note}`).join('\n')]),
      ].join('\n\n');
    }),
    `Machine and tools: ${facts.map(([name, value]) => `${name} ${value}`).join(', ')}.`,
  ].join('\n\n');
}

const begin = (name: string): string => `<!-- ${name}: made by bench/programs/publish.ts -->`;
const end = (name: string): string => `<!-- end of ${name} -->`;

/** The document with what stands between the two marks replaced. */
export function withPart(document: string, name: string, part: string): string {
  const from = document.indexOf(begin(name));
  const to = document.indexOf(end(name));
  if (from < 0 || to < from) throw new Error(`the document has no part ${name}: expected ${begin(name)}, ${end(name)}`);
  return `${document.slice(0, from + begin(name).length)}\n\n${part}\n\n${document.slice(to)}`;
}

/** Every file that shows the standard result, by its path in the repository. */
export function publishedFiles(result: Result, read: (path: string) => string): ReadonlyMap<string, string> {
  return new Map([
    ['docs/standard-networks.svg', readmeChart(result)],
    ['README.md', withPart(read('README.md'), 'standard networks', readmeTable(result))],
    ['docs/benchmarks.md', withPart(read('docs/benchmarks.md'), 'standard matrix', standardMatrix(result))],
  ]);
}
