/**
 * splice(2) from a pipe into a file: the kernel moves the bytes itself, so that they are at every moment in the pipe or in
 * the file (whose size says how many), whatever becomes of the process that asked for it. A read and a write have a moment
 * between them in which the bytes are in neither.
 */
import { constants } from 'node:os';
import { kernelRefused, libc } from './libc.ts';

const SPLICE_F_NONBLOCK = 2;
const positionBytes = Buffer.alloc(8);

/**
 * Moves up to `length` bytes to `position` of the file, and does not wait for any. 0: the pipe is empty and nobody has it
 * open for writing; undefined: it is empty now. Throws KERNEL_REFUSED; nothing has left the pipe then.
 */
export function spliceFromPipe(pipe: number, file: number, position: number, length: number): number | undefined {
  positionBytes.writeBigInt64LE(BigInt(position));
  const moved = libc().splice(pipe, null, file, positionBytes, length, SPLICE_F_NONBLOCK);
  if (moved >= 0) return moved;
  const errno = libc().errno();
  if (errno === constants.errno.EAGAIN) return undefined;
  throw kernelRefused('Moving bytes from a pipe into a file', errno);
}
