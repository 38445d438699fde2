/** Output between a FIFO and the log, with agents that die at each step of it. */
import { execFileSync } from 'node:child_process';
import fs, {
  closeSync,
  constants,
  mkdtempSync,
  openSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { CriLog } from '../../../plugins/runtimes/process/cri-log.ts';
import { LogJournal, type LogStream } from '../../../plugins/runtimes/process/log-journal.ts';

const streams = ['stdout', 'stderr'] as const;
/** What changes files, and the read that follows a splice. */
const steps = [
  ...(['openSync', 'mkdirSync', 'writeSync', 'readSync', 'ftruncateSync', 'truncateSync', 'renameSync'] as const),
  'rmSync',
] as const;

class Killed extends Error {}

/** Runs `work` as a process that dies at a step of it, the write of that moment done by half or not at all; false: it lived. */
function diesAt(step: number, isTorn: boolean, work: () => void): boolean {
  const whole = Object.fromEntries(steps.map((name) => [name, fs[name]])) as unknown as Pick<
    typeof fs,
    (typeof steps)[number]
  >;
  let count = 0;
  const dying = Object.fromEntries(
    steps.map((name) => [
      name,
      (...args: readonly unknown[]) => {
        count++;
        if (count === step && isTorn && name === 'writeSync' && ArrayBuffer.isView(args[1])) {
          const [fd, { buffer, byteOffset, byteLength }, from = 0, length = byteLength, at] = args as [
            number,
            ArrayBufferView,
            number?,
            number?,
            number?,
          ];
          const bytes = new Uint8Array(buffer as ArrayBuffer, byteOffset, byteLength);
          whole.writeSync(fd, bytes, from, Math.floor((length - from) / 2), at);
        }
        if (count >= step) throw new Killed();
        return (whole[name] as unknown as (...values: readonly unknown[]) => unknown)(...args);
      },
    ]),
  );
  Object.assign(fs, dying);
  syncBuiltinESMExports();
  try {
    work();
    return false;
  } catch (error) {
    if (!(error instanceof Killed)) throw error;
    return true;
  } finally {
    Object.assign(fs, whole);
    syncBuiltinESMExports();
  }
}

interface Bed {
  readonly journal: string;
  readonly path: string;
  readonly say: (stream: LogStream, text: string) => void;
  /** A new agent, which takes what it finds until there is nothing. */
  readonly agent: () => void;
  readonly forget: () => void;
}

/** FIFOs that somebody holds open, and agents that write what is in them to a log that is rotated all the time. */
function bed(t: ExecutionContext, maxBytes: number): Bed {
  const folder = mkdtempSync(join(tmpdir(), 'pintle-journal-'));
  const fds: number[] = [];
  t.teardown(() => {
    for (const fd of fds) closeSync(fd);
    rmSync(folder, { recursive: true, force: true });
  });
  execFileSync(
    'mkfifo',
    streams.map((stream) => join(folder, stream)),
  );
  const open = (stream: LogStream): number => {
    const fd = openSync(join(folder, stream), constants.O_RDWR | constants.O_NONBLOCK);
    fds.push(fd);
    return fd;
  };
  const fifos = { stdout: open('stdout'), stderr: open('stderr') };
  const journal = join(folder, 'journal');
  const path = join(folder, 'logs', '0.log');
  return {
    ...{ journal, path },
    say: (stream, text) => void writeSync(fifos[stream], text),
    agent: () => {
      const log = new CriLog(path, maxBytes, 20, journal);
      for (const stream of streams) while (log.take(stream, fifos[stream]) !== undefined);
      log.close();
    },
    forget: () => {
      for (const name of ['logs', 'journal']) rmSync(join(folder, name), { recursive: true, force: true });
    },
  };
}

/** What the files of a log hold of a stream. A line of another form is an error. */
function text(path: string, stream: LogStream): string {
  const folder = join(path, '..');
  const files = readdirSync(folder).sort((a, b) => b.localeCompare(a, 'en', { numeric: true }));
  const content = files.map((file) => readFileSync(join(folder, file), 'utf8')).join('');
  return content
    .split(/(?<=\n)/)
    .map((line) => {
      const match = /^\S{30} (stdout|stderr) ([FP]) (.*)\n$/.exec(line);
      if (match === null) throw new Error(`no line of a log: ${JSON.stringify(line)}`);
      return match[1] === stream ? `${match[3]}${match[2] === 'F' ? '\n' : ''}` : '';
    })
    .join('');
}

const output: readonly (readonly [LogStream, string])[] = [
  ['stdout', 'one\ntwo\nthr'],
  ['stderr', 'error 1\n'],
  ['stdout', `ee\n${'x'.repeat(300)}\n\nfour\nfive\nsix\n`],
  ['stderr', 'error 2\nerror 3\n'],
];

for (const maxBytes of [250, 100_000])
  for (const isTorn of [false, true])
    test(`an agent may die at each step, and the next at each of its own: log of ${maxBytes} bytes${isTorn ? ', writes cut in two' : ''}`, (t) => {
      const { agent, say, path, forget } = bed(t, maxBytes);
      let deaths = 0;
      for (let first = 1, isDying = true; isDying; first++)
        // The second dies in what it does about the first.
        for (const second of [0, 1, 3, 6]) {
          forget();
          say('stdout', 'begun\n');
          agent();
          for (const [stream, piece] of output) say(stream, piece);
          isDying = diesAt(first, isTorn, agent);
          if (second > 0) diesAt(second, isTorn, agent);
          say('stdout', 'end\n');
          agent();
          const told = `death at step ${first}, then ${second}`;
          for (const stream of streams) {
            const said = output.map(([on, piece]) => (on === stream ? piece : '')).join('');
            t.is(text(path, stream), stream === 'stdout' ? `begun\n${said}end\n` : said, told);
          }
          if (!isDying) break;
          deaths++;
        }
      t.true(deaths > 40, `it died only ${deaths} times`);
    });

test('a journal begins anew before it is large, and is of no more than one piece then', (t) => {
  const { agent, say, journal, path } = bed(t, 1e9);
  const piece = `${'x'.repeat(40_000)}\n`;
  const sizes: number[] = [];
  for (let count = 0; count < 20; count++) {
    say('stdout', piece);
    agent();
    sizes.push(statSync(journal).size);
  }
  t.true(Math.max(...sizes) < 256 * 1024, 'it grows');
  t.true(sizes.filter((size, index) => size < sizes[index - 1]!).length > 2, 'it never began anew');
  t.is(text(path, 'stdout'), piece.repeat(20));
});

test('a journal that is done with, empty, foreign or cut short has nothing for the log', (t) => {
  const { agent, say, journal, path } = bed(t, 1e9);
  say('stdout', 'x\n');
  agent();
  const fifo = openSync(join(journal, '..', 'stdout'), constants.O_RDONLY | constants.O_NONBLOCK);
  const log = new CriLog(path, 1e9, 2, journal);
  say('stdout', 'y\n');
  t.is(String(log.take('stdout', fifo)), 'y\n');
  log.close();
  t.notThrows(() => log.close(), 'its descriptors may be of other files by now');
  closeSync(fifo);
  const whole = readFileSync(journal);
  const { ino, size } = statSync(path);
  const earlier = `${`stdout 4 ${ino} 0`.padEnd(64)}old\n`;
  for (const content of [
    whole,
    '',
    'stdout',
    'garbage '.repeat(50),
    earlier,
    '\0'.repeat(500),
    whole.subarray(0, 100),
  ]) {
    writeFileSync(journal, content);
    const opened = new LogJournal(journal);
    t.is(opened.left, undefined, String(content));
    opened.close();
    agent();
    t.is(statSync(path).size, size, 'the log was changed');
  }
  say('stdout', 'z\n');
  agent();
  t.is(text(path, 'stdout'), 'x\ny\nz\n');
});

test('what a journal holds is written to a log that was begun since, and takes nothing from it', (t) => {
  const { agent, say, path } = bed(t, 1e9);
  say('stdout', 'x\n');
  agent();
  say('stdout', 'taken\n');
  // Dies when the piece is in the journal, before it is read.
  t.true(diesAt(3, false, agent));
  rmSync(path);
  writeFileSync(`${path}.new`, '2026-01-01T00:00:00.000000000Z stdout F another log\n');
  fs.renameSync(`${path}.new`, path);
  agent();
  t.is(text(path, 'stdout'), 'another log\ntaken\n');
});
