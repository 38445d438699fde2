import test from 'ava';
import { chartsOf } from '../../../bench/report/charts.ts';
import { comparisonText, csvOf, htmlOf, markdownOf } from '../../../bench/index.ts';
import { compareResults } from '../../../bench/method/compare-results.ts';
import { resultSchema } from '../../../bench/method/result.ts';
import { standardMatrix } from '../../../bench/report/standard.ts';
import { resultOf, suiteOf } from './results.ts';

const routed = { speed: [10, 11, 9, 10, 10], delay: [50, 51, 49, 50, 50] };
const a = { speed: [9, 10, 8, 9, 9], delay: [60, 61, 59, 60, 60] };
const b = { speed: [6, 7, 5, 6, 6], delay: [70, 71, 69, 70, 70] };

test('results are what their schema says', (t) => {
  const result = resultOf(suiteOf({ routed, a }));
  t.deepEqual(resultSchema.parse(JSON.parse(JSON.stringify(result))), result);
  t.false(resultSchema.safeParse({ ...result, more: 1 }).success);
  t.false(resultSchema.safeParse({ ...result, format: 'pintle.dev/bench/v0' }).success);
});

test('Markdown: shares of the baseline, the winner in bold', (t) => {
  const text = markdownOf(resultOf(suiteOf({ routed, a, b })));
  t.true(
    text.includes(
      '| speed, Gb/s, more is better | 10.0 (9.00 to 11.0) Gb/s | **90.0 % (88.9 % to 90.9 %)** | 60.0 % (55.6 % to 63.6 %) |',
    ),
    text,
  );
});

test('a try that failed is told beside the figures of the others', (t) => {
  const suite = suiteOf({ routed, a });
  Object.assign(suite.cells[1]!, { failedTries: [{ round: 2, reason: 'failed: no <route>' }] });
  const result = resultOf(suite);
  t.deepEqual(resultSchema.parse(JSON.parse(JSON.stringify(result))), result);
  t.true(markdownOf(result).includes('\n- a was tried once more in round 2: failed: no <route>\n'));
  t.true(htmlOf(result).includes('<li>a was tried once more in round 2: failed: no &lt;route&gt;</li>'));
  t.true(standardMatrix(result).includes('\n- a was tried once more in round 2: failed: no <route>'));
});

test('CSV: every sample', (t) => {
  const lines = csvOf(resultOf(suiteOf({ routed, 'a, "b"': a })))
    .trim()
    .split('\n');
  t.is(lines.length, 1 + 20);
  t.true(lines.includes('net,"a, ""b""",routed,speed,Gb/s,more,2,10'));
});

test('a comparison is told in words', (t) => {
  const changes = compareResults(resultOf(suiteOf({ routed, a })), resultOf(suiteOf({ routed, a: b })));
  t.deepEqual(comparisonText(changes), [
    'worse: net: a: speed: 90.0 % (88.9 % to 90.9 %) of baseline, then 60.0 % (55.6 % to 63.6 %) of baseline',
    'worse: net: a: delay: 120 % (120 % to 120 %) of baseline, then 140 % (139 % to 141 %) of baseline',
  ]);
});

test('the page needs no network, and its raw data are the result', (t) => {
  const result = resultOf(suiteOf({ routed, '</script><b>': a }));
  const page = htmlOf(result);
  const raw = /<script type="application\/json" id="result">(.*?)<\/script>/s.exec(page)?.[1] ?? '';
  t.deepEqual(JSON.parse(raw), result);
  t.notRegex(page, /<script[^>]*\ssrc=|<link[^>]*href="(?!data:)|@import|url\(http/);
});

test('a figure against a number is drawn as lines, others as rows', (t) => {
  const rows = chartsOf(suiteOf({ routed, a, b }));
  t.deepEqual(
    rows.map(({ kind, points }) => [kind, points.length]),
    [
      ['bars', 3],
      ['bars', 3],
    ],
  );
  const suite = suiteOf({ routed, 'a x 1': a, 'a x 100': b });
  const factors = [
    { proxy: 'routed', services: '' },
    { proxy: 'a', services: '1' },
    { proxy: 'a', services: '100' },
  ];
  for (const [index, cell] of suite.cells.entries()) Object.assign(cell, { factors: factors[index] });
  const [chart] = chartsOf(suite);
  t.is(chart?.kind, 'lines');
  t.deepEqual(
    chart?.points.map(({ series, at, median }) => [series, at, median]),
    [
      ['routed', 1, 10],
      ['routed', 100, 10],
      ['a', 1, 9],
      ['a', 100, 6],
    ],
  );
});

test('more lines than there are colours are several charts, one a setting', (t) => {
  const names = ['base', 'a', 'b', 'c', 'd'];
  const cells = names.flatMap((proxy) =>
    ['', 'ipv6'].flatMap((family) =>
      (proxy === 'base' ? [''] : ['1', '30000']).map((services) => ({ proxy, services, family })),
    ),
  );
  const suite = suiteOf(Object.fromEntries(cells.map((factors) => [Object.values(factors).join(' '), a])));
  for (const [index, cell] of suite.cells.entries())
    Object.assign(cell, { factors: cells[index], isBaseline: cells[index]?.proxy === 'base' });
  const charts = chartsOf(suite).filter(({ title }) => title.startsWith('speed'));
  t.deepEqual(
    charts.map(({ title, series }) => [title, series]),
    [
      ['speed, against the number of services', names],
      ['speed: ipv6, against the number of services', names],
    ],
  );
  t.is(new Set(charts.map(({ id }) => id)).size, 2);
  t.true(charts.every(({ points }) => points.length === 10));
});

test('cells without figures are named under the answer', (t) => {
  const suite = suiteOf({ routed, a });
  Object.assign(suite.cells[1]!, { state: 'broken', reason: 'too many listeners', samples: {} });
  t.regex(htmlOf(resultOf(suite)), /No figures, for reasons given under Behaviour: a\./);
});

test('what was cut short in one cell stands in both reports', (t) => {
  const suite = suiteOf({ routed, a });
  Object.assign(suite.cells[1]!, { facts: { 'roll-out steps': '37 of 100' } });
  t.true(markdownOf(resultOf(suite)).includes('| a | 37 of 100 |'));
  t.true(htmlOf(resultOf(suite)).includes('<tr><th>a</th><td>37 of 100</td></tr>'));
});

test('what is nought everywhere is told, not drawn', (t) => {
  const none = { loss: [0, 0, 0, 0, 0] };
  const suite = suiteOf({ routed: none, a: none });
  t.deepEqual(
    chartsOf(suite).map(({ kind, points }) => [kind, points.length]),
    [['nothing', 0]],
  );
  const page = htmlOf(resultOf(suite));
  t.regex(page, /<p><b>loss<\/b>.*Nought in every cell/);
  t.notRegex(page, /<figure>/);
  t.is(chartsOf(suiteOf({ routed: none, a: { loss: [0, 0, 0.1, 0, 0] } }))[0]?.kind, 'bars');
});

test('facts are named in words', (t) => {
  const result = { ...resultOf(suiteOf({ routed, a })), machine: { memoryGiB: 24, underlayMtuBytes: 1500 } };
  t.regex(htmlOf(result), /<dt>memory GiB<\/dt><dd>24<\/dd>.*<dt>underlay MTU bytes<\/dt>/);
});
