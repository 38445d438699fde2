/** A container's log in the pod's folder: lines in the form of the CRI, rotated to PATH.1 ... when it has its full size. */
import { closeSync, fstatSync, ftruncateSync, mkdirSync, openSync, statSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { rotateLogFiles } from '../../../kernel/machinery/engine/log-files.ts';

export interface LogTarget {
  readonly path: string;
  readonly maxBytes: number;
  readonly maxFiles: number;
}

export class RotatedLog {
  readonly #target: LogTarget;
  #fd: number | undefined;
  #inode = 0;
  #size = 0;

  constructor(target: LogTarget) {
    this.#target = target;
  }

  get inode(): number {
    this.#open();
    return this.#inode;
  }

  get size(): number {
    this.#open();
    return this.#size;
  }

  get isFull(): boolean {
    return this.#target.maxBytes > 0 && this.size >= this.#target.maxBytes;
  }

  append(bytes: Buffer): void {
    const fd = this.#open();
    for (let written = 0; written < bytes.length;) written += writeSync(fd, bytes, written);
    this.#size += bytes.length;
  }

  rotate(): void {
    this.close();
    rotateLogFiles(this.#target.path, this.#target.maxFiles);
  }

  /** Takes back what was appended to the file `inode` beyond `size`, wherever rotation has put it since. */
  cutBack(inode: number, size: number): void {
    this.close();
    for (const path of [this.#target.path, `${this.#target.path}.1`]) {
      const found = statSync(path, { throwIfNoEntry: false });
      if (found?.ino !== inode || found.size <= size) continue;
      const fd = openSync(path, 'r+');
      ftruncateSync(fd, size);
      closeSync(fd);
    }
  }

  close(): void {
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
  }

  #open(): number {
    if (this.#fd !== undefined) return this.#fd;
    mkdirSync(dirname(this.#target.path), { recursive: true });
    this.#fd = openSync(this.#target.path, 'a', 0o640);
    const { ino, size } = fstatSync(this.#fd);
    this.#inode = ino;
    this.#size = size;
    return this.#fd;
  }
}
