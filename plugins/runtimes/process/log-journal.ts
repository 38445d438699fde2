/**
 * One piece of output on its way into the log, so that it survives an agent that is killed on that way:
 *
 *   64 bytes: "stdout LENGTH INODE SIZE" and blanks; LENGTH bytes of output
 *
 * INODE and SIZE are the log file's before the piece. While the journal has a piece, what the file has beyond SIZE is a
 * part of it (SIGKILL also cuts a write in two), and another file has nothing of it. "-" in front: all is in the log.
 */
import { closeSync, fstatSync, openSync, readFileSync, statSync, truncateSync, writeSync, writevSync } from 'node:fs';

const headerBytes = 64;

export class LogJournal {
  #fd: number | undefined;

  constructor(path: string) {
    this.#fd = openSync(path, 'w', 0o600);
  }

  put(stream: 'stdout' | 'stderr', chunk: Buffer, logFd: number, logSize: number): void {
    if (this.#fd === undefined) return;
    const header = `${stream} ${chunk.length} ${fstatSync(logFd).ino} ${logSize}`.padEnd(headerBytes);
    writevSync(this.#fd, [Buffer.from(header), chunk], 0);
  }

  done(): void {
    if (this.#fd !== undefined) writeSync(this.#fd, '-', 0);
  }

  close(): void {
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
  }
}

/** The piece that an agent had taken and not written to its end; the log is cut back to where it began. */
export function takeJournal(
  path: string,
  logPath: string,
): { readonly stream: 'stdout' | 'stderr'; readonly chunk: Buffer } | undefined {
  let bytes: Buffer;
  try {
    bytes = readFileSync(path);
  } catch {
    return undefined;
  }
  const [stream, length, inode, size] = bytes.toString('latin1', 0, headerBytes).split(' ');
  if (stream !== 'stdout' && stream !== 'stderr') return undefined;
  const chunk = bytes.subarray(headerBytes, headerBytes + Number(length));
  if (chunk.length !== Number(length)) return undefined;
  const log = statSync(logPath, { throwIfNoEntry: false });
  if (log !== undefined && log.ino === Number(inode) && log.size > Number(size)) truncateSync(logPath, Number(size));
  return { stream, chunk };
}
