import { readSync } from 'node:fs';

/** What a pipe holds, unless its writer asked for more. */
export const fifoBytes = 64 * 1024;

/** What a FIFO has, up to 64 KiB: undefined when it has nothing now, of no length when it has ended. */
export function readFifo(fifo: number): Buffer | undefined {
  const buffer = Buffer.allocUnsafe(fifoBytes);
  try {
    return buffer.subarray(0, readSync(fifo, buffer));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EAGAIN') return undefined;
    throw error;
  }
}
