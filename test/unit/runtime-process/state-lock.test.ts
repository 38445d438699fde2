import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { lockState } from '../../../plugins/runtimes/process/state-lock.ts';

test('a state folder has one agent, until that has ended', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'pintle-lock-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const unlock = lockState(folder);
  t.throws(() => lockState(folder), { message: new RegExp(`process ${process.pid}`) });
  unlock();
  lockState(folder)();

  const other = spawn('sleep', ['1000']);
  t.teardown(() => other.kill('SIGKILL'));
  const line = readFileSync(`/proc/${other.pid}/stat`, 'utf8');
  writeFileSync(join(folder, 'agent'), line);
  t.throws(() => lockState(folder), { message: new RegExp(`process ${other.pid}`) });
  other.kill('SIGKILL');
  await once(other, 'exit');
  lockState(folder)();

  writeFileSync(join(folder, 'agent'), line.replace(/^\d+/, String(process.pid)));
  t.notThrows(() => lockState(folder)(), 'a pid that was given to another process is taken for its holder');
});
