/**
 * The file of the store: two LMDB tables, `log` (record.ts) and `meta` (format, revision, compacted). What is in memory
 * beside it (the MVCC index) is rebuilt from the log at start.
 *
 * LMDB runs its classic protocol here: pages, fdatasync, then the meta page through a descriptor opened with O_DSYNC.
 * lmdb-js's `overlappingSync` would save one of the two flushes; it makes a transaction visible before it is durable.
 *
 * No synchronous transaction may run beside an asynchronous one: lmdb-js would commit the first half of the latter.
 */
import {
  closeSync,
  existsSync,
  fstatSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readSync,
  statfsSync,
  statSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import type { Database, RootDatabase } from 'lmdb';
import { PintleError } from '../../../kernel/contract/errors.ts';
import type { Version } from '../../../kernel/machinery/store/keyspace.ts';
import { decodeVersion, encodeLogKey, valueOf } from './record.ts';

const format = 1;
const dataFile = 'data.mdb';
/** Of an LMDB meta page: after the page header of 24 bytes, 0xBEEFC0DE in the byte order of the machine. */
const magic = Buffer.from('dec0efbe', 'hex');
const magicAt = 24;
const formatKey = Buffer.from('format');
const stateKey = Buffer.from('state');
const probeKey = Buffer.from('probe');
const probeBytes = 65_536;
const binary = { encoding: 'binary', keyEncoding: 'binary' } as const;

export interface LogAppend {
  readonly version: Version;
  readonly record: Buffer;
}

export interface FileState {
  readonly revision: number;
  readonly compacted: number;
}

interface Tables {
  readonly environment: RootDatabase<Buffer, Buffer>;
  readonly log: Database<Buffer, Buffer>;
  readonly meta: Database<Buffer, Buffer>;
}

export class LmdbFile {
  readonly #open: () => Tables;
  readonly #folder: string;
  #tables: Tables;
  #sizeBytes = 0;

  private constructor(folder: string, open: () => Tables) {
    this.#folder = folder;
    this.#open = open;
    this.#tables = open();
    this.#measure();
  }

  static async open(folder: string): Promise<LmdbFile> {
    const lmdb = await import('lmdb');
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    checkMagic(join(folder, dataFile));
    const open = (): Tables => {
      const environment = lmdb.open<Buffer, Buffer>({
        path: folder,
        // Else lmdb-js takes a path with a dot for a file.
        noSubdir: false,
        overlappingSync: false,
        maxDbs: 4,
        ...binary,
      });
      return {
        environment,
        log: environment.openDB<Buffer, Buffer>({ name: 'log', ...binary }),
        meta: environment.openDB<Buffer, Buffer>({ name: 'meta', ...binary }),
      };
    };
    const file = new LmdbFile(folder, open);
    try {
      await file.#checkFormat();
      // LMDB syncs its file; that the file is in its folder, and the folder in its own, is for us to sync.
      syncFolder(folder);
      syncFolder(dirname(folder));
    } catch (error) {
      await file.close();
      throw error;
    }
    return file;
  }

  /** As of the last write: the status is asked for often. */
  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  /** Bytes that a process like this one may still write to the file system. */
  get freeBytes(): number {
    const { bavail, bsize } = statfsSync(this.#folder);
    return bavail * bsize;
  }

  /** What is durable. */
  state(): FileState {
    const state = this.#tables.meta.getBinary(stateKey);
    return state === undefined
      ? { revision: 1, compacted: 0 }
      : { revision: state.readUIntBE(0, 6), compacted: state.readUIntBE(6, 6) };
  }

  *versions(): Generator<Version, void, undefined> {
    for (const { key, value } of this.#tables.log.getRange({})) yield decodeVersion(key, value);
  }

  readValue(version: Version): Buffer {
    const key = encodeLogKey(version.revision, version.index);
    let record = this.#tables.log.getBinary(key);
    if (record === undefined) {
      // The read transaction may be older than the version.
      this.#tables.environment.resetReadTxn();
      record = this.#tables.log.getBinary(key);
    }
    if (record === undefined)
      throw new PintleError(
        'STORE_FAILED',
        `store/lmdb: revision ${version.revision} of key "${version.key}" is missing from ${this.#folder}; the file is damaged. Restore a backup.`,
      );
    return valueOf(record);
  }

  /** One durable transaction. Rejects with LMDB's or the system's error; `reopen` before the next one then. */
  async write(change: {
    readonly appends: readonly LogAppend[];
    readonly removes: readonly Version[];
    readonly state: FileState;
    /** Also takes and frees some space, to find out whether there is any. */
    readonly isProbe?: boolean;
  }): Promise<void> {
    const { log, meta } = this.#tables;
    const { revision, compacted } = change.state;
    const state = Buffer.allocUnsafe(12);
    state.writeUIntBE(revision, 0, 6);
    state.writeUIntBE(compacted, 6, 6);
    let isFirstWritten: Promise<boolean> | undefined;
    try {
      const isWritten = log.batch(() => {
        for (const { version, record } of change.appends) {
          const put = log.put as (key: Buffer, value: Buffer, options: { append: boolean }) => Promise<boolean>;
          const isAppended = put.call(log, encodeLogKey(version.revision, version.index), record, { append: true });
          // All of them share the fate of the transaction; one is asked.
          isAppended.catch(() => undefined);
          isFirstWritten ??= isAppended;
        }
        for (const version of change.removes) void log.remove(encodeLogKey(version.revision, version.index));
        if (change.isProbe === true) void meta.put(probeKey, Buffer.alloc(probeBytes));
        void meta.put(stateKey, state);
      });
      await isWritten;
      if (change.isProbe === true) await meta.remove(probeKey);
      // LMDB refuses an append that is not behind the last key. If the first is in, so are all.
      if (isFirstWritten !== undefined && !(await isFirstWritten))
        throw new Error(`the log already reaches beyond revision ${change.appends[0]!.version.revision}`);
    } catch (error) {
      throw await causeOf(error);
    }
    this.#measure();
  }

  /** After a failed write LMDB may be unusable (MDB_PANIC), and lmdb-js would then wait forever. */
  async reopen(): Promise<void> {
    await this.#tables.environment.close();
    this.#tables = this.#open();
  }

  async close(): Promise<void> {
    await this.#tables.environment.close();
  }

  #measure(): void {
    this.#sizeBytes = statSync(join(this.#folder, dataFile)).size;
  }

  async #checkFormat(): Promise<void> {
    const { log, meta } = this.#tables;
    const found = meta.getBinary(formatKey)?.toString();
    if (found === String(format)) return;
    if (found !== undefined || log.getKeysCount({ limit: 1 }) > 0)
      throw new PintleError(
        'STORE_FAILED',
        `store/lmdb: ${this.#folder} has format ${found ?? 'unknown'}; this version reads and writes format ${format}. ` +
          'Use the version of Pintle that wrote it, or another state folder.',
        { details: { path: this.#folder, format: found } },
      );
    await meta.put(formatKey, Buffer.from(String(format)));
  }
}

/** lmdb-js crashes the process on a file that is not LMDB's. */
function checkMagic(path: string): void {
  if (!existsSync(path)) return;
  const descriptor = openSync(path, 'r');
  try {
    const found = Buffer.alloc(magic.length);
    const count = readSync(descriptor, found, 0, magic.length, magicAt);
    if (fstatSync(descriptor).size > 0 && (count < magic.length || !found.equals(magic)))
      throw new PintleError(
        'STORE_FAILED',
        `store/lmdb: ${path} is damaged or no LMDB file; restore a backup, or move it away to begin with an empty store.`,
        { details: { path } },
      );
  } finally {
    closeSync(descriptor);
  }
}

function syncFolder(folder: string): void {
  const descriptor = openSync(folder, 'r');
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

/** lmdb-js rejects with an error that promises the real one. */
async function causeOf(error: unknown): Promise<unknown> {
  const pending = (error as { commitError?: PromiseLike<unknown> } | undefined)?.commitError;
  if (pending === undefined) return error;
  try {
    await pending;
    return error;
  } catch (cause) {
    return cause;
  }
}
