import { execFileSync } from 'node:child_process';
import { closeSync, constants, mkdtempSync, openSync, readFileSync, readSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { spliceFromPipe } from '../../../netplugins/linux/splice.ts';

test('bytes go from a pipe to a place in a file; an empty pipe, its end and a refusal are told apart', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'pintle-splice-'));
  const path = join(folder, 'fifo');
  const target = join(folder, 'file');
  execFileSync('mkfifo', [path]);
  const pipe = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  const writer = openSync(path, 'w');
  const file = openSync(target, 'w');
  const appending = openSync(target, 'a');
  t.teardown(() => {
    for (const fd of [pipe, file, appending]) closeSync(fd);
    rmSync(folder, { recursive: true, force: true });
  });
  t.is(spliceFromPipe(pipe, file, 0, 100), undefined);
  writeSync(writer, 'one two');
  t.is(spliceFromPipe(pipe, file, 3, 4), 4);
  t.is(readFileSync(target, 'utf8'), '\0\0\0one ');
  // The kernel does not move bytes to the end of whatever the file will be.
  t.throws(() => spliceFromPipe(pipe, appending, 0, 100), { code: 'KERNEL_REFUSED', message: /from a pipe.*EINVAL/ });
  const rest = Buffer.alloc(10);
  t.is(rest.toString('utf8', 0, readSync(pipe, rest)), 'two', 'a refusal took something');
  writeSync(writer, 'x');
  closeSync(writer);
  t.is(spliceFromPipe(pipe, file, 0, 100), 1);
  t.is(spliceFromPipe(pipe, file, 1, 100), 0);
});
