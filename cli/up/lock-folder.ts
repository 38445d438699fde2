/**
 * One `pintle up` at a time works on a folder. The lock is a unix socket of the abstract namespace (unix(7)): taken in
 * one step, gone with its process however that ends, and nothing in the file system.
 */
import { once } from 'node:events';
import { statSync } from 'node:fs';
import { createServer } from 'node:net';
import { PintleError } from '../../kernel/contract/errors.ts';

/** For as long as this process lives, or until the lock is closed. */
export async function lockFolder(folder: string): Promise<{ close(): void }> {
  const { dev, ino } = statSync(folder);
  const lock = createServer((caller) => caller.destroy());
  try {
    lock.listen(`\0pintle-up ${dev}:${ino}`);
    await once(lock, 'listening');
  } catch (cause) {
    throw new PintleError(
      'ALREADY_EXISTS',
      `another "pintle up" is at work in ${folder}; wait for it, "pintle down" ends it, --state-dir names another folder`,
      { cause },
    );
  }
  lock.unref();
  return lock;
}
