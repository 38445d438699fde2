import test from 'ava';
import { terminalResizer, type TerminalSize } from '../../../kernel/machinery/terminal-resizer.ts';

const running = new Promise<void>(() => {});

test('a size that comes before there is a terminal is set once there is one; the newest holds', async (t) => {
  const set: number[] = [];
  let looks = 0;
  await new Promise<void>((resolve) => {
    const resize = terminalResizer(async ({ columns }) => {
      looks += 1;
      if (looks < 4) return false;
      set.push(columns);
      if (columns === 2) resolve();
      return true;
    }, running);
    resize({ columns: 1, rows: 1 });
    resize({ columns: 2, rows: 1 });
  });
  t.deepEqual(set, [2]);
});

test('sizes do not overtake each other, and one that cannot be set at the moment is tried again', async (t) => {
  const began: number[] = [];
  let release = (): void => undefined;
  let done = (): void => undefined;
  const finished = new Promise<void>((resolve) => (done = resolve));
  const resize = terminalResizer(async ({ columns }: TerminalSize) => {
    began.push(columns);
    if (columns === 1) await new Promise<void>((resolve) => (release = resolve));
    if (columns === 3 && began.filter((each) => each === 3).length === 1) throw new Error('busy');
    if (columns === 3) done();
    return true;
  }, running);
  for (const columns of [1, 2, 3]) resize({ columns, rows: 1 });
  t.deepEqual(began, [1]);
  release();
  await finished;
  t.deepEqual(began, [1, 3, 3]);
});

test('nobody tries any more when the process has ended', async (t) => {
  let end = (): void => undefined;
  const ended = new Promise<void>((resolve) => (end = resolve));
  let looks = 0;
  const resize = terminalResizer(async () => {
    looks += 1;
    end();
    return false;
  }, ended);
  resize({ columns: 1, rows: 1 });
  await ended;
  await new Promise((resolve) => setImmediate(resolve));
  resize({ columns: 2, rows: 1 });
  await new Promise((resolve) => setTimeout(resolve, 50));
  t.is(looks, 1);
});
