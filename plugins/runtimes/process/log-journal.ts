/**
 * Output on its way from a container's FIFOs into the log, so that it survives an agent that is killed on that way. The
 * kernel moves it from a FIFO into this file in one step (splice), so it is always in one of the two; a mark says which of it
 * the log lacks. One file a container:
 *
 *   0    mark of even count   count, stream (1 stdout, 2 stderr), from, log's inode, log's size, count: 8-byte floats
 *   64   mark of odd count    so that a mark that is cut short leaves the one before it
 *   128  pieces, one after the other
 *
 * The mark with the higher count holds: what the journal has from `from` on is of that stream and not in the log, and what
 * that log file has beyond that size is an unfinished copy of it (SIGKILL also cuts a write in two). Another log file has
 * nothing of it. A journal that ends before `from` was emptied: the log has all.
 */
import { closeSync, constants, fstatSync, ftruncateSync, openSync, readSync, writeSync } from 'node:fs';
import { spliceFromPipe } from '../../../netplugins/linux/splice.ts';
import { fifoBytes, readFifo } from './read-fifo.ts';

export type LogStream = 'stdout' | 'stderr';

/** A log file as it is without what the journal holds. */
export interface LogEnd {
  readonly inode: number;
  readonly size: number;
}

interface Mark extends LogEnd {
  readonly count: number;
  readonly stream: LogStream;
  readonly from: number;
}

/** All pieces are read into it: each is used up before the next is taken. */
const pieceBuffer = Buffer.alloc(fifoBytes);
const newline = 0x0a;
const markDistance = 64;
const markBuffer = new Float64Array(6);
const piecesAt = 2 * markDistance;

/**
 * Pieces are added until there is so much, and the journal begins anew: seldom enough to cost nothing, and so soon that
 * the kernel has not begun to write them to the disk when output is plenty.
 */
const fullBytes = 2 * fifoBytes;

export class LogJournal {
  readonly #fd: number;
  #isClosed = false;
  #mark: Mark | undefined;
  /** Where the bytes that the log lacks begin and end. */
  #from = piecesAt;
  #end = piecesAt;

  constructor(path: string) {
    this.#fd = openSync(path, constants.O_RDWR | constants.O_CREAT, 0o600);
    const mark = this.#readMarks();
    const end = fstatSync(this.#fd).size;
    if (mark === undefined || end - mark.from > fifoBytes) {
      // New, or of another version.
      ftruncateSync(this.#fd, 0);
      return;
    }
    this.#mark = mark;
    this.#end = Math.max(piecesAt, end);
    this.#from = Math.min(mark.from, this.#end);
  }

  /** What an agent had taken and not written to its end, and the end of the log without it. */
  get left(): { readonly stream: LogStream; readonly chunk: Buffer; readonly log: LogEnd } | undefined {
    if (this.#mark === undefined || this.#from === this.#end) return undefined;
    return { stream: this.#mark.stream, chunk: this.#read(this.#end - this.#from), log: this.#mark };
  }

  /**
   * Takes a piece from a FIFO: undefined when it has none now, of no length when it has ended. The log, which ends as
   * given, has all that was taken before. Throws when the journal cannot hold it; it is still in the FIFO then.
   */
  take(stream: LogStream, log: LogEnd, fifo: number): Buffer | undefined {
    this.#from = this.#end;
    if (this.#end >= piecesAt + fullBytes) this.#empty();
    this.#note({ stream, ...log });
    const length = spliceFromPipe(fifo, this.#fd, this.#end, fifoBytes);
    if (length === undefined) return undefined;
    this.#end += length;
    const piece = this.#read(length);
    const isPart = length > 0 && length < fifoBytes && piece[length - 1] !== newline;
    return isPart ? this.#takeRest(piece, fifo) : piece;
  }

  /** A line that has no end yet; or the disk was full in the middle of it: then the rest is read, that no line is cut. */
  #takeRest(piece: Buffer, fifo: number): Buffer {
    try {
      this.#end += spliceFromPipe(fifo, this.#fd, this.#end, fifoBytes - piece.length) ?? 0;
      return this.#read(this.#end - this.#from);
    } catch {
      const whole = Buffer.concat([piece, readFifo(fifo) ?? Buffer.alloc(0)]);
      this.#empty();
      return whole;
    }
  }

  /** The log, which ends as given, has all but the last `rest` bytes of the piece. */
  note(stream: LogStream, log: LogEnd, rest: number): void {
    this.#from = Math.max(this.#from, this.#end - rest);
    try {
      this.#note({ stream, ...log });
    } catch {
      // Better nothing than what would be written twice. There is always room for less.
      this.#empty();
    }
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    closeSync(this.#fd);
  }

  #empty(): void {
    ftruncateSync(this.#fd, piecesAt);
    this.#from = this.#end = piecesAt;
  }

  #note(wanted: { readonly stream: LogStream } & LogEnd): void {
    const { stream, inode, size } = wanted;
    const mark = this.#mark;
    const from = this.#from;
    if (mark?.stream === stream && mark.inode === inode && mark.size === size && mark.from === from) return;
    const count = (mark?.count ?? 0) + 1;
    markBuffer.set([count, stream === 'stdout' ? 1 : 2, from, inode, size, count]);
    writeSync(this.#fd, markBuffer, 0, markBuffer.byteLength, (count % 2) * markDistance);
    this.#mark = { count, stream, from, inode, size };
  }

  #readMarks(): Mark | undefined {
    const marks = [0, 1].map((index): Mark | undefined => {
      markBuffer.fill(0);
      readSync(this.#fd, markBuffer, 0, markBuffer.byteLength, index * markDistance);
      const [count = 0, stream, from = 0, inode = 0, size = 0, again] = markBuffer;
      const isWhole = Number.isSafeInteger(count) && count > 0 && count % 2 === index && again === count;
      if (!isWhole || !(from >= piecesAt) || (stream !== 1 && stream !== 2)) return undefined;
      return { count, stream: stream === 1 ? 'stdout' : 'stderr', from, inode, size };
    });
    const [even, odd] = marks;
    return (even?.count ?? 0) > (odd?.count ?? 0) ? even : odd;
  }

  #read(length: number): Buffer {
    const piece = pieceBuffer.subarray(0, length);
    readSync(this.#fd, piece, 0, length, this.#from);
    return piece;
  }
}
