/** `pintle bench` as users run it, in private namespaces: smoke runs of every suite, faults that it must catch, Ctrl-C. */
import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import test, { type ExecutionContext } from 'ava';
import { hasTool } from '../../bench/bed/tools.ts';
import { readResult, type Result } from '../../bench/index.ts';
import { resources } from '../../kernel/machinery/resources.ts';
import { connect } from '../../plugins/clusters/remote/connect.ts';
import { TestCluster } from './support/cluster.ts';
import '../overdue-end.ts';

const program = fileURLToPath(new URL('../../cli/main.js', import.meta.url));
const fixtures = fileURLToPath(new URL('./support/bench-plugins.js', import.meta.url));
const suites = ['net', 'proxy', 'store', 'scheduler', 'api', 'runtime', 'attachment'];

interface Run {
  readonly code: number | null;
  readonly output: string;
}

/** Why cells have no figure, first; then how the output ends. The whole of it would be cut where it is read. */
const troubles = ({ output }: Run): string =>
  [
    ...output.split('\n').filter((line) => / has no figure: |is tried once more: | not measured: /.test(line)),
    '...',
    ...output.trimEnd().split('\n').slice(-20),
  ].join('\n');

/** In a folder of its own, which is also the run's place for temporary files. */
function folderOf(t: ExecutionContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'pintle-bench-test-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

function bench(
  folder: string,
  argv: readonly string[],
  onLine?: (line: string, stop: () => void) => void,
): Promise<Run> {
  const child = spawn(process.execPath, [program, 'bench', ...argv], {
    ...{ cwd: folder, env: { ...process.env, TMPDIR: folder }, stdio: ['ignore', 'pipe', 'pipe'] },
  });
  let output = '';
  const take = (chunk: Buffer): void => {
    output += chunk.toString();
    for (const line of chunk.toString().split('\n')) onLine?.(line, () => child.kill('SIGINT'));
  };
  child.stdout.on('data', take);
  child.stderr.on('data', take);
  return new Promise((resolve) => child.once('close', (code) => resolve({ code, output })));
}

const needing = (tool: string): typeof test.skip | typeof test => (hasTool(tool) ? test : test.skip);
/** With iperf3 (apt-get install iperf3), and with Chromium (apt-get install chromium) too: CI has both. */
const trafficTest = needing('iperf3');
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

/** The result as if `cell` had been measured under the name of another one: two builds of one plugin. */
function rename(result: Result, cell: string, as: string, isBesideBaseline: boolean): Result {
  const only = (suite: Result['suites'][number]) => ({
    ...suite,
    cells: suite.cells
      .filter(({ id, isBaseline }) => (isBaseline && isBesideBaseline) || id === cell)
      .map((one) => (one.id === cell ? { ...one, id: as } : one)),
  });
  return { ...result, suites: result.suites.map(only) };
}

async function compare(
  folder: string,
  result: Result,
  before: string,
  after: string,
  isBesideBaseline = true,
): Promise<Run> {
  for (const [file, cell] of [
    ['before', before],
    ['after', after],
  ] as const)
    writeFileSync(join(folder, `${file}.json`), JSON.stringify(rename(result, cell, before, isBesideBaseline)));
  return bench(folder, ['compare', 'before.json', 'after.json']);
}

trafficTest(
  'an overlay that drops one percent, or burns CPU, is worse; one that lies about its MTU has no figure (needs iperf3)',
  async (t) => {
    t.timeout(600_000);
    const folder = folderOf(t);
    const which = ['--load', fixtures, '--overlay', 'good,dropping,burning,lying', '--attachment', 'ptp'];
    const run = await bench(folder, ['net', ...which, '--size', 'smoke', '--rounds', '4', '--out', 'r.json']);
    t.is(run.code, 3, troubles(run));
    const result = readResult(join(folder, 'r.json'));
    const lying = result.suites[0]?.cells.find(({ id }) => id === 'lying x ptp');
    t.deepEqual([lying?.state, lying?.samples], ['broken', {}]);
    t.regex(lying?.reason ?? '', /a datagram of the MTU \(9000\)/);
    const good = 'good x ptp';
    const dropping = await compare(folder, result, good, 'dropping x ptp');
    t.is(dropping.code, 3, troubles(dropping));
    t.regex(dropping.output, /worse: net: good x ptp: lost of a steady probe/);
    const burning = await compare(folder, result, good, 'burning x ptp');
    t.is(burning.code, 3, troubles(burning));
    t.regex(burning.output, /worse: net: good x ptp: CPU of (the two agents|all processes)/);
    const wrong = await compare(folder, result, good, 'lying x ptp');
    t.is(wrong.code, 3, troubles(wrong));
    const same = await compare(folder, result, good, good);
    t.is(same.code, 0, troubles(same));
  },
);

test('an attachment that sleeps is worse', async (t) => {
  const folder = folderOf(t);
  const which = ['--load', fixtures, '--attachment', 'prompt,sleepy'];
  const run = await bench(folder, ['attachment', ...which, '--size', 'smoke', '--rounds', '3', '--out', 'r.json']);
  t.is(run.code, 0, troubles(run));
  const result = readResult(join(folder, 'r.json'));
  // By themselves: a baseline of a few milliseconds is as long as a busy machine's pauses.
  const sleepy = await compare(folder, result, 'prompt', 'sleepy', false);
  t.is(sleepy.code, 3, troubles(sleepy));
  t.regex(sleepy.output, /worse: attachment: prompt: adds?, /);
});

test('what an attachment leaves behind is told', async (t) => {
  const folder = folderOf(t);
  const which = ['--load', fixtures, '--attachment', 'prompt,untidy'];
  const run = await bench(folder, ['attachment', ...which, '--size', 'smoke', '--rounds', '1', '--out', 'r.json']);
  t.is(run.code, 0, troubles(run));
  const result = readResult(join(folder, 'r.json'));
  const left = (cell: string) => result.suites[0]?.cells.find(({ id }) => id === cell)?.leftBehind ?? [];
  t.deepEqual(left('prompt'), []);
  t.true(left('untidy').some((line) => line.includes('litter')));
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
  t.is(run.code, 1, troubles(run));
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

trafficTest(
  'on the nodes of a running cluster: pods of ours, and nothing of them afterwards (needs iperf3)',
  async (t) => {
    t.timeout(600_000);
    const cluster = await TestCluster.start({ nodes: 2 });
    t.teardown(() => cluster.stop());
    const folder = folderOf(t);
    const argv = ['net', '--cluster', cluster.kubeconfig, '--size', 'smoke', '--rounds', '1', '--out', 'r.json'];
    const run = await bench(folder, argv);
    t.is(run.code, 0, troubles(run));
    const [suite] = readResult(join(folder, 'r.json')).suites;
    const cells = suite?.cells ?? [];
    t.deepEqual(
      cells.map(({ id, state, leftBehind }) => [id, state, leftBehind]),
      ['node to node', 'pod to pod', 'pod to pod, same node', 'pod to Service'].map((id) => [id, 'measured', []]),
      troubles(run),
    );
    for (const { id, samples } of cells) t.true((samples['tcp-1']?.[0]?.value ?? 0) > 0, id);
    const connection = await connect(cluster.kubeconfig);
    const isOurs = async (): Promise<boolean> => {
      const { items } = await connection.cluster.list(resources.namespaces);
      return items.some(({ metadata }) => metadata.name.startsWith('pintle-bench-'));
    };
    while (await isOurs()) await new Promise((resolve) => setTimeout(resolve, 100));
    connection.close();
    t.pass();
  },
);
