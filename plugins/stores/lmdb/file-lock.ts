/**
 * One process a store. Node has no flock(2), so util-linux's `flock` takes the lock on a descriptor that it inherits: the
 * lock belongs to the open file, which this process keeps, and the kernel frees it when the process ends, however it ends.
 */
import { spawn } from 'node:child_process';
import { closeSync, ftruncateSync, openSync, readFileSync, writeSync } from 'node:fs';
import { PintleError } from '../../../kernel/contract/errors.ts';

/** A process that was just killed may need a moment to end. */
const waitSeconds = 2;
const heldExitCode = 75;

/** Returns the function that frees the lock. */
export async function lockFile(path: string, what: string): Promise<() => void> {
  const descriptor = openSync(path, 'a+', 0o600);
  try {
    const { exitCode, stderr } = await flock(descriptor);
    if (exitCode === heldExitCode) {
      const holder = readFileSync(path, 'utf8').trim();
      throw new PintleError(
        'STORE_FAILED',
        `${what} is in use by another process${holder === '' ? '' : ` (pid ${holder})`}; expected to be its only user. ` +
          'Stop the other process, or choose another state folder.',
        { details: { path, pid: Number(holder) } },
      );
    }
    if (exitCode !== 0)
      throw new PintleError('STORE_FAILED', `${what} cannot be locked: flock ended with ${exitCode}. ${stderr}`, {
        details: { path },
      });
    ftruncateSync(descriptor);
    writeSync(descriptor, `${process.pid}\n`);
  } catch (error) {
    closeSync(descriptor);
    throw error;
  }
  let isHeld = true;
  return () => {
    if (isHeld) closeSync(descriptor);
    isHeld = false;
  };
}

function flock(descriptor: number): Promise<{ exitCode: number | null; stderr: string }> {
  return new Promise((resolve, reject) => {
    const argv = ['--exclusive', '--wait', String(waitSeconds), '--conflict-exit-code', String(heldExitCode), '3'];
    const child = spawn('flock', argv, { stdio: ['ignore', 'ignore', 'pipe', descriptor] });
    let stderr = '';
    child.stderr?.setEncoding('utf8').on('data', (text: string) => (stderr += text));
    child.on('error', (cause) =>
      reject(
        new PintleError(
          'STORE_FAILED',
          'The command flock could not be run; expected it on PATH. Install it: apt-get install util-linux',
          { cause },
        ),
      ),
    );
    child.on('close', (exitCode) => resolve({ exitCode, stderr: stderr.trim() }));
  });
}
