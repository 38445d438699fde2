import { PassThrough, Writable } from 'node:stream';
import test from 'ava';
import type { ProcessStreams } from '../../../kernel/contract/index.ts';
import { carryProcess, type ClientChannels } from '../../../plugins/components/api-server/streams/carry-process.ts';

test('the end of a process does not overtake its output on a slow client', async (t) => {
  const said: string[] = [];
  const slow = (name: string) =>
    new Writable({
      write(chunk: Buffer, _encoding, callback) {
        setTimeout(() => {
          said.push(`${name} ${chunk.toString()}`);
          callback();
        }, 2);
      },
    });
  const process: ProcessStreams = {
    stdin: undefined,
    stdout: new PassThrough(),
    stderr: new PassThrough(),
    resize() {},
    close() {},
    exited: Promise.resolve({ exitCode: 3 }),
  };
  const stdout = process.stdout as PassThrough;
  for (let count = 0; count < 5; count += 1) setTimeout(() => stdout.write(`${count}`), count);
  setTimeout(() => stdout.end(), 5);
  (process.stderr as PassThrough).end('oops');
  const channels: ClientChannels = {
    stdin: undefined,
    stdout: slow('out'),
    stderr: slow('err'),
    onResize() {},
    onClose() {},
    finish: (status) => said.push(JSON.stringify(status)),
  };
  await carryProcess(process, channels);
  const output = said.slice(0, -1).filter((line) => line.startsWith('out'));
  t.is(output.map((line) => line.slice(4)).join(''), '01234');
  t.true(said.includes('err oops'));
  t.regex(said.at(-1)!, /NonZeroExitCode/);
});
