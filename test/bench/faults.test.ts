/** Faults that `pintle bench` must catch: plugins that are worse than another build of them, wrong, or untidy. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import { readResult, type Result } from '../../bench/index.ts';
import { bench, folderOf, trafficTest, troubles, type Run } from './support/bench-run.ts';

const fixtures = fileURLToPath(new URL('./support/bench-plugins.js', import.meta.url));

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
    const run = await bench(folder, ['net', ...which, '--size', 'smoke', '--rounds', '5', '--out', 'r.json']);
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
    t.regex(burning.output, /worse: net: good x ptp: CPU of the two agents/);
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
