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
    const socket = new Socket({ fd, readable: true, writable: false });
    socket.on('data', (chunk: Buffer) => {
      this.#log.write(stream, chunk);
      for (const listener of this.#listeners[stream]) {
        if (listener.readableLength + listener.writableLength > maxUnreadBytes) listener.destroy();
        else listener.write(chunk);
      }
    });
    socket.on('error', () => socket.destroy());
    return socket;
  }

  #all(): readonly PassThrough[] {
    return [...this.#listeners.stdout, ...this.#listeners.stderr];
  }
}

/** Lets the shim go after the end of its container; false when it has gone already. */
export function releaseShim(folder: string): boolean {
  try {
    const fd = openSync(join(folder, 'release.fifo'), constants.O_WRONLY | constants.O_NONBLOCK);
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
