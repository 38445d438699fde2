/**
 * The streams of an exec or attach: one connection that the engine gave up HTTP on. Without a terminal, output comes in
 * frames: | stream 0-2 | 0 | 0 | 0 | length, 4 bytes big-endian | bytes |. Ending our side ends the process's input.
 */
import type { Duplex } from 'node:stream';
import { PassThrough, Writable } from 'node:stream';

const headerBytes = 8;
const beginningBytes = 1024;

export interface EngineStreams {
  readonly stdin: Writable | undefined;
  readonly stdout: PassThrough;
  readonly stderr: PassThrough | undefined;
  /** The first bytes of the output. */
  readonly beginning: () => string;
  /** Resolves when the engine has sent all; never rejects. */
  readonly ended: Promise<void>;
  close(): void;
}

export function engineStreams(
  connection: Duplex,
  request: { readonly stdin: boolean; readonly tty: boolean },
): EngineStreams {
  const stdout = new PassThrough();
  const stderr = request.tty ? undefined : new PassThrough();
  /** The connection goes on when all that were full have room. */
  const full = new Set<PassThrough>();
  let beginning = Buffer.alloc(0);
  const give = (target: PassThrough, bytes: Buffer): void => {
    if (beginning.length < beginningBytes)
      beginning = Buffer.concat([beginning, bytes.subarray(0, beginningBytes - beginning.length)]);
    if (target.destroyed || target.writableEnded || target.write(bytes) || full.has(target)) return;
    full.add(target);
    connection.pause();
    const goOn = (): void => {
      if (full.delete(target) && full.size === 0) connection.resume();
    };
    target.once('drain', goOn).once('close', goOn);
  };
  const take = request.tty
    ? (bytes: Buffer) => give(stdout, bytes)
    : framesTo((index, bytes) => give(index === 2 ? stderr! : stdout, bytes));
  const ended = new Promise<void>((resolve) => {
    const finish = (): void => {
      if (!stdout.writableEnded) stdout.end();
      if (stderr?.writableEnded === false) stderr.end();
      resolve();
    };
    connection.once('end', finish).once('close', finish);
  });
  connection.on('data', take);
  connection.on('error', () => connection.destroy());
  const stdin = request.stdin ? inputOf(connection) : undefined;
  return {
    stdin,
    stdout,
    stderr,
    beginning: () => beginning.toString('utf8'),
    ended,
    close: () => {
      connection.destroy();
      stdin?.destroy();
    },
  };
}

function framesTo(give: (index: number, bytes: Buffer) => void): (bytes: Buffer) => void {
  let header = Buffer.alloc(0);
  let left = 0;
  return (bytes) => {
    for (let at = 0; at < bytes.length;) {
      if (left > 0) {
        const piece = bytes.subarray(at, at + left);
        give(header[0] ?? 1, piece);
        left -= piece.length;
        at += piece.length;
        if (left === 0) header = Buffer.alloc(0);
        continue;
      }
      const more = bytes.subarray(at, at + headerBytes - header.length);
      header = Buffer.concat([header, more]);
      at += more.length;
      if (header.length < headerBytes) return;
      left = header.readUInt32BE(4);
      if (left === 0) header = Buffer.alloc(0);
    }
  };
}

/** Ending it ends the input only: the connection stays open for output. */
function inputOf(connection: Duplex): Writable {
  const input = new Writable({
    write: (chunk: Buffer, _encoding, callback) => {
      if (connection.destroyed || connection.writableEnded) callback();
      else connection.write(chunk, () => callback());
    },
    final: (callback) => {
      if (!connection.destroyed && !connection.writableEnded) connection.end();
      callback();
    },
  });
  input.on('error', () => undefined);
  return input;
}
