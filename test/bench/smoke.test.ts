/** `pintle bench`: smoke runs of every suite, the report in a browser, Ctrl-C. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import test, { type ExecutionContext } from 'ava';
import { hasTool } from '../../bench/bed/tools.ts';
import { readResult } from '../../bench/index.ts';
import { bench, folderOf, needing, trafficTest, troubles } from './support/bench-run.ts';

const suites = ['net', 'proxy', 'store', 'scheduler', 'api', 'runtime', 'attachment'];

/** With Chromium too (apt-get install chromium): CI has it. */
const browserTest = hasTool('iperf3') ? needing('chromium') : test.skip;
const chromium = '/usr/bin/chromium';

async function drawInChromium(t: ExecutionContext, page: string): Promise<void> {
  const { chromium: browsers } = await import('playwright-core');
  const browser = await browsers.launch({ executablePath: chromium, args: ['--no-sandbox', '--disable-gpu'] });
  try {
    for (const colorScheme of ['light', 'dark'] as const) {
      const view = await browser.newPage({ colorScheme, viewport: { width: 1100, height: 900 } });
      const said: string[] = [];
      const asked: string[] = [];
      view.on('console', (message) => said.push(message.text()));
      view.on('pageerror', (error) => said.push(error.message));
      view.on('request', (request) => asked.push(request.url()));
      await view.goto(pathToFileURL(page).href);
      await view.waitForSelector('html[data-drawn]', { timeout: 60_000 });
      t.deepEqual(said, [], 'nothing on the console');
      t.deepEqual(
        asked.filter((url) => !/^(file|data):/.test(url)),
        [],
        'no network',
      );
      const places = await view.$$eval('figure', (figures) =>
        figures.map((figure) => figure.querySelectorAll('svg [aria-label] > *').length),
      );
      t.true(places.length > 10, 'charts of every suite');
      t.true(
        places.every((marks) => marks > 2),
        'marks in every chart',
      );
      await view.close();
    }
  } finally {
    await browser.close();
  }
}

let report = '';

trafficTest('every suite runs and leaves nothing behind (needs iperf3)', async (t) => {
  t.timeout(600_000);
  const folder = folderOf(t);
  const outputs = ['--out', 'all.json', '--html', 'all.html', '--markdown', 'all.md', '--csv', 'all.csv'];
  const run = await bench(folder, ['--size', 'smoke', '--rounds', '1', ...outputs]);
  t.is(run.code, 0, troubles(run));
  const result = readResult(join(folder, 'all.json'));
  t.true(result.complete);
  t.deepEqual(
    result.suites.map(({ name }) => name),
    suites,
  );
  for (const { name, cells } of result.suites) {
    t.true(cells.filter(({ state }) => state === 'measured').length > 1, `${name}: a baseline and one beside it`);
    for (const { id, state, reason, leftBehind, samples } of cells) {
      t.not(state, 'broken', `${name}: ${id}: ${reason}`);
      t.deepEqual(leftBehind, [], `${name}: ${id}`);
      if (state === 'measured') t.true(Object.keys(samples).length > 2, `${name}: ${id}`);
    }
  }
  t.deepEqual(readdirSync(folder).sort(), ['all.csv', 'all.html', 'all.json', 'all.md']);
  t.true(readFileSync(join(folder, 'all.md'), 'utf8').includes('## Service proxies'));
  report = readFileSync(join(folder, 'all.html'), 'utf8');
});

browserTest('the report is drawn by a browser, without a word on its console (needs chromium)', async (t) => {
  const page = join(folderOf(t), 'all.html');
  writeFileSync(page, report);
  await drawInChromium(t, page);
});

test('Ctrl-C keeps what was measured, and cleans up', async (t) => {
  const folder = folderOf(t);
  let isStopped = false;
  const argv = ['attachment', '--size', 'smoke', '--rounds', '1000', '--out', 'r.json'];
  const run = await bench(folder, argv, (line, stop) => {
    if (isStopped || !line.includes('round 2 of')) return;
    isStopped = true;
    stop();
  });
  t.is(run.code, 130, troubles(run));
  t.regex(run.output, /\nstopped: all that the run had made is gone, and what it measured is in r\.json\n$/);
  const result = readResult(join(folder, 'r.json'));
  t.false(result.complete);
  const measured = result.suites[0]?.cells.filter(({ samples }) => (samples['rate']?.length ?? 0) > 0) ?? [];
  t.true(measured.length > 1, 'the first round is there');
  t.deepEqual(readdirSync(folder), ['r.json']);
});

test('what cannot be measured is an error in words', async (t) => {
  const folder = folderOf(t);
  const unknown = await bench(folder, ['attachment', '--attachment', 'brigde']);
  t.is(unknown.code, 1);
  t.regex(unknown.output, /no attachment is named `brigde`.*bridge/s);
  t.deepEqual(readdirSync(folder), []);
  writeFileSync(join(folder, 'a.json'), '{}');
  const invalid = await bench(folder, ['compare', 'a.json', 'a.json']);
  t.is(invalid.code, 1);
  t.regex(invalid.output, /a\.json is no result of `pintle bench`/);
});
