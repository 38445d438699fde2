/**
 * The agent's end of a container's FIFOs: copies output to the log and to whoever is attached. Reading is not buffered
 * anywhere, so closing it (or a killed agent) leaves the rest in the FIFO for the next agent.
 */
import { closeSync, constants, openSync, writeSync } from 'node:fs';
import { Socket } from 'node:net';
import { join } from 'node:path';
import { PassThrough, type Readable } from 'node:stream';
import type { CriLog } from './cri-log.ts';

/** What an attached client may have unread before it is cut off: it must never hold up the container. */
const maxUnreadBytes = 8 * 1024 * 1024;

/**
 * Rest after each piece. What comes meanwhile gathers in the FIFO, where it is safe, and is taken in one piece: less
 * work, and fewer of the moments between taking and writing it in which a killed agent loses it. 64 KiB in 4 ms are
 * 16 MB/s a stream.
 */
const restMs = 4;

/** All FIFOs are read into it: each piece is used up in the call that brings it. */
const sharedBuffer = Buffer.alloc(64 * 1024);

export class ContainerOutput {
  /** Resolves when nobody has the FIFOs open for writing any more and all is in the log. */
  readonly drained: Promise<void>;
  readonly #sockets: readonly Socket[];
  readonly #log: CriLog;
  readonly #listeners = { stdout: new Set<PassThrough>(), stderr: new Set<PassThrough>() };

  constructor(folder: string, log: CriLog) {
    this.#log = log;
    const streams = ['stdout', 'stderr'] as const;
    this.#sockets = streams.map((stream) => this.#open(join(folder, `${stream}.fifo`), stream));
    this.drained = Promise.all(
      this.#sockets.map((socket) => new Promise<void>((resolve) => void socket.once('close', () => resolve()))),
    ).then(() => {
      for (const listener of this.#all()) listener.end();
    });
  }

  listen(stream: 'stdout' | 'stderr'): Readable {
    const listener = new PassThrough();
    this.#listeners[stream].add(listener);
    listener.once('close', () => this.#listeners[stream].delete(listener));
    return listener;
  }

  close(): void {
    for (const socket of this.#sockets) socket.destroy();
    this.#log.close();
  }

  #open(path: string, stream: 'stdout' | 'stderr'): Socket {
    const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const take = (length: number): boolean => {
      const chunk = sharedBuffer.subarray(0, length);
      this.#log.write(stream, chunk);
      for (const listener of this.#listeners[stream]) {
        if (listener.readableLength + listener.writableLength > maxUnreadBytes) listener.destroy();
        else listener.write(Buffer.from(chunk));
      }
      setTimeout(() => socket.resume(), restMs);
      return false;
    };
    // The types of Node 20 know `onread` for connections only.
    const options = { fd, readable: true, writable: false, onread: { buffer: sharedBuffer, callback: take } };
    const socket = new Socket(options);
    socket.on('error', () => socket.destroy());
    socket.resume();
    return socket;
  }

  #all(): readonly PassThrough[] {
    return [...this.#listeners.stdout, ...this.#listeners.stderr];
  }
}

/** Lets the shim go after the end of its container; false when it has gone already. */
export function releaseShim(folder: string): boolean {
  return tellFifo(join(folder, 'release.fifo'));
}

/** Writes a line to whoever reads a FIFO; false when nobody does. */
export function tellFifo(path: string): boolean {
  try {
    const fd = openSync(path, constants.O_WRONLY | constants.O_NONBLOCK);
    try {
      writeSync(fd, '\n');
    } finally {
      closeSync(fd);
    }
    return true;
  } catch {
    return false;
  }
}
