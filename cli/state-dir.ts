import { existsSync, mkdirSync, statSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { PintleError } from '../kernel/contract/errors.ts';

/** Where state goes that the user gave no place for: /var/lib/pintle for root, the XDG state folder for others. */
export function defaultStateDir(env: NodeJS.ProcessEnv): string {
  if (process.geteuid?.() === 0) return '/var/lib/pintle';
  const state = env['XDG_STATE_HOME'];
  return join(state !== undefined && state.startsWith('/') ? state : join(homedir(), '.local', 'state'), 'pintle');
}

export function makeStateDir(stateDir: string): void {
  try {
    makeFolder(stateDir);
  } catch (cause) {
    throw new PintleError(
      'PLUGIN_START_FAILED',
      `state folder ${stateDir} cannot be made: ${(cause as Error).message}. Name another one with --state-dir`,
      { cause },
    );
  }
}

/** Node's own `recursive` never ends in a file system that answers ENOENT for every new name, as /proc does. */
function makeFolder(path: string): void {
  try {
    mkdirSync(path, { mode: 0o700 });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' && !existsSync(dirname(path))) {
      makeFolder(dirname(path));
      mkdirSync(path, { mode: 0o700 });
    } else if (!statSync(path, { throwIfNoEntry: false })?.isDirectory()) throw error;
  }
}
