import { join } from 'node:path';
import { z } from 'zod';
import { isPintleError, PintleError } from '../../../kernel/contract/errors.ts';
import { definePlugin } from '../../../kernel/contract/plugin.ts';
import { lockFile } from './file-lock.ts';
import { LmdbFile } from './lmdb-file.ts';
import { LmdbStore } from './lmdb-store.ts';

const config = z
  .strictObject({
    history: z
      .strictObject({
        keepSeconds: z
          .number()
          .positive()
          .max(86_400)
          .default(60)
          .describe('How long old revisions stay readable and watchable'),
        keepRevisions: z.int().nonnegative().default(5_000).describe('Revisions that stay, however old they are'),
        maxRevisions: z
          .int()
          .positive()
          .default(50_000)
          .describe('Revisions that stay at most, however young they are'),
      })
      .prefault({}),
    reserveBytes: z
      .int()
      .nonnegative()
      .default(16 * 1_048_576)
      .describe('Free disk space below which writes are refused'),
    cacheBytes: z
      .int()
      .nonnegative()
      .default(8 * 1_048_576)
      .describe('Memory for the newest values; older ones are read from the file'),
  })
  .prefault({});

export default definePlugin({
  kind: 'store',
  name: 'lmdb',
  api: 1,
  summary: 'Keeps the cluster state in a file: durable, for one server',
  config,
  capabilities: ['durable'],
  preflight: async (host) =>
    host.command('flock') === undefined
      ? { ok: false, reason: 'the command flock is missing', fix: 'apt-get install util-linux' }
      : { ok: true },
  start: async ({ config: options, stateDir, clock, log }) => {
    const unlock = await lockFile(join(stateDir, 'lock'), `The store in ${stateDir}`).catch((error: unknown) => {
      throw startError(stateDir, error);
    });
    try {
      const file = await LmdbFile.open(join(stateDir, 'data'));
      try {
        return new LmdbStore(file, unlock, { ...options, clock, log });
      } catch (error) {
        await file.close();
        throw error;
      }
    } catch (error) {
      unlock();
      throw startError(stateDir, error);
    }
  },
});

function startError(stateDir: string, error: unknown): unknown {
  if (isPintleError(error)) return error;
  return new PintleError(
    'STORE_FAILED',
    `store/lmdb: its files in ${stateDir} cannot be opened (${error instanceof Error ? error.message : String(error)}); ` +
      'expected a folder that this user may write, on a file system with space, with an undamaged store or none in it.',
    { cause: error, details: { path: stateDir } },
  );
}
