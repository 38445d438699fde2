import { mkdirSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { PintleError } from '../kernel/contract/errors.ts';

/** Where state goes that the user gave no place for: /var/lib/pintle for root, the XDG state folder for others. */
export function defaultStateDir(env: NodeJS.ProcessEnv): string {
  if (process.geteuid?.() === 0) return '/var/lib/pintle';
  const state = env['XDG_STATE_HOME'];
  return join(state !== undefined && state.startsWith('/') ? state : join(homedir(), '.local', 'state'), 'pintle');
}

export function makeStateDir(stateDir: string): void {
  try {
    mkdirSync(stateDir, { recursive: true, mode: 0o700 });
  } catch (cause) {
    throw new PintleError(
      'PLUGIN_START_FAILED',
      `state folder ${stateDir} cannot be made: ${(cause as Error).message}. Name another one with --state-dir`,
      { cause },
    );
  }
}
