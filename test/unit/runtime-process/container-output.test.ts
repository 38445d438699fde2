import { execFileSync } from 'node:child_process';
import {
  closeSync,
  constants,
  existsSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import { ContainerOutput } from '../../../plugins/runtimes/process/container-output.ts';
import { CriLog } from '../../../plugins/runtimes/process/cri-log.ts';
import { FifoWatch } from '../../../plugins/runtimes/process/fifo-watch.ts';

/** A folder with FIFOs, which somebody holds open as the shim does. */
function container(t: ExecutionContext) {
  const folder = mkdtempSync(join(tmpdir(), 'pintle-output-'));
  const names = ['stdout', 'stderr'] as const;
  execFileSync(
    'mkfifo',
    names.map((name) => join(folder, `${name}.fifo`)),
  );
  const [stdout = 0, stderr = 0] = names.map((name) =>
    openSync(join(folder, `${name}.fifo`), constants.O_RDWR | constants.O_NONBLOCK),
  );
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const path = join(folder, '0.log');
  return {
    ...{ folder, stdout, stderr },
    open: () => new ContainerOutput(folder, new CriLog(path, 1e9, 2, join(folder, 'journal'))),
    lines: () =>
      existsSync(path)
        ? readFileSync(path, 'utf8')
            .split('\n')
            .slice(0, -1)
            .map((line) => line.slice(line.indexOf(' ') + 1))
        : [],
    letGo: () => {
      closeSync(stdout);
      closeSync(stderr);
    },
  };
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await pause(2);
}

test('a FIFO that is watched is told of and keeps what it has; its end is told of too', async (t) => {
  const { folder, stdout, letGo } = container(t);
  const fd = openSync(join(folder, 'stdout.fifo'), constants.O_RDONLY | constants.O_NONBLOCK);
  let wakes = 0;
  const watch = new FifoWatch(fd, () => wakes++);
  t.teardown(() => watch.destroy());
  watch.resume();
  await pause(20);
  t.is(wakes, 0, 'of nothing');
  const buffer = Buffer.alloc(100);
  for (let count = 1; count <= 3; count++) {
    writeSync(stdout, `piece ${count}`);
    await until(() => wakes === count);
    await pause(20);
    t.is(wakes, count, 'it pauses');
    t.is(buffer.toString('utf8', 0, readSync(fd, buffer)), `piece ${count}`);
    watch.resume();
  }
  letGo();
  await until(() => wakes === 4);
  t.is(readSync(fd, buffer), 0);
  t.false(watch.destroyed);
});

test('output goes to the log and to who is attached, until nobody holds the FIFOs', async (t) => {
  const { stdout, stderr, open, lines, letGo } = container(t);
  writeSync(stdout, 'before\n');
  const output = open();
  const heard: string[] = [];
  output.listen('stderr').on('data', (chunk: Buffer) => heard.push(String(chunk)));
  await until(() => lines().length === 1);
  writeSync(stderr, 'now\n');
  await until(() => lines().length === 2);
  writeSync(stdout, 'one\n');
  await until(() => lines().length === 3);
  writeSync(stdout, 'end');
  letGo();
  await output.drained;
  output.close();
  t.deepEqual(lines(), ['stdout F before', 'stderr F now', 'stdout F one', 'stdout P end']);
  t.deepEqual(heard, ['now\n']);
});

test('what is in the FIFOs is in the log when they have been emptied; what comes later follows', async (t) => {
  const { stdout, stderr, open, lines, letGo } = container(t);
  const output = open();
  writeSync(stdout, 'last\n');
  writeSync(stderr, 'words\n');
  output.empty();
  t.deepEqual(lines(), ['stdout F last', 'stderr F words']);
  writeSync(stdout, 'later\n');
  await until(() => lines().length === 3);
  letGo();
  await output.drained;
  output.close();
  t.is(lines().length, 3);
});

test('what is closed leaves the rest in the FIFOs for the next', async (t) => {
  const { stdout, open, lines, letGo } = container(t);
  const first = open();
  writeSync(stdout, 'one\n');
  await until(() => lines().length === 1);
  writeSync(stdout, 'two\n');
  first.close();
  await pause(20);
  t.is(lines().length, 1);
  const second = open();
  await until(() => lines().length === 2);
  letGo();
  await second.drained;
  second.close();
  t.deepEqual(lines(), ['stdout F one', 'stdout F two']);
});
