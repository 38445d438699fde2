import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { LogJournal, takeJournal } from '../../../plugins/runtimes/process/log-journal.ts';
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

test('a piece that a killed agent had taken is written by the next, once', (t) => {
  const { log, path } = open(t);
  log.write('stdout', Buffer.from('before\n'));
  log.close();
  const journal = join(path, '..', 'journal');
  const taken = new CriLog(path, 1e6, 3, journal);
  taken.write('stdout', Buffer.from('written\n'));
  taken.close();
  const size = statSync(path).size;
  // As if it were killed in the middle of the write to the log.
  const note = new LogJournal(journal);
  const fd = openSync(path, 'a');
  note.put('stderr', Buffer.from('taken\nhalf'), fd, size);
  writeSync(fd, '2026-01-01T00:00:00.000000000Z stderr F ta');
  closeSync(fd);
  note.close();
  const next = new CriLog(path, 1e6, 3, journal);
  next.write('stderr', Buffer.from(' line\n'));
  next.close();
  // All is in the log: nothing is left to write.
  new CriLog(path, 1e6, 3, journal).close();
  t.deepEqual(lines(path), [
    'stdout F before',
    'stdout F written',
    'stderr F taken',
    'stderr P half',
    'stderr F  line',
  ]);
});

test('a journal that is cut short or foreign is left alone', (t) => {
  const { log, path } = open(t);
  log.write('stdout', Buffer.from('x\n'));
  log.close();
  const journal = join(path, '..', 'journal');
  const { ino, size } = statSync(path);
  const header = (text: string): string => text.padEnd(64);
  t.is(takeJournal(journal, path), undefined);
  for (const text of [
    '',
    'stdout',
    'garbage '.repeat(20),
    `${header(`stdout 9 ${ino} 0`)}short`,
    `${header(`-tdout 1 ${ino} 0`)}y`,
  ]) {
    writeFileSync(journal, text);
    t.is(takeJournal(journal, path), undefined, text);
  }
  t.is(statSync(path).size, size, 'the log was cut');
  writeFileSync(journal, `${header(`stdout 1 ${ino + 1} 0`)}y`);
  t.is(String(takeJournal(journal, path)?.chunk), 'y');
  t.is(statSync(path).size, size, 'a log that was begun after the piece was cut');
});

test('a piece that is spread over rotated files leaves no more than its rest in the journal', (t) => {
  const { path } = open(t);
  const folder = join(path, '..');
  mkdirSync(folder);
  const journal = join(folder, 'journal');
  const log = new CriLog(path, 120, 9, journal);
  log.write('stdout', Buffer.from(Array.from({ length: 7 }, (_, index) => `line ${index}\n`).join('')));
  log.close();
  const rest = readFileSync(journal, 'utf8');
  t.is(rest.slice(0, 8), '-tdout 7', 'its rest is its last line');
  t.is(rest.slice(64, 71), 'line 6\n');
  // As if it were killed before the last line was whole.
  writeFileSync(journal, `s${rest.slice(1)}`);
  truncateSync(path, 5);
  new CriLog(path, 120, 9, journal).close();
  const all = readdirSync(folder)
    .filter((name) => name !== 'journal')
    .sort()
    .reverse();
  const texts = all.flatMap((name) => lines(join(folder, name))).map((line) => line.slice(-1));
  t.deepEqual(texts, ['0', '1', '2', '3', '4', '5', '6']);
});
