/**
 * Container logs in the form of the CRI: "2026-11-20T10:00:00.123456789Z stdout F text". Owns the log file of one
 * container and its rotation.
 *
 * What comes goes from the FIFO into a journal, from there into the log in the same call, so that an agent may be killed at
 * any moment: the next one cuts off what was begun and writes it again. A piece without a newline is written with tag P
 * (partial); readers join P lines with the F line that ends them.
 *
 * On a full disk a container goes on and its output is lost; once there is room again, a line says how much.
 */
import {
  closeSync,
  existsSync,
  fstatSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { LogJournal, type LogEnd, type LogStream } from './log-journal.ts';
import { readFifo } from './read-fifo.ts';

/** Longer lines are cut, as containerd and CRI-O do. */
const maxTextBytes = 16 * 1024;
const newline = 0x0a;
const lossReasons: ReadonlyMap<string, string> = new Map([
  ['ENOSPC', 'no space was left on the device'],
  ['EDQUOT', 'the disk quota was used up'],
]);

export class CriLog {
  readonly #path: string;
  readonly #maxBytes: number;
  readonly #maxFiles: number;
  #fd: number | undefined;
  #size = 0;
  #inode = 0;
  readonly #journal: LogJournal | undefined;
  #lostBytes = 0;
  #lostTo = '';

  /** With a journal, what an earlier one had taken and not written is written now. */
  constructor(path: string, maxBytes: number, maxFiles: number, journalPath?: string) {
    this.#path = path;
    this.#maxBytes = maxBytes > 0 ? maxBytes : Number.POSITIVE_INFINITY;
    this.#maxFiles = Math.max(1, maxFiles);
    if (journalPath === undefined) return;
    this.#journal = new LogJournal(journalPath);
    const { left } = this.#journal;
    if (left === undefined) return;
    const log = statSync(path, { throwIfNoEntry: false });
    if (log?.ino === left.log.inode && log.size > left.log.size) truncateSync(path, left.log.size);
    this.write(left.stream, left.chunk);
  }

  /**
   * Writes what a FIFO has, 64 KiB at most, and returns it: undefined when it has nothing now, of no length when it has
   * ended. It is valid until the next call.
   */
  take(stream: LogStream, fifo: number): Buffer | undefined {
    const chunk = this.#take(stream, fifo);
    if (chunk !== undefined && chunk.length > 0) this.write(stream, chunk);
    return chunk;
  }

  write(stream: LogStream, chunk: Buffer): void {
    try {
      if (this.#lostBytes > 0) {
        const told = `pintle: about ${this.#lostBytes} bytes of output are lost: ${this.#lostTo}`;
        this.#append(Buffer.from(`${rfc3339Nano()} stderr F ${told}\n`));
        this.#lostBytes = 0;
      }
      this.#write(stream, chunk);
    } catch (error) {
      this.#lose(stream, chunk, error as NodeJS.ErrnoException);
    }
  }

  /** Without room for a journal (or a file system that takes part in splice) a piece is read, not moved. */
  #take(stream: LogStream, fifo: number): Buffer | undefined {
    try {
      this.#file();
      if (this.#journal !== undefined) return this.#journal.take(stream, this.#end(), fifo);
    } catch {
      // What is wrong with the log itself is told by writing to it.
    }
    return readFifo(fifo);
  }

  #write(stream: LogStream, chunk: Buffer): void {
    this.#note(stream, chunk);
    const time = rfc3339Nano();
    let pieces: Buffer[] = [];
    let size = 0;
    const flush = (rest: Buffer): void => {
      this.#append(Buffer.concat(pieces));
      pieces = [];
      size = 0;
      if (this.#size < this.#maxBytes) return;
      // Before and after: whichever file is there when an agent is killed, the rest is known and in neither.
      this.#note(stream, rest);
      this.#rotate();
      this.#note(stream, rest);
    };
    const add = (tag: 'P' | 'F', start: number, end: number, next: number): void => {
      pieces.push(Buffer.from(`${time} ${stream} ${tag} `), chunk.subarray(start, end), lineEnd);
      size += time.length + stream.length + 5 + end - start;
      if (this.#written() + size >= this.#maxBytes) flush(chunk.subarray(next));
    };
    for (let start = 0; start < chunk.length;) {
      const end = chunk.indexOf(newline, start);
      const stop = end < 0 ? chunk.length : end;
      for (; stop - start > maxTextBytes; start += maxTextBytes)
        add('P', start, start + maxTextBytes, start + maxTextBytes);
      add(end < 0 ? 'P' : 'F', start, stop, stop + 1);
      start = stop + 1;
    }
    if (pieces.length > 0) flush(chunk.subarray(chunk.length));
    this.#note(stream, chunk.subarray(chunk.length));
  }

  /** The file keeps whole lines only, and the journal nothing that would be written twice. */
  #lose(stream: LogStream, chunk: Buffer, error: NodeJS.ErrnoException): void {
    const reason = lossReasons.get(error.code ?? '');
    if (reason === undefined) throw error;
    this.#lostBytes += chunk.length;
    this.#lostTo = reason;
    if (this.#fd !== undefined) ftruncateSync(this.#fd, this.#size);
    this.#journal?.note(stream, this.#end(), 0);
  }

  close(): void {
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
    this.#journal?.close();
  }

  #note(stream: LogStream, rest: Buffer): void {
    this.#file();
    this.#journal?.note(stream, this.#end(), rest.length);
  }

  #end(): LogEnd {
    return { inode: this.#inode, size: this.#size };
  }

  #append(bytes: Buffer): void {
    const fd = this.#file();
    for (let written = 0; written < bytes.length;) written += writeSync(fd, bytes, written);
    this.#size += bytes.length;
  }

  #written(): number {
    this.#file();
    return this.#size;
  }

  #file(): number {
    if (this.#fd === undefined) {
      mkdirSync(dirname(this.#path), { recursive: true });
      this.#fd = openSync(this.#path, 'a', 0o640);
      const { size, ino } = fstatSync(this.#fd);
      this.#size = size;
      this.#inode = ino;
    }
    return this.#fd;
  }

  #rotate(): void {
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
    for (let index = this.#maxFiles - 1; index >= 1; index--) {
      const from = index === 1 ? this.#path : `${this.#path}.${index - 1}`;
      if (existsSync(from)) renameSync(from, `${this.#path}.${index}`);
    }
    if (this.#maxFiles === 1) rmSync(this.#path, { force: true });
    this.#file();
  }
}

const lineEnd = Buffer.from('\n');

export function removeLogFiles(path: string, maxFiles: number): void {
  rmSync(path, { force: true });
  for (let index = 1; index < Math.max(2, maxFiles); index++) rmSync(`${path}.${index}`, { force: true });
}

const start = { wallMs: Date.now(), monotonic: process.hrtime.bigint() };

/** The clock of Node has milliseconds; the digits below come from the monotonic clock since start-up. */
function rfc3339Nano(): string {
  const elapsed = process.hrtime.bigint() - start.monotonic;
  const drift = Date.now() - start.wallMs - Number(elapsed / 1_000_000n);
  // A wall clock that was set is followed; below that, the two clocks differ by rounding.
  if (Math.abs(drift) > 5) {
    start.wallMs = Date.now();
    start.monotonic = process.hrtime.bigint();
  }
  const now = BigInt(start.wallMs) * 1_000_000n + (process.hrtime.bigint() - start.monotonic);
  const seconds = new Date(Number(now / 1_000_000n)).toISOString().slice(0, 19);
  return `${seconds}.${(now % 1_000_000_000n).toString().padStart(9, '0')}Z`;
}
