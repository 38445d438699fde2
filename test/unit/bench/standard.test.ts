/** What the documents show of the standard matrix is what the committed result says. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import { readResult } from '../../../bench/index.ts';
import { compactOf, publishedFiles, readmeTable, withPart } from '../../../bench/report/standard.ts';
import { panelsSvg } from '../../../bench/report/svg.ts';
import { resultOf, suiteOf } from './results.ts';

/** Compiled files live in out/test/unit/bench/. */
const root = fileURLToPath(new URL('../../../../', import.meta.url));
const read = (path: string): string => readFileSync(join(root, path), 'utf8');

const result = readResult(join(root, 'docs/standard.json'));

for (const [path, text] of publishedFiles(result, read))
  test(`${path} shows docs/standard.json (node out/bench/programs/publish.js writes it)`, (t) => {
    t.is(read(path), text);
  });

test('the committed result is a whole standard matrix, in its compact form', (t) => {
  t.true(result.complete);
  t.deepEqual(
    result.suites.map(({ name, size, rounds }) => [name, size, rounds]),
    ['net', 'proxy', 'store', 'scheduler', 'api', 'runtime', 'attachment'].map((name) => [name, 'standard', 5]),
  );
  t.is(compactOf(result), read('docs/standard.json'));
});

test('a table has shares below its baseline, and marks only a winner', (t) => {
  const metric = (id: string) => ({ id: 'tcp-1', title: id, unit: 'Gb/s', group: id });
  const suite = suiteOf({ routed: { speed: [10, 11, 9, 10, 10] }, a: { speed: [9, 9.9, 8.1, 9, 9] } });
  const other = { ...suite, metrics: suite.metrics.map((one) => ({ ...one, ...metric(one.id) })).slice(0, 1) };
  const cells = other.cells.map((cell) => ({ ...cell, samples: { 'tcp-1': cell.samples['speed']! } }));
  const text = readmeTable(resultOf({ ...other, cells }));
  t.true(text.includes('| *routed* | 10.0 Gb/s |'), text);
  t.true(text.includes('| `a` | 90.0 % |'), text);
});

test('a part of a document is replaced between its marks, and nothing else', (t) => {
  const document = 'a\n<!-- x: made by bench/programs/publish.ts -->\nold\n<!-- end of x -->\nb\n';
  const once = withPart(document, 'x', 'new');
  t.is(once, 'a\n<!-- x: made by bench/programs/publish.ts -->\n\nnew\n\n<!-- end of x -->\nb\n');
  t.is(withPart(once, 'x', 'new'), once);
  t.throws(() => withPart(document, 'y', ''), { message: /no part y/ });
});

test('a chart is as long as its figures, and names cannot break out of it', (t) => {
  const row = (name: string, median: number) => ({
    ...{ name, isBaseline: false, median, low: median, high: median, label: '' },
  });
  const svg = panelsSvg([{ title: 'x', note: '', rows: [row('a', 10), row('<script>', 5)] }], 'y');
  const widths = [...svg.matchAll(/class="measured" [^>]*width="([\d.]+)"/g)].map((match) => Number(match[1]));
  t.is(widths[0], widths[1]! * 2);
  t.false(svg.includes('<script>'));
});
