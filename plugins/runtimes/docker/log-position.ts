/**
 * How far a container's log has been taken over, so that an agent that is killed at any moment neither loses a line nor
 * writes one twice. Written before each batch: where the batch begins in the engine's log, and where in ours. Lines keep
 * the engine's times, so a batch that is written again is the same.
 *
 *   128 bytes: "SOURCE-INODE SOURCE-OFFSET TARGET-INODE TARGET-SIZE DONE" and blanks
 *   DONE: "done" when all has been taken over
 */
import { closeSync, mkdirSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';

export interface LogPosition {
  readonly sourceInode: number;
  readonly sourceOffset: number;
  readonly targetInode: number;
  readonly targetSize: number;
  readonly isDone: boolean;
}

export class PositionFile {
  readonly #path: string;
  #fd: number | undefined;

  constructor(path: string) {
    this.#path = path;
  }

  read(): LogPosition | undefined {
    let text: string;
    try {
      text = readFileSync(this.#path, 'latin1');
    } catch {
      return undefined;
    }
    const [sourceInode, sourceOffset, targetInode, targetSize, done] = text.trim().split(' ');
    if (targetSize === undefined) return undefined;
    return {
      sourceInode: Number(sourceInode),
      sourceOffset: Number(sourceOffset),
      targetInode: Number(targetInode),
      targetSize: Number(targetSize),
      isDone: done === 'done',
    };
  }

  write(position: LogPosition): void {
    if (this.#fd === undefined) {
      mkdirSync(dirname(this.#path), { recursive: true });
      this.#fd = openSync(this.#path, 'a+', 0o600);
      closeSync(this.#fd);
      // Opened for appending, a write would ignore its position.
      this.#fd = openSync(this.#path, 'r+');
    }
    const { sourceInode, sourceOffset, targetInode, targetSize, isDone } = position;
    const words = [sourceInode, sourceOffset, targetInode, targetSize, isDone ? 'done' : ''];
    writeSync(this.#fd, words.join(' ').padEnd(128), 0);
  }

  close(): void {
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
  }

  remove(): void {
    this.close();
    rmSync(this.#path, { force: true });
  }
}
