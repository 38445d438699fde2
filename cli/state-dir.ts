import { homedir } from 'node:os';
import { join } from 'node:path';

/** Where state goes that the user gave no place for: /var/lib/pintle for root, the XDG state folder for others. */
export function defaultStateDir(env: NodeJS.ProcessEnv): string {
  if (process.geteuid?.() === 0) return '/var/lib/pintle';
  const state = env['XDG_STATE_HOME'];
  return join(state !== undefined && state.startsWith('/') ? state : join(homedir(), '.local', 'state'), 'pintle');
}
