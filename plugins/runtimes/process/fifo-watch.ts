/**
 * Tells when a FIFO has something or has ended, and reads nothing. Owns the descriptor. Node watches a pipe only to read it
 * into its memory; but when there is no room for what came, libuv says so (ENOBUFS) and leaves it in the pipe.
 */
import { Socket } from 'node:net';

export class FifoWatch extends Socket {
  readonly #wake: () => void;

  /** Begins at `resume()`, and pauses whenever it calls `wake`. */
  constructor(fd: number, wake: () => void) {
    // The types of Node 20 know `onread` for connections only.
    const options = { fd, readable: true, writable: false, onread: { buffer: Buffer.alloc(0), callback: () => true } };
    super(options);
    this.#wake = wake;
    this.on('error', () => this.destroy());
  }

  override destroy(error?: Error): this {
    if ((error as NodeJS.ErrnoException | undefined)?.code !== 'ENOBUFS') return super.destroy(error);
    this.pause();
    this.#wake();
    return this;
  }
}
