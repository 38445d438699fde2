/**
 * Takes a container's output over from the engine's json-file log into the pod's log, in the form of the CRI.
 *
 * The files are read, not the engine's log stream: a file has positions, so an agent that was away goes on exactly where
 * it was; the engine need not run; and when the engine says that a container has ended, all its output is in the file.
 * Each line of it is {"log":"text\n","stream":"stdout","time":"..."}, without the newline for a piece of a longer line.
 */
import { closeSync, fstatSync, openSync, readSync, statSync, watch, type FSWatcher } from 'node:fs';
import { dirname } from 'node:path';
import { PositionFile } from './log-position.ts';
import { RotatedLog, type LogTarget } from './rotated-log.ts';

export interface LogRelayOptions {
  /** The engine's file; older ones are SOURCE.1, .2 ... */
  readonly source: string;
  readonly sourceFiles: number;
  readonly target: LogTarget;
  readonly positionFile: string;
  /** Output was gone before it could be read. */
  readonly onLoss: () => void;
}

const chunkBytes = 256 * 1024;
/** Output of a talkative container is taken over in batches. */
const gatherMs = 10;
const newline = 0x0a;

interface Entry {
  readonly log: string;
  readonly stream: 'stdout' | 'stderr';
  readonly time: string;
}

export class LogRelay {
  readonly #options: LogRelayOptions;
  readonly #target: RotatedLog;
  readonly #position: PositionFile;
  #watcher: FSWatcher | undefined;
  #timer: NodeJS.Timeout | undefined;
  #fd: number | undefined;
  #inode = 0;
  /** Up to here everything is in the target. */
  #offset = 0;
  #isDone: boolean;
  #isClosed = false;

  constructor(options: LogRelayOptions) {
    this.#options = options;
    this.#target = new RotatedLog(options.target);
    this.#position = new PositionFile(options.positionFile);
    const known = this.#position.read();
    this.#isDone = known?.isDone ?? false;
    if (known === undefined || known.isDone) return;
    const path = this.#files().find((file) => inodeOf(file) === known.sourceInode);
    if (path === undefined) {
      options.onLoss();
      return;
    }
    this.#target.cutBack(known.targetInode, known.targetSize);
    this.#openSource(path);
    this.#offset = known.sourceOffset;
  }

  /** Follows the source until `finish` or `close`. */
  start(): void {
    if (this.#isDone || this.#isClosed || this.#watcher !== undefined) return;
    this.#watcher = watch(dirname(this.#options.source), { persistent: false }, () => this.#later());
    this.#watcher.on('error', () => undefined);
    this.#later();
  }

  /** Looks whether there is more: for events that were lost. */
  look(): void {
    if (this.#watcher !== undefined) this.#later();
  }

  /** Takes over all that is there, for a container that has ended. */
  async finish(): Promise<void> {
    while (!this.#isDone && !this.#isClosed && this.#step()) await new Promise((resolve) => setImmediate(resolve));
    if (this.#isDone || this.#isClosed) return;
    this.#isDone = true;
    this.#record();
    this.close();
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    this.#watcher?.close();
    this.#watcher = undefined;
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
    this.#target.close();
    this.#position.close();
  }

  forget(): void {
    this.close();
    this.#position.remove();
  }

  #later(): void {
    if (this.#timer !== undefined || this.#isClosed) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      if (!this.#isClosed && this.#step()) this.#later();
    }, gatherMs);
  }

  /** Takes over one chunk, or goes on to the next file. False: there is no more for now. */
  #step(): boolean {
    const { source } = this.#options;
    if (this.#fd === undefined) {
      const oldest = this.#files()[0];
      if (oldest === undefined) return false;
      this.#openSource(oldest);
    }
    // Before reading: what is read to its end after it was set aside is complete.
    const isSetAside = inodeOf(source) !== this.#inode;
    if (this.#readChunk()) return true;
    if (!isSetAside) return false;
    const files = this.#files();
    const at = files.findIndex((file) => inodeOf(file) === this.#inode);
    if (at < 0) this.#options.onLoss();
    const next = files[at + 1];
    if (next === undefined) return false;
    this.#openSource(next);
    return true;
  }

  #readChunk(): boolean {
    const buffer = Buffer.allocUnsafe(chunkBytes);
    const bytesRead = readSync(this.#fd!, buffer, 0, chunkBytes, this.#offset);
    const end = buffer.subarray(0, bytesRead).lastIndexOf(newline) + 1;
    if (end === 0) return false;
    const began = this.#offset;
    let pieces: Buffer[] = [];
    let size = 0;
    for (let start = 0; start < end;) {
      const stop = buffer.indexOf(newline, start);
      const piece = Buffer.from(lineOf(buffer.subarray(start, stop)));
      pieces.push(piece);
      size += piece.length;
      start = stop + 1;
      const isFull = this.#options.target.maxBytes > 0 && this.#target.size + size >= this.#options.target.maxBytes;
      if (!isFull && start < end) continue;
      this.#append(Buffer.concat(pieces), began + start);
      pieces = [];
      size = 0;
    }
    return true;
  }

  #append(bytes: Buffer, nextOffset: number): void {
    if (this.#target.isFull) this.#target.rotate();
    this.#record();
    this.#target.append(bytes);
    this.#offset = nextOffset;
  }

  #record(): void {
    this.#position.write({
      sourceInode: this.#inode,
      sourceOffset: this.#offset,
      targetInode: this.#target.inode,
      targetSize: this.#target.size,
      isDone: this.#isDone,
    });
  }

  #openSource(path: string): void {
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = openSync(path, 'r');
    this.#inode = fstatSync(this.#fd).ino;
    this.#offset = 0;
  }

  /** Oldest first. */
  #files(): readonly string[] {
    const { source, sourceFiles } = this.#options;
    const all = Array.from({ length: sourceFiles }, (_, index) => (index === 0 ? source : `${source}.${index}`));
    return all.reverse().filter((path) => inodeOf(path) !== undefined);
  }
}

function inodeOf(path: string): number | undefined {
  return statSync(path, { throwIfNoEntry: false })?.ino;
}

/** One entry in the form of the CRI; nothing for a line that is no entry (a crash of the engine can cut one in two). */
function lineOf(json: Buffer): string {
  let entry: Entry;
  try {
    entry = JSON.parse(json.toString('utf8')) as Entry;
  } catch {
    return '';
  }
  const isWhole = entry.log.endsWith('\n');
  const text = isWhole ? entry.log.slice(0, -1) : entry.log;
  return `${nanoTime(entry.time)} ${entry.stream} ${isWhole ? 'F' : 'P'} ${text}\n`;
}

/** Go leaves trailing zeros out; the CRI has nine digits. */
function nanoTime(time: string): string {
  const [seconds, fraction = ''] = time.replace(/Z$/, '').split('.');
  return `${seconds}.${fraction.padEnd(9, '0')}Z`;
}
