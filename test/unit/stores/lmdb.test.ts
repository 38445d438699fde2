import test, { type ExecutionContext } from 'ava';
import { execFile, fork, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { open as openLmdb } from 'lmdb';
import type { Clock } from '../../../kernel/contract/plugin.ts';
import { skipCase } from '../../../kernel/conformance/kit.ts';
import { change, commit, events, listed, watchUntil } from '../../../kernel/conformance/store/subject.ts';
import lmdb from '../../../plugins/stores/lmdb/index.ts';
import { startStore } from './start-store.ts';

function stateFolder(t: ExecutionContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'pintle-lmdb.with-dot-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

test('a second store on the same folder is refused, naming the process that has it, and may follow later', async (t) => {
  const folder = stateFolder(t);
  const first = await startStore(lmdb, folder);
  const refused = await t.throwsAsync(startStore(lmdb, folder), { code: 'STORE_FAILED' });
  t.regex(refused?.message ?? '', new RegExp(`is in use by another process \\(pid ${process.pid}\\)`));
  await commit(first, change('a', '1'));
  await first[Symbol.asyncDispose]();
  const second = await startStore(lmdb, folder);
  t.teardown(() => second[Symbol.asyncDispose]());
  t.deepEqual(listed(await second.list({ prefix: '' })), ['a=1']);
});

test('a store whose process was killed can be opened at once', async (t) => {
  const folder = stateFolder(t);
  const child = fork(new URL('./write-until-killed.js', import.meta.url), [folder], {
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
  t.teardown(() => child.kill('SIGKILL'));
  const acknowledged = await new Promise<number>((resolve, reject) => {
    child.on('message', (revision) => {
      if (Number(revision) >= 50) resolve(Number(revision));
    });
    child.on('exit', () => reject(new Error('the child ended before it was killed')));
  });
  child.removeAllListeners('exit');
  const ended = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGKILL');
  const store = await startStore(lmdb, folder);
  t.teardown(() => store[Symbol.asyncDispose]());
  await ended;
  t.true(store.status().revision >= acknowledged);
});

test('a store of an unknown format is refused and left as it is', async (t) => {
  const folder = stateFolder(t);
  await (await startStore(lmdb, folder))[Symbol.asyncDispose]();
  const setFormat = async (format: string): Promise<void> => {
    const environment = openLmdb<Buffer, Buffer>({
      path: join(folder, 'data'),
      noSubdir: false,
      overlappingSync: false,
      encoding: 'binary',
      keyEncoding: 'binary',
    });
    const meta = environment.openDB<Buffer, Buffer>({ name: 'meta', encoding: 'binary', keyEncoding: 'binary' });
    await meta.put(Buffer.from('format'), Buffer.from(format));
    await environment.close();
  };
  await setFormat('2');
  const refused = await t.throwsAsync(startStore(lmdb, folder), { code: 'STORE_FAILED' });
  t.regex(refused?.message ?? '', /has format 2; this version reads and writes format 1/);
  await setFormat('1');
  await (await startStore(lmdb, folder))[Symbol.asyncDispose]();
});

test('a damaged file is refused with its path', async (t) => {
  const folder = stateFolder(t);
  mkdirSync(join(folder, 'data'));
  writeFileSync(join(folder, 'data', 'data.mdb'), 'this is no store'.repeat(1_000));
  const refused = await t.throwsAsync(startStore(lmdb, folder), { code: 'STORE_FAILED' });
  t.true(refused?.message.includes(folder));
  t.regex(refused?.message ?? '', /is damaged or no LMDB file/);
});

test('a state folder that cannot be used is a clear error', async (t) => {
  const folder = stateFolder(t);
  writeFileSync(join(folder, 'file'), '');
  const refused = await t.throwsAsync(startStore(lmdb, join(folder, 'file')), { code: 'STORE_FAILED' });
  t.regex(refused?.message ?? '', /cannot be opened \(ENOTDIR/);
});

test('history is kept by count and age, off the write path', async (t) => {
  const folder = stateFolder(t);
  const ticks: (() => void)[] = [];
  const clock: Clock = {
    now: () => 0,
    sleep: (_, signal) =>
      new Promise((resolve, reject) => {
        const onAbort = (): void => reject(signal?.reason as Error);
        signal?.addEventListener('abort', onAbort, { once: true });
        ticks.push(() => {
          signal?.removeEventListener('abort', onAbort);
          resolve();
        });
      }),
  };
  const tick = async (): Promise<void> => {
    ticks.shift()!();
    while (ticks.length === 0) await new Promise((resolve) => setImmediate(resolve));
  };
  const history = { keepSeconds: 60, keepRevisions: 5, maxRevisions: 100 };
  const store = await startStore(lmdb, folder, { history }, clock);
  t.teardown(() => store[Symbol.asyncDispose]());
  for (let value = 0; value < 20; value++) await commit(store, change('a', String(value)));
  for (let count = 0; count < 12; count++) await tick();
  t.is(store.status().compacted, 0, 'nothing is 60 seconds old');
  await tick();
  t.is(store.status().compacted, 16, 'all is old, and 5 revisions stay');
  for (let value = 0; value < 200; value++) await commit(store, change('a', String(value)));
  await tick();
  t.is(store.status().compacted, 121, 'of the young ones 100 stay');
  t.is(events(await watchUntil(store, { prefix: '', after: 121 }, 221)).length, 100);
});

test('the file does not grow when the same keys are written over and over', async (t) => {
  const folder = stateFolder(t);
  const store = await startStore(lmdb, folder);
  t.teardown(() => store[Symbol.asyncDispose]());
  const value = 'x'.repeat(10_000);
  const write = async (): Promise<number> => {
    for (let round = 0; round < 50; round++)
      await Promise.all(Array.from({ length: 10 }, (_, key) => commit(store, change(`k${key}`, value))));
    await store.compact(store.status().revision);
    return store.status().sizeBytes;
  };
  const once = await write();
  await write();
  const sizes = [await write(), await write(), await write()];
  t.true(Math.max(...sizes) <= once * 2, `${once} bytes after one round, then ${sizes.join(', ')}`);
});

test('an entry that was listed is not changed by compaction and later writes', async (t) => {
  const folder = stateFolder(t);
  const store = await startStore(lmdb, folder, { cacheBytes: 0 });
  t.teardown(() => store[Symbol.asyncDispose]());
  await commit(store, ...Array.from({ length: 5_000 }, (_, index) => change(`k${index}`, `first ${index}`)));
  const listing = store.list({ prefix: 'k' });
  await commit(store, ...Array.from({ length: 5_000 }, (_, index) => change(`k${index}`, `second ${index}`)));
  await store.compact(3);
  const { entries, revision } = await listing;
  t.is(revision, 2);
  t.is(entries.length, 5_000);
  t.true(entries.every(({ key, value }) => new TextDecoder().decode(value) === `first ${key.slice(1)}`));
});

const synced = 'an acknowledged commit was synced before, and commits at once share a sync';
const hasStrace = spawnSync('strace', ['--version']).status === 0;
if (!hasStrace) skipCase(test, synced, 'strace is not installed: apt-get install strace');
(hasStrace ? test : test.skip)(synced, async (t) => {
  const folder = stateFolder(t);
  const trace = join(folder, 'trace');
  const script = new URL('./write-and-tell.js', import.meta.url).pathname;
  const argv = ['-f', '-o', trace, '-e', 'trace=fdatasync,openat,write,pwrite64', process.execPath, script, folder];
  await promisify(execFile)('strace', argv);
  const lines = readFileSync(trace, 'utf8').split('\n');
  const told = lines.findIndex((line) => line.includes('"acknowledged'));
  const asked = lines.findIndex((line) => line.includes('"committing'));
  t.true(asked !== -1 && told > asked);
  const between = lines.slice(asked, told);
  const flushed = between.findIndex((line) => line.includes('fdatasync('));
  const dataDescriptor = /O_DSYNC.*= (\d+)/.exec(lines.find((line) => line.includes('O_DSYNC')) ?? '')?.[1];
  const meta = between.findIndex((line) => line.includes(`pwrite64(${dataDescriptor},`));
  t.true(flushed !== -1, 'the pages were synced');
  t.true(meta > flushed, 'then the meta page was written through');
  const many = lines.findIndex((line) => line.includes('"many'));
  const got = lines.findIndex((line) => line.includes('"got 64 revisions'));
  t.true(many !== -1 && got > many, 'each commit has its own revision');
  const syncs = lines.slice(many, got).filter((line) => line.includes('fdatasync(')).length;
  t.true(syncs >= 1 && syncs <= 4, `64 commits at once took ${syncs} syncs`);
});
