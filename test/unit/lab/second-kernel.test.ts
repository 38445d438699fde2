import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import { cpioArchive } from '../../../lab/kernels/cpio.ts';
import { kernelProblem, openKernel } from '../../../lab/kernels/run-on.ts';
import { shellWords } from '../../../lab/kernels/shell-words.ts';

test('words survive a shell', (t) => {
  const words = ['plain', 'two words', `it's`, '"$HOME" `id` \\', '', '-n\n', '*'];
  const { stdout } = spawnSync('sh', ['-c', `for word in ${shellWords(words)}; do printf '%s|' "$word"; done`], {
    encoding: 'utf8',
  });
  t.is(stdout, `${words.join('|')}|`);
});

test('an archive has a header of 110 bytes, the name and the data, each padded to 4, and a trailer', (t) => {
  const archive = cpioArchive([{ path: 'bin' }, { path: 'bin/a', data: Buffer.from('hello'), isExecutable: true }]);
  t.is(archive.subarray(0, 6).toString(), '070701');
  t.is(archive.subarray(14, 22).toString(), '000041ed', 'a folder, mode 755');
  const second = 110 + 'bin\0'.length + 2;
  t.is(archive.subarray(second + 14, second + 22).toString(), '000081ed', 'an executable file');
  t.is(archive.subarray(second + 54, second + 62).toString(), '00000005', 'its size');
  t.is(archive.subarray(second + 110, second + 116).toString(), 'bin/a\0');
  t.is(archive.subarray(second + 116, second + 121).toString(), 'hello');
  t.true(archive.includes('TRAILER!!!'));
  t.is(archive.length % 4, 0);
});

test('target host is this kernel: output and exit code are the command’s', async (t) => {
  const output: string[] = [];
  const exitCode = await openKernel('host').run({
    argv: ['sh', '-c', 'echo "$WORD"; echo bad >&2; exit 7'],
    cwd: '/',
    env: { PATH: process.env['PATH'] ?? '', WORD: 'good' },
    onOutput: (stream, chunk) => void output.push(`${stream} ${chunk.toString()}`),
  });
  t.is(exitCode, 7);
  t.deepEqual(output.sort(), ['stderr bad\n', 'stdout good\n']);
});

test('a target without its files says what to do', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'pintle-kernels-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  for (const target of ['uml', 'vm'] as const)
    t.regex(kernelProblem(target, folder)?.fix ?? '', /fetch-kernels|apt-get|--target host/);
  t.is(kernelProblem('host', folder), undefined);
});

test('run-on explains its use', (t) => {
  const program = fileURLToPath(new URL('../../../lab/kernels/run-on.js', import.meta.url));
  const { status, stderr } = spawnSync(process.execPath, [program, '--target', 'moon', '--', 'true'], {
    encoding: 'utf8',
  });
  t.is(status, 125);
  t.regex(stderr, /--target host\|uml\|vm/);
});
