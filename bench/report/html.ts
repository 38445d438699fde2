/**
 * The report: one file that needs no network. Tables and words are made here; the charts are drawn in the browser by a
 * chart library that is inlined, together with the raw data.
 */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import type { CellResult, Result, SuiteResult } from '../method/result.ts';
import { isWinner, type Verdict, verdictsOf } from '../method/verdicts.ts';
import { chartsOf } from './charts.ts';
import { style } from './style.ts';
import { coverageOf, differingFacts, failedTriesOf, intervalText, relativeText, valueText } from './tables.ts';

const require = createRequire(import.meta.url);

/** Their browser builds stand beside the modules that `require` finds. */
function library(name: string, file: string): string {
  const main = require.resolve(name);
  const root = main.slice(0, main.lastIndexOf(`/node_modules/${name}/`) + `/node_modules/${name}/`.length);
  return readFileSync(`${root}${file}`, 'utf8');
}

const escaped = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');

/** Inside a script element: a text that cannot end it. */
const inScript = (text: string): string => text.replaceAll('</', '<\\/');
const json = (value: unknown): string => JSON.stringify(value).replaceAll('<', '\\u003c');

export function htmlOf(result: Result): string {
  const suites = result.suites.filter(({ cells }) => cells.length > 0);
  const charts = suites.map((suite) => ({ suite, charts: chartsOf(suite) }));
  const day = result.startedAt.slice(0, 16).replace('T', ' ');
  const all = charts.flatMap((one) => one.charts);
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>pintle bench, ${day} UTC</title>
<style>${style}</style>
</head>
<body>
${compared(result, suites, day)}
<h2 id="answer">The answer</h2>
<p class="soft">Each cell as a share of its baseline, measured in the same rounds: 100 % is the baseline itself, and below it
the interval of the median. <b>Best</b> is marked only where one beat each of its rivals in round after round; where an interval is
too wide to say anything, it says so. Rows on grey are baselines, in their own units.</p>
${suites.map(answer).join('\n')}
<h2 id="charts-of-it">Charts</h2>
<p class="soft">Medians of the rounds; the bars' whiskers are their intervals.</p>
${charts.map(({ suite, charts: own }) => chartSection(suite, own)).join('\n')}
<h2 id="behaviour">Behaviour</h2>
${suites.map(behaviour).join('\n')}
<h2 id="everything">Every figure</h2>
${suites.map(everything).join('\n')}
<h2 id="again">How to measure it again</h2>
<pre>${escaped(result.command.join(' '))}
pintle bench compare before.json after.json</pre>
<p>The samples of all rounds are in this file, in the script element <code>result</code>: they are the JSON result.</p>
<script type="application/json" id="result">${json(result)}</script>
<script type="application/json" id="charts">${json(all)}</script>
<script>${inScript(library('d3', 'dist/d3.min.js'))}</script>
<script>${inScript(library('@observablehq/plot', 'dist/plot.umd.min.js'))}</script>
<script type="module">${inScript(readFileSync(new URL('./page/page.js', import.meta.url), 'utf8').replace(/^\/\/# sourceMappingURL.*$/m, ''))}</script>
</body>
</html>
`;
}

function compared(result: Result, suites: readonly SuiteResult[], day: string): string {
  const facts = [...Object.entries(result.machine), ...Object.entries(result.versions)];
  const minutes = (Date.parse(result.finishedAt) - Date.parse(result.startedAt)) / 60_000;
  const busy = (result.loadBefore[0] ?? 0) > Number(result.machine['cores'] ?? 1) / 2;
  const warnings = [
    ...(result.complete
      ? []
      : ['The run was interrupted, or a part of it could not be measured: what was measured is here.']),
    ...(busy
      ? [
          `The machine was busy before the run (load average ${result.loadBefore.join(' ')}): intervals are wider than they could be.`,
        ]
      : []),
  ];
  return `<h1>pintle bench</h1>
<p class="soft">${day} UTC, ${minutes.toFixed(1)} minutes</p>
<nav><a href="#answer">Answer</a><a href="#charts-of-it">Charts</a><a href="#behaviour">Behaviour</a><a href="#everything">Every figure</a><a href="#again">Again</a></nav>
${warnings.map((text) => `<p class="warn">${escaped(text)}</p>`).join('')}
<h2>What was compared, and on what</h2>
<ul>${suites
    .map(
      (suite) =>
        `<li><b>${escaped(suite.title)}</b>: ${
          escaped(
            measuredCells(suite)
              .map(({ id }) => id)
              .join(', '),
          ) || 'nothing'
        }. ${escaped(suite.summary)} ${suite.rounds} interleaved rounds, size ${suite.size}.</li>`,
    )
    .join('')}</ul>
<dl>${facts.map(([name, value]) => `<div><dt>${escaped(wordsOf(name))}</dt><dd>${escaped(String(value))}</dd></div>`).join('')}
<div><dt>load average</dt><dd>before ${result.loadBefore.join(' ')}, after ${result.loadAfter.join(' ')}</dd></div></dl>`;
}

/** "podMtuBytes": "pod MTU bytes". */
const wordsOf = (name: string): string =>
  name
    .replaceAll(/([a-z])(GiB|[A-Z])/g, '$1 $2')
    .split(' ')
    .map((word) => (/^(GiB|TCP)$/.test(word) ? word : word.toLowerCase()))
    .join(' ')
    .replaceAll(/\b(mtu|cpu|tcp|os)\b/g, (word) => word.toUpperCase());

const measuredCells = (suite: SuiteResult): readonly CellResult[] =>
  suite.cells.filter(({ state }) => state === 'measured');

function cellHtml(verdict: Verdict, cell: CellResult): string {
  const figure = verdict.figures.find((one) => one.cell.id === cell.id);
  if (figure === undefined) return '<td></td>';
  const { metric } = verdict;
  const isShare = figure.relative !== undefined && !cell.isBaseline;
  const text = isShare ? relativeText(metric, figure.relative) : valueText(metric, figure.value);
  const [, main = text, range = ''] = /^(.*?)(?: \((.* to .*)\))/.exec(text) ?? [];
  const unit = /\) (.+)$/.exec(text)?.[1];
  const best = isWinner(verdict, cell.id);
  const kind = best ? 'best' : figure.isVague ? 'vague' : '';
  const words = [...(best ? ['best'] : []), ...(figure.isVague ? ['too wide to say'] : [])].join(', ');
  const value = isShare ? ` title="${escaped(valueText(metric, figure.value))}"` : '';
  return `<td class="${kind}"${value}><span class="main">${escaped(main)}${unit === undefined ? '' : ` ${escaped(unit)}`}</span><span class="range">${escaped(range)}</span>${words === '' ? '' : `<span class="range">${words}</span>`}</td>`;
}

function tableHtml(suite: SuiteResult, verdicts: readonly Verdict[]): string {
  const head = verdicts
    .map(({ metric }) => `<th>${escaped(metric.title)}<br><span class="soft">${metric.better} is better</span></th>`)
    .join('');
  const rows = measuredCells(suite)
    .toSorted((a, b) => Number(b.isBaseline) - Number(a.isBaseline))
    .map((cell) => {
      const name = `${escaped(cell.id)}${cell.isBaseline ? ' <span class="soft">(baseline)</span>' : ''}`;
      return `<tr${cell.isBaseline ? ' class="baseline"' : ''}><th>${name}</th>${verdicts.map((verdict) => cellHtml(verdict, cell)).join('')}</tr>`;
    });
  return `<div class="wide"><table><thead><tr><th></th>${head}</tr></thead><tbody>${rows.join('')}</tbody></table></div>`;
}

function answer(suite: SuiteResult): string {
  const verdicts = verdictsOf(suite);
  if (verdicts.length === 0) return `<h3>${escaped(suite.title)}</h3><p>Nothing was measured.</p>`;
  const headline = verdicts.filter(({ metric }) => metric.headline);
  const without = suite.cells.filter(({ state }) => state !== 'measured').map(({ id }) => id);
  const missing = without.length === 0 ? '' : ` No figures, for reasons given under Behaviour: ${without.join(', ')}.`;
  return `<h3>${escaped(suite.title)}</h3>${tableHtml(suite, headline)}<p class="soft">${intervalText(suite, coverageOf(verdicts))}${escaped(missing)}</p>`;
}

function everything(suite: SuiteResult): string {
  const verdicts = verdictsOf(suite);
  const groups = [...new Set(verdicts.map(({ metric }) => metric.group))];
  const tables = groups.map((group) =>
    tableHtml(
      suite,
      verdicts.filter(({ metric }) => metric.group === group),
    ),
  );
  return `<details><summary>${escaped(suite.title)}: ${verdicts.length} metrics</summary>${tables.join('')}</details>`;
}

const chartSection = (suite: SuiteResult, charts: ReturnType<typeof chartsOf>): string =>
  charts.length === 0
    ? ''
    : `<section><h3>${escaped(suite.title)}</h3>${charts
        .map(({ id, title, note, kind }) =>
          kind === 'nothing'
            ? `<p><b>${escaped(title)}</b><br><span class="soft">${escaped(note)}</span></p>`
            : `<figure><figcaption><b>${escaped(title)}</b><span class="soft">${escaped(note)}</span></figcaption><div class="wide" id="${escaped(id)}"></div></figure>`,
        )
        .join('')}</section>`;

/** What differs apart from speed: facts, checks that did not hold, what was left out and left behind. */
function behaviour(suite: SuiteResult): string {
  const cells = suite.cells.filter(({ state }) => state === 'measured');
  const differing = differingFacts(cells);
  const rows = cells.map(
    ({ id, facts }) =>
      `<tr><th>${escaped(id)}</th>${differing.map((name) => `<td>${escaped(String(facts[name] ?? ''))}</td>`).join('')}</tr>`,
  );
  const table =
    differing.length === 0
      ? '<p>No difference in what was looked at.</p>'
      : `<div class="wide"><table><thead><tr><th></th>${differing.map((name) => `<th>${escaped(wordsOf(name))}</th>`).join('')}</tr></thead><tbody>${rows.join('')}</tbody></table></div>`;
  const notes = [
    ...suite.cells.flatMap(({ id, state, reason, leftBehind }) => [
      ...(state === 'measured' ? [] : [`${id} has no figure: ${reason ?? state}`]),
      ...leftBehind.map((line) => `${id} left behind: ${line}`),
    ]),
    ...failedTriesOf(suite),
  ];
  const checks = [...new Set(suite.cells.flatMap((cell) => cell.checks.map(({ name }) => name)))];
  return `<h3>${escaped(suite.title)}</h3>${table}${notes.length === 0 ? '' : `<ul>${notes.map((note) => `<li>${escaped(note)}</li>`).join('')}</ul>`}
${checks.length === 0 ? '' : `<p class="soft">Before every round each cell had to show: ${escaped(checks.join('; '))}.</p>`}`;
}
