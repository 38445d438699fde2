/**
 * The agent's end of a container's FIFOs: brings output to the log and to whoever is attached. Nothing waits in memory, so
 * closing it leaves the rest in the FIFO for the next agent; one that is killed leaves it there or in the log's journal.
 */
import { closeSync, constants, openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { PassThrough, type Readable } from 'node:stream';
import type { CriLog } from './cri-log.ts';
import { FifoWatch } from './fifo-watch.ts';
import type { LogStream } from './log-journal.ts';

/** What an attached client may have unread before it is cut off: it must never hold up the container. */
const maxUnreadBytes = 8 * 1024 * 1024;

/**
 * Rest after each piece. What comes meanwhile gathers in the FIFO, and is taken in one piece: less work. 64 KiB in 4 ms
 * are 16 MB/s a stream.
 */
const restMs = 4;

/** A FIFO holds 64 KiB, or up to 1 MiB where its writer asked for that. */
const fullFifoPieces = 16;

interface Source {
  readonly stream: LogStream;
  readonly fifo: number;
  readonly watch: FifoWatch;
  rest: NodeJS.Timeout | undefined;
}

export class ContainerOutput {
  /** Resolves when nobody has the FIFOs open for writing any more and all is in the log. */
  readonly drained: Promise<void>;
  readonly #sources: readonly Source[];
  readonly #log: CriLog;
  readonly #listeners = { stdout: new Set<PassThrough>(), stderr: new Set<PassThrough>() };

  constructor(folder: string, log: CriLog) {
    this.#log = log;
    this.#sources = [this.#open(folder, 'stdout'), this.#open(folder, 'stderr')];
    this.drained = Promise.all(
      this.#sources.map(({ watch }) => new Promise<void>((resolve) => void watch.once('close', () => resolve()))),
    ).then(() => {
      for (const listener of this.#all()) listener.end();
    });
  }

  listen(stream: LogStream): Readable {
    const listener = new PassThrough();
    this.#listeners[stream].add(listener);
    listener.once('close', () => this.#listeners[stream].delete(listener));
    return listener;
  }

  /** Brings what is in the FIFOs to the log, before they are let go: what a FIFO holds goes with its last holder. */
  empty(): void {
    for (const source of this.#sources) {
      source.watch.pause();
      for (let count = 0; count < fullFifoPieces && this.#take(source);) count++;
    }
  }

  close(): void {
    for (const { watch, rest } of this.#sources) {
      clearTimeout(rest);
      watch.destroy();
    }
    this.#log.close();
  }

  #open(folder: string, stream: LogStream): Source {
    const fifo = openSync(join(folder, `${stream}.fifo`), constants.O_RDONLY | constants.O_NONBLOCK);
    const watch = new FifoWatch(fifo, () => this.#take(source));
    const source: Source = { stream, fifo, watch, rest: undefined };
    watch.resume();
    return source;
  }

  /** False when there was nothing to take. */
  #take(source: Source): boolean {
    const { stream, fifo, watch } = source;
    // Its descriptor may be another file's by now.
    if (watch.destroyed) return false;
    clearTimeout(source.rest);
    const chunk = this.#log.take(stream, fifo);
    if (chunk === undefined) watch.resume();
    else if (chunk.length === 0) watch.destroy();
    if (chunk === undefined || chunk.length === 0) return false;
    for (const listener of this.#listeners[stream]) {
      if (listener.readableLength + listener.writableLength > maxUnreadBytes) listener.destroy();
      else listener.write(Buffer.from(chunk));
    }
    source.rest = setTimeout(() => this.#take(source), restMs);
    return true;
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
