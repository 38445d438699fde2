/**
 * Reads container logs in CRI form ("2026-01-02T03:04:05.123456789Z stdout F text") the way `kubectl logs` wants them:
 * since, tail, limit, timestamps, one stream, follow across rotation.
 */
import { watch } from 'node:fs';
import { open, stat, type FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';
import { Readable } from 'node:stream';
import type { LogRequest } from '../../../kernel/contract/index.ts';

export interface LogLine {
  readonly time: string;
  readonly stream: string;
  /** False for a piece of a longer line. */
  readonly isFull: boolean;
  readonly text: Buffer;
}

/** Undefined for a line that is not in CRI form. */
export function parseLogLine(line: Buffer): LogLine | undefined {
  const first = line.indexOf(0x20);
  const second = line.indexOf(0x20, first + 1);
  const third = line.indexOf(0x20, second + 1);
  if (first < 0 || second < 0) return undefined;
  const end = third < 0 ? line.length : third;
  return {
    time: line.toString('latin1', 0, first),
    stream: line.toString('latin1', first + 1, second),
    isFull: line.toString('latin1', second + 1, end).startsWith('F'),
    text: third < 0 ? Buffer.alloc(0) : line.subarray(third + 1),
  };
}

/** The log's files, oldest first: rotation keeps path.N (oldest) ... path.1, path. */
async function rotatedFiles(path: string, maxFiles: number): Promise<readonly string[]> {
  const found: string[] = [];
  for (let index = maxFiles; index >= 1; index -= 1) {
    if (await stat(`${path}.${index}`).catch(() => undefined)) found.push(`${path}.${index}`);
  }
  return [...found, path];
}

const chunkBytes = 64 * 1024;

async function* linesOf(file: FileHandle, from: { position: number }, endPosition = Infinity): AsyncGenerator<Buffer> {
  let rest = Buffer.alloc(0);
  for (;;) {
    const offset = from.position + rest.length;
    const length = Math.min(chunkBytes, endPosition - offset);
    if (length <= 0) return;
    const { bytesRead, buffer } = await file.read(Buffer.allocUnsafe(length), 0, length, offset);
    if (bytesRead === 0) return;
    const data = rest.length > 0 ? Buffer.concat([rest, buffer.subarray(0, bytesRead)]) : buffer.subarray(0, bytesRead);
    let start = 0;
    for (let end = data.indexOf(10, start); end >= 0; end = data.indexOf(10, start)) {
      from.position += end + 1 - start;
      yield data.subarray(start, end);
      start = end + 1;
    }
    rest = Buffer.from(data.subarray(start));
  }
}

function render(line: LogLine, timestamps: boolean): Buffer {
  const parts = timestamps ? [Buffer.from(`${line.time} `), line.text] : [line.text];
  if (line.isFull) parts.push(Buffer.from('\n'));
  return Buffer.concat(parts);
}

/** The last `count` full lines of the files, each with its pieces before it. */
async function tail(
  files: readonly string[],
  newestBytes: number,
  count: number,
  wanted: (line: LogLine) => boolean,
): Promise<LogLine[]> {
  const kept: LogLine[] = [];
  let full = 0;
  for (const [index, path] of files.entries()) {
    const file = await open(path).catch(() => undefined);
    if (!file) continue;
    const end = index === files.length - 1 ? newestBytes : Infinity;
    try {
      for await (const raw of linesOf(file, { position: 0 }, end)) {
        const line = parseLogLine(raw);
        if (!line || !wanted(line)) continue;
        kept.push({ ...line, text: Buffer.from(line.text) });
        if (line.isFull) full += 1;
        while (full > count) {
          const dropped = kept.shift()!;
          if (dropped.isFull) full -= 1;
        }
      }
    } finally {
      await file.close();
    }
  }
  return count === 0 ? [] : kept;
}

export interface LogSource {
  readonly path: string;
  readonly maxLogFiles: number;
  /** False once the container has ended: following stops at the end of the file. */
  isRunning(): Promise<boolean>;
}

async function* follow(source: LogSource, from: { position: number }, signal: AbortSignal): AsyncGenerator<LogLine> {
  let wake: () => void = () => {};
  // The folder, because rotation replaces the file. Events only wake the loop; the timer covers lost ones.
  const watcher = watch(dirname(source.path), { persistent: false }, () => wake());
  watcher.on('error', () => wake());
  signal.addEventListener('abort', () => wake(), { once: true });
  let file = await open(source.path).catch(() => undefined);
  try {
    while (!signal.aborted) {
      const isRunning = await source.isRunning();
      const pause = new Promise<void>((resolve) => {
        wake = resolve;
        setTimeout(resolve, 1000).unref();
      });
      let any = false;
      if (file) {
        for await (const raw of linesOf(file, from)) {
          const line = parseLogLine(raw);
          any = true;
          if (line) yield line;
          if (signal.aborted) return;
        }
        const [open_, named] = [await file.stat(), await stat(source.path).catch(() => undefined)];
        if (named && named.ino !== open_.ino) {
          await file.close();
          file = await open(source.path);
          from.position = 0;
          continue;
        }
      } else file = await open(source.path).catch(() => undefined);
      if (any) continue;
      if (!isRunning) return;
      await pause;
    }
  } finally {
    watcher.close();
    await file?.close();
  }
}

async function* logChunks(source: LogSource, request: LogRequest, signal: AbortSignal): AsyncGenerator<Buffer> {
  const sinceMs = request.sinceMs;
  const stream = request.stream === 'Stdout' ? 'stdout' : request.stream === 'Stderr' ? 'stderr' : undefined;
  const wanted = (line: LogLine) =>
    (stream === undefined || line.stream === stream) && (sinceMs === undefined || Date.parse(line.time) >= sinceMs);
  let budget = request.limitBytes ?? Number.POSITIVE_INFINITY;
  const cut = (chunk: Buffer) => {
    const part = chunk.length > budget ? chunk.subarray(0, budget) : chunk;
    budget -= part.length;
    return part;
  };
  const timestamps = request.timestamps ?? false;
  const files = await rotatedFiles(source.path, source.maxLogFiles);
  const from = { position: 0 };
  if (request.tailLines !== undefined) {
    // What is appended while the tail is read is left to the follower, which begins where the newest file ended.
    const newestBytes = (await stat(source.path).catch(() => undefined))?.size ?? 0;
    for (const line of await tail(files, newestBytes, request.tailLines, wanted)) yield cut(render(line, timestamps));
    from.position = newestBytes;
  } else {
    for (const path of files) {
      const file = await open(path).catch(() => undefined);
      if (!file) continue;
      const position = { position: 0 };
      try {
        for await (const raw of linesOf(file, position)) {
          const line = parseLogLine(raw);
          if (line && wanted(line)) yield cut(render(line, timestamps));
          if (budget <= 0 || signal.aborted) return;
        }
      } finally {
        await file.close();
      }
      from.position = position.position;
    }
  }
  if (!request.follow) return;
  for await (const line of follow(source, from, signal)) {
    if (wanted(line)) yield cut(render(line, timestamps));
    if (budget <= 0) return;
  }
}

export function readLogs(source: LogSource, request: LogRequest, signal: AbortSignal): Readable {
  return Readable.from(logChunks(source, request, signal), { objectMode: false });
}
