/** One agent at a time on a state folder: two would clean up after each other. Ends with the process that holds it. */
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { PintleError } from '../../../kernel/contract/index.ts';
import { isAlive, recordedProcess } from './procfs.ts';

/** Resolves to what gives it up. */
export function lockState(folder: string): () => void {
  const path = join(folder, 'agent');
  for (let tries = 0; tries < 10; tries++) {
    try {
      writeFileSync(path, readFileSync('/proc/self/stat', 'utf8'), { flag: 'wx' });
      return () => rmSync(path, { force: true });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
    const holder = recordedProcess(path);
    if (isAlive(holder))
      throw new PintleError(
        'UNAVAILABLE',
        `state folder ${folder} is in use by process ${holder?.pid}: expected one agent on it; stop that one first`,
      );
    rmSync(path, { force: true });
  }
  throw new PintleError('UNAVAILABLE', `state folder ${folder} could not be locked: others try at the same time`);
}
