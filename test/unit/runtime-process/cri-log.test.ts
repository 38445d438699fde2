import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { CriLog, removeLogFiles } from '../../../plugins/runtimes/process/cri-log.ts';

function open(t: ExecutionContext, maxBytes = 1e6, maxFiles = 3): { readonly log: CriLog; readonly path: string } {
  const folder = mkdtempSync(join(tmpdir(), 'pintle-cri-log-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const path = join(folder, 'pod', '0.log');
  return { log: new CriLog(path, maxBytes, maxFiles), path };
}

/** Stream, tag and text of each line. */
const lines = (path: string): readonly string[] =>
  readFileSync(path, 'utf8')
    .split('\n')
    .slice(0, -1)
    .map((line) => line.slice(line.indexOf(' ') + 1));

test('lines are told apart, whatever pieces they come in', (t) => {
  const { log, path } = open(t);
  log.write('stdout', Buffer.from('one\ntw'));
  log.write('stderr', Buffer.from('err\n'));
  log.write('stdout', Buffer.from('o\n\n'));
  log.write('stdout', Buffer.from('end'));
  log.close();
  t.deepEqual(lines(path), ['stdout F one', 'stdout P tw', 'stderr F err', 'stdout F o', 'stdout F ', 'stdout P end']);
});

test('what came is in the file when write returns', (t) => {
  const { log, path } = open(t);
  log.write('stdout', Buffer.from('part'));
  t.deepEqual(lines(path), ['stdout P part']);
  log.close();
});

test('a line of more than 16 KiB is cut', (t) => {
  const { log, path } = open(t);
  log.write('stdout', Buffer.from(`${'x'.repeat(40_000)}\n`));
  log.close();
  t.deepEqual(
    lines(path).map((line) => [line.slice(7, 8), line.length - 9]),
    [
      ['P', 16_384],
      ['P', 16_384],
      ['F', 7_232],
    ],
  );
});

test('a line of exactly 16 KiB is one piece', (t) => {
  const { log, path } = open(t);
  log.write('stdout', Buffer.from(`${'x'.repeat(16_384)}\n`));
  log.close();
  t.deepEqual(
    lines(path).map((line) => line.slice(0, 8)),
    ['stdout F'],
  );
});

test('rotation keeps so many files, and one large chunk is spread over them', (t) => {
  const { log, path } = open(t, 1_000, 3);
  log.write('stdout', Buffer.from(Array.from({ length: 100 }, (_, index) => `line ${index}\n`).join('')));
  log.close();
  t.deepEqual(readdirSync(join(path, '..')).sort(), ['0.log', '0.log.1', '0.log.2']);
  const kept = ['.2', '.1', ''].flatMap((suffix) => lines(path + suffix).map((line) => Number(line.split(' ').at(-1))));
  t.is(kept.at(-1), 99);
  t.deepEqual(
    kept,
    kept.map((_, index) => (kept[0] ?? 0) + index),
  );
  for (const suffix of ['.2', '.1', '']) t.true(readFileSync(path + suffix).length < 1_100);
  removeLogFiles(path, 3);
  t.deepEqual(readdirSync(join(path, '..')), []);
});

test('with one file the log begins anew, and without a limit it grows', (t) => {
  const one = open(t, 200, 1);
  const endless = open(t, 0, 3);
  for (let index = 0; index < 50; index++)
    for (const { log } of [one, endless]) log.write('stdout', Buffer.from(`line ${index}\n`));
  t.true(readFileSync(one.path).length < 300);
  t.is(lines(endless.path).length, 50);
  t.false(existsSync(`${one.path}.1`) || existsSync(`${endless.path}.1`));
  for (const { log } of [one, endless]) log.close();
});

test('a log that is opened again is gone on with', (t) => {
  const { log, path } = open(t, 400, 2);
  log.write('stdout', Buffer.from('first\n'));
  log.close();
  const again = new CriLog(path, 400, 2);
  for (let index = 0; index < 10; index++) again.write('stdout', Buffer.from(`line ${index}\n`));
  again.close();
  t.is(lines(`${path}.1`)[0], 'stdout F first');
});
