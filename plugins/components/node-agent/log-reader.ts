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

/**
 * The log's files, open and oldest first: rotation keeps path.N (oldest) ... path.1, path. Opened newest first, so that a
 * rotation meanwhile shows a file twice rather than not at all.
 */
async function openFiles(path: string, maxFiles: number): Promise<FileHandle[]> {
  const found: FileHandle[] = [];
  const seen = new Set<number>();
  for (let index = 0; index <= maxFiles; index += 1) {
    const file = await openIfThere(index === 0 ? path : `${path}.${index}`);
    if (!file) continue;
    const { ino } = await file.stat();
    if (seen.has(ino)) await file.close();
    else found.unshift(file);
    seen.add(ino);
  }
  return found;
}

/** Undefined: no such file (yet, or any more). */
async function openIfThere(path: string): Promise<FileHandle | undefined> {
  try {
    return await open(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** The file that followed `file`, or undefined while that is still the newest. Of files that are gone, nothing can be read. */
async function successor(path: string, maxFiles: number, file: FileHandle): Promise<FileHandle | undefined> {
  const { ino } = await file.stat();
  if ((await stat(path).catch(() => undefined))?.ino === ino) return undefined;
  const files = await openFiles(path, maxFiles);
  const inodes = await Promise.all(files.map(async (each) => (await each.stat()).ino));
  const next = files[inodes.indexOf(ino) + 1];
  await Promise.all(files.filter((each) => each !== next).map((each) => each.close()));
  return next;
}

const chunkBytes = 64 * 1024;

async function* linesOf(file: FileHandle, from: { position: number }): AsyncGenerator<Buffer> {
  let rest = Buffer.alloc(0);
  for (;;) {
    const offset = from.position + rest.length;
    const { bytesRead, buffer } = await file.read(Buffer.allocUnsafe(chunkBytes), 0, chunkBytes, offset);
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

/** The time stands before a line, not before each of its pieces. */
function renderer(timestamps: boolean): (line: LogLine) => Buffer {
  let isBegin = true;
  return (line) => {
    const parts = timestamps && isBegin ? [Buffer.from(`${line.time} `), line.text] : [line.text];
    if (line.isFull) parts.push(Buffer.from('\n'));
    isBegin = line.isFull;
    return Buffer.concat(parts);
  };
}

/** The last `count` lines of the files, each with its pieces before it; a last one may still lack its end. */
async function tail(
  files: readonly FileHandle[],
  newest: { position: number },
  count: number,
  wanted: (line: LogLine) => boolean,
): Promise<LogLine[]> {
  const kept: LogLine[] = [];
  let full = 0;
  for (const [index, file] of files.entries()) {
    const position = index === files.length - 1 ? newest : { position: 0 };
    for await (const raw of linesOf(file, position)) {
      const line = parseLogLine(raw);
      if (!line || !wanted(line)) continue;
      kept.push({ ...line, text: Buffer.from(line.text) });
      if (line.isFull) full += 1;
      while (kept.length > 0 && full + (line.isFull ? 0 : 1) > count) {
        const dropped = kept.shift()!;
        if (dropped.isFull) full -= 1;
      }
    }
  }
  return kept;
}

export interface LogSource {
  readonly path: string;
  readonly maxLogFiles: number;
  /** False once the container has ended, or is gone: following stops at the end of the file. */
  isRunning(): Promise<boolean>;
}

/** Goes on where `from` stands in `file` (undefined: the log is not there yet), over every rotation. Closes what it opens. */
async function* follow(
  source: LogSource,
  begin: FileHandle | undefined,
  from: { position: number },
  signal: AbortSignal,
): AsyncGenerator<LogLine> {
  let wake: () => void = () => {};
  // The folder, because rotation replaces the file. Events only wake the loop; the timer covers lost ones.
  const watcher = watch(dirname(source.path), { persistent: false }, () => wake());
  watcher.on('error', () => wake());
  signal.addEventListener('abort', () => wake(), { once: true });
  let file = begin;
  try {
    while (!signal.aborted) {
      const isRunning = await source.isRunning();
      let timer: NodeJS.Timeout | undefined;
      const pause = new Promise<void>((resolve) => {
        wake = resolve;
        timer = setTimeout(resolve, 1000);
      });
      const next = file ? await successor(source.path, source.maxLogFiles, file) : await openIfThere(source.path);
      let any = false;
      if (file) {
        for await (const raw of linesOf(file, from)) {
          const line = parseLogLine(raw);
          any = true;
          if (line) yield line;
          if (signal.aborted) break;
        }
      }
      if (next) {
        await file?.close();
        file = next;
        from.position = 0;
      } else if (!any) {
        if (!isRunning) return;
        await pause;
      }
      clearTimeout(timer);
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
  const render = renderer(request.timestamps ?? false);
  const files = await openFiles(source.path, source.maxLogFiles);
  const newest = files.at(-1);
  const from = { position: 0 };
  let isFollowed = false;
  try {
    if (request.tailLines !== undefined) {
      for (const line of await tail(files, from, request.tailLines, wanted)) {
        yield cut(render(line));
        if (budget <= 0 || signal.aborted) return;
      }
    } else {
      for (const file of files) {
        for await (const raw of linesOf(file, file === newest ? from : { position: 0 })) {
          const line = parseLogLine(raw);
          if (line && wanted(line)) yield cut(render(line));
          if (budget <= 0 || signal.aborted) return;
        }
      }
    }
    if (!request.follow) return;
    isFollowed = true;
    for await (const line of follow(source, newest, from, signal)) {
      if (wanted(line)) yield cut(render(line));
      if (budget <= 0) return;
    }
  } finally {
    for (const file of files) if (!isFollowed || file !== newest) await file.close();
  }
}

export function readLogs(source: LogSource, request: LogRequest, signal: AbortSignal): Readable {
  return Readable.from(logChunks(source, request, signal), { objectMode: false });
}
