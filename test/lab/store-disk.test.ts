import test, { type ExecutionContext } from 'ava';
import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { isPintleError, type PintleError } from '../../kernel/contract/errors.ts';
import type { Store } from '../../kernel/contract/store.ts';
import { change, commit, listed, watchUntil } from '../../kernel/conformance/store/subject.ts';
import lmdb from '../../plugins/stores/lmdb/index.ts';
import { startStore } from '../unit/stores/start-store.ts';

const run = promisify(execFile);
const mebibyte = 1_048_576;

/** A file system of its own, of so many MiB, seen by nobody else: the lane runs in a private mount namespace. */
async function mountDisk(t: ExecutionContext, sizeMiB: number): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), 'pintle-disk-'));
  await run('mount', ['-t', 'tmpfs', '-o', `size=${sizeMiB}m`, 'tmpfs', folder]);
  t.teardown(async () => {
    await run('umount', ['-l', folder]);
    rmSync(folder, { recursive: true, force: true });
  });
  return folder;
}

/** Commits until the store refuses; resolves to the keys that were acknowledged, and the refusal. */
async function fill(store: Store, name: string): Promise<{ keys: string[]; refusal: PintleError }> {
  const keys: string[] = [];
  for (let index = 0; index < 1_000; index++) {
    const key = `${name}${String(index).padStart(4, '0')}`;
    try {
      await store.commit([{ key, value: new Uint8Array(256 * 1_024).fill(index) }]);
    } catch (error) {
      if (!isPintleError(error)) throw error;
      return { keys, refusal: error };
    }
    keys.push(key);
  }
  throw new Error('the disk never became full');
}

function useUpTheRest(path: string): void {
  try {
    for (;;) writeFileSync(path, Buffer.alloc(4_096), { flag: 'a' });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
  }
}

async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await holds())) await new Promise((resolve) => setTimeout(resolve, 20));
}

async function keysOf(store: Store): Promise<string[]> {
  return (await store.list({ prefix: '' })).entries.map(({ key }) => key);
}

for (const reserveBytes of [0, 16 * mebibyte])
  test.serial(
    `a full disk makes the store read-only, with nothing lost, until there is space (reserve ${reserveBytes})`,
    async (t) => {
      const disk = await mountDisk(t, reserveBytes === 0 ? 12 : 28);
      const ballast = join(disk, 'ballast');
      writeFileSync(ballast, Buffer.alloc(6 * mebibyte));
      const state = join(disk, 'state');
      mkdirSync(state);
      const store = await startStore(lmdb, state, { reserveBytes });
      let open: AsyncDisposable = store;
      t.teardown(() => open[Symbol.asyncDispose]());

      const { keys, refusal } = await fill(store, 'k');
      t.is(refusal.code, 'STORE_READ_ONLY');
      t.true(keys.length > 3);
      const revision = keys.length + 1;
      t.is(store.status().revision, revision);
      t.false(store.status().writable);
      t.regex(store.status().reason ?? '', /no space is left|the disk is full/);
      t.deepEqual(await keysOf(store), keys, 'exactly what was acknowledged is there');
      const refused = { code: 'STORE_READ_ONLY' };
      const large = { key: 'z', value: new Uint8Array(3 * mebibyte) };
      await Promise.all([
        t.throwsAsync(store.commit([large]), refused),
        t.throwsAsync(store.commit([change('a', '1'), large]), refused),
      ]);
      t.is(await store.get('a'), undefined, 'nothing of a refused transaction is there');
      t.is(store.status().revision, revision);
      const seen = (await watchUntil(store, { prefix: '', after: 1 }, revision)).flatMap((batch) => batch.events);
      t.deepEqual(
        seen.map(({ key }) => key),
        keys,
      );

      rmSync(ballast);
      await until(() => store.status().writable);
      t.is(await commit(store, change('z', 'again')), revision + 1);
      await store.compact(revision + 1);
      await store[Symbol.asyncDispose]();
      const again = await startStore(lmdb, state, { reserveBytes });
      open = again;
      t.deepEqual(await keysOf(again), [...keys, 'z']);
      t.deepEqual(listed(await again.list({ prefix: 'z' })), ['z=again']);
    },
  );

test.serial('compaction that a full disk stops is visible, and goes on when there is space', async (t) => {
  const disk = await mountDisk(t, 12);
  const ballast = join(disk, 'ballast');
  writeFileSync(ballast, Buffer.alloc(4 * mebibyte));
  const state = join(disk, 'state');
  mkdirSync(state);
  const store = await startStore(lmdb, state, { reserveBytes: 0 });
  let open: AsyncDisposable = store;
  t.teardown(() => open[Symbol.asyncDispose]());
  for (let value = 0; value < 50; value++) await commit(store, change('a', String(value)));
  await fill(store, 'k');
  useUpTheRest(join(disk, 'rest'));
  t.false(store.status().writable);
  const refused = await t.throwsAsync(store.compact(40), { code: 'STORE_READ_ONLY' });
  t.regex(refused?.message ?? '', /compaction is stopped/);
  t.is(store.status().reason, refused?.message);

  rmSync(ballast);
  await until(() => store.status().writable);
  t.is(store.status().reason, undefined);
  await store.compact(40);
  await store[Symbol.asyncDispose]();
  const again = await startStore(lmdb, state, { reserveBytes: 0 });
  open = again;
  t.is(again.status().compacted, 40);
  t.deepEqual(listed(await again.list({ prefix: 'a', revision: 40 })), ['a=38']);
  await t.throwsAsync(again.list({ prefix: 'a', revision: 39 }), { code: 'COMPACTED' });
});

test.serial('a store on a read-only file system does not start, and says why', async (t) => {
  const disk = await mountDisk(t, 12);
  const state = join(disk, 'state');
  mkdirSync(state);
  await (await startStore(lmdb, state))[Symbol.asyncDispose]();
  await run('mount', ['-o', 'remount,ro', disk]);
  const error = await t.throwsAsync(startStore(lmdb, state), { code: 'STORE_FAILED' });
  t.regex(
    error?.message ?? '',
    /store\/lmdb: its files in .*state cannot be opened \(EROFS.*expected a folder that this user may write/,
  );
});
