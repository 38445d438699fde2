/** A watch's newline JSON as batches of events: whatever came in one piece from the socket comes as one batch. */
import { isPintleError, PintleError, type KubernetesObject, type WatchEvent } from '../../../kernel/contract/index.ts';
import type { Call, HttpClient } from './http-client.ts';
import { statusError } from './status-error.ts';

const newline = 0x0a;
/** An object has at most 3 MiB; this allows for its escapes. */
const maxLineBytes = 64 * 1024 * 1024;

export async function* watchEvents<T extends KubernetesObject>(
  client: HttpClient,
  call: Call,
  signal: AbortSignal,
): AsyncGenerator<readonly WatchEvent<T>[]> {
  if (signal.aborted) return;
  try {
    const answer = await client.stream({ ...call, signal });
    const lines = new LineCutter();
    for await (const chunk of answer) {
      const batch = lines.push(chunk as Buffer).map((line) => parseEvent<T>(line, call));
      if (batch.length > 0) yield batch;
    }
  } catch (error) {
    if (signal.aborted) return;
    if (isPintleError(error)) throw error;
    throw new PintleError('UNAVAILABLE', `the watch ${call.path} broke: ${String((error as Error).message)}`, {
      cause: error,
    });
  }
}

function parseEvent<T extends KubernetesObject>(line: Buffer, call: Call): WatchEvent<T> {
  let event: { readonly type: string; readonly object: unknown };
  try {
    event = JSON.parse(line.toString()) as typeof event;
  } catch (cause) {
    throw new PintleError('UNAVAILABLE', `the watch ${call.path} sent a line that is no JSON`, { cause });
  }
  switch (event.type) {
    case 'ADDED':
    case 'MODIFIED':
    case 'DELETED':
    case 'BOOKMARK':
      return event as WatchEvent<T>;
    case 'ERROR':
      throw statusError(event.object, 500, `the watch ${call.path}`);
    default:
      throw new PintleError(
        'INTERNAL',
        `the watch ${call.path} sent an event of the unknown type ${JSON.stringify(event.type)}`,
      );
  }
}

/** Cuts whole lines out of chunks; a long line over many chunks is joined once, at its end. */
class LineCutter {
  #pieces: Buffer[] = [];
  #bytes = 0;

  push(chunk: Buffer): readonly Buffer[] {
    const lines: Buffer[] = [];
    let from = 0;
    for (let end = chunk.indexOf(newline, from); end >= 0; end = chunk.indexOf(newline, from)) {
      const piece = chunk.subarray(from, end);
      const line = this.#pieces.length === 0 ? piece : Buffer.concat([...this.#pieces, piece]);
      this.#pieces = [];
      this.#bytes = 0;
      if (line.length > 0) lines.push(line);
      from = end + 1;
    }
    if (from < chunk.length) {
      this.#pieces.push(chunk.subarray(from));
      this.#bytes += chunk.length - from;
      if (this.#bytes > maxLineBytes)
        throw new PintleError('TOO_LARGE', `a watch sent a line of more than ${maxLineBytes} bytes`);
    }
    return lines;
  }
}
