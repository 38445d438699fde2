/**
 * One watch as an HTTP answer: newline JSON, headers at once, everything of one tick in one write. Lines are made once per
 * tick and shared by all watchers of the same event. A client that does not read holds back its own watch alone, for a time.
 */
import type { ResourceType, WatchEvent, KubernetesObject } from '../../../kernel/contract/index.ts';
import { encodeObject } from './encode-object.ts';
import type { Exchange, HttpResponse } from './http-exchange.ts';
import { warningHeaders } from './http-exchange.ts';
import type { Output } from './negotiation.ts';
import { statusOf } from './status.ts';
import { partialMetadata, tableOf, type IncludeObject } from './table.ts';
import { mostAClient, type SlowClient, type WatchBacklog } from './watch-backlog.ts';

/** A client that takes nothing for so long is gone, or of no use: its connection is cut. */
const stuckClientMs = 60_000;

type Line = (event: WatchEvent<KubernetesObject>) => Buffer;

const lineEnd = Buffer.from('}\n');
const openings = new Map(
  ['ADDED', 'MODIFIED', 'DELETED', 'BOOKMARK', 'ERROR'].map(
    (type) => [type, Buffer.from(`{"type":"${type}","object":`)] as const,
  ),
);

/** Lines of this tick, so that a thousand watchers of one change share one Buffer. */
const linesOfTick = new Map<object, { readonly type: string; readonly line: Buffer }>();

function plainLine(event: WatchEvent<KubernetesObject>): Buffer {
  const known = linesOfTick.get(event.object);
  if (known !== undefined && known.type === event.type) return known.line;
  const line = Buffer.concat([openings.get(event.type) as Buffer, encodeObject(event.object), lineEnd]);
  if (linesOfTick.size === 0) setImmediate(() => linesOfTick.clear());
  linesOfTick.set(event.object, { type: event.type, line });
  return line;
}

/** What the last watcher was sent of this tick: the next one mostly gets the same lines, and then the same bytes. */
let lastJoined: { readonly lines: readonly Buffer[]; readonly bytes: Buffer } | undefined;

export function joined(lines: readonly Buffer[], size: number): Buffer {
  if (lines.length === 1) return lines[0] as Buffer;
  const known = lastJoined;
  if (known !== undefined && known.lines.length === lines.length && known.lines.every((line, at) => line === lines[at]))
    return known.bytes;
  const bytes = Buffer.concat(lines as Buffer[], size);
  if (lastJoined === undefined) setImmediate(() => (lastJoined = undefined));
  lastJoined = { lines, bytes };
  return bytes;
}

/** Only the first event carries the column definitions; clients keep them. */
function tableLine(type: ResourceType, version: 'v1' | 'v1beta1', include: IncludeObject, now: () => number): Line {
  let withHeaders = true;
  return (event) => {
    const head = { resourceVersion: event.object.metadata.resourceVersion ?? '' };
    const objects = event.type === 'BOOKMARK' ? [] : [event.object];
    const table = tableOf(type, objects, head, { version, include }, { now: now(), withHeaders }) as {
      rows: unknown[];
    };
    // A bookmark's annotation (end of the initial events) must reach the client: it rides in the row's object.
    if (event.type === 'BOOKMARK') table.rows = [{ cells: [], object: partialMetadata(event.object, version) }];
    else withHeaders = false;
    return Buffer.from(`${JSON.stringify({ type: event.type, object: table })}\n`);
  };
}

function lineFor(type: ResourceType, output: Output, include: IncludeObject, now: () => number): Line {
  if (output.as === 'object') return plainLine;
  if (output.as === 'Table') return tableLine(type, output.version, include, now);
  const version = output.version;
  return (event) =>
    Buffer.from(`${JSON.stringify({ type: event.type, object: partialMetadata(event.object, version) })}\n`);
}

export interface WatchStreamOptions {
  readonly type: ResourceType;
  readonly output: Output;
  readonly include: IncludeObject;
  readonly now: () => number;
  /** Shared by all watches of the server. */
  readonly backlog: WatchBacklog;
  /** Called once with the number of events, for metrics. */
  readonly onEvents?: (count: number) => void;
  /** The watch broke while its client was there; the client is told, too. */
  readonly onFailure: (error: unknown) => void;
  /** Default: `stuckClientMs`. */
  readonly stuckMs?: number;
}

/** Resolves when the watch has ended, whoever ended it. Rejects only before the headers are out. */
export async function streamWatch(
  exchange: Exchange,
  events: AsyncIterable<readonly WatchEvent<KubernetesObject>[]>,
  options: WatchStreamOptions,
): Promise<void> {
  const { response } = exchange;
  const iterator = events[Symbol.asyncIterator]();
  const line = lineFor(options.type, options.output, options.include, options.now);
  const first = iterator.next();
  // A bad selector is refused in this tick, with an HTTP status; what comes later is an event of a stream that has begun.
  await refusedAtOnce(first);
  startStream(exchange, options.output);
  const writer = new LineWriter(response, options.backlog);
  const stuckMs = options.stuckMs ?? stuckClientMs;
  let next: IteratorResult<readonly WatchEvent<KubernetesObject>[]> | undefined;
  try {
    next = await first;
    let isThere = true;
    while (next.done !== true && isThere) {
      options.onEvents?.(next.value.length);
      for (const event of next.value) {
        writer.add(line(event));
        if (writer.isFull && !(isThere = await writer.hasRoom(stuckMs))) break;
      }
      if (isThere && !response.destroyed) next = await iterator.next();
      else break;
    }
  } catch (error) {
    if (!exchange.signal.aborted) {
      options.onFailure(error);
      writer.add(Buffer.from(`${JSON.stringify({ type: 'ERROR', object: statusOf(error) })}\n`));
    }
  }
  if (next?.done !== true) await iterator.return?.();
  writer.end();
}

async function refusedAtOnce(first: Promise<unknown>): Promise<void> {
  let failure: { readonly error: unknown } | undefined;
  first.catch((error: unknown) => {
    failure = { error };
  });
  await new Promise((resolve) => setImmediate(resolve));
  if (failure === undefined) return;
  const { code } = statusOf(failure.error);
  if (code !== 410) throw failure.error;
}

function startStream(exchange: Exchange, output: Output): void {
  const { response } = exchange;
  const form = output.as === 'object' ? '' : `;as=${output.as};v=${output.version};g=meta.k8s.io`;
  response.setHeader('content-type', `application/json${form}`);
  if (exchange.warnings.length > 0) response.setHeader('warning', warningHeaders(exchange.warnings));
  response.statusCode = 200;
  response.flushHeaders();
}

/** Gathers lines and writes them once a tick, or sooner when they are many. */
class LineWriter implements SlowClient {
  readonly #response: HttpResponse;
  readonly #backlog: WatchBacklog;
  #pending: Buffer[] = [];
  #pendingBytes = 0;
  #isScheduled = false;

  constructor(response: HttpResponse, backlog: WatchBacklog) {
    this.#response = response;
    this.#backlog = backlog;
    const onRead = (): void => backlog.note(this, 0);
    response.on('drain', onRead).once('close', onRead);
  }

  add(line: Buffer): void {
    this.#pending.push(line);
    this.#pendingBytes += line.length;
    if (this.#pendingBytes > mostAClient) this.flush();
    else if (!this.#isScheduled) {
      this.#isScheduled = true;
      setImmediate(() => {
        this.#isScheduled = false;
        this.flush();
      });
    }
  }

  flush(): void {
    if (this.#pending.length === 0) return;
    const bytes = joined(this.#pending, this.#pendingBytes);
    this.#pending = [];
    this.#pendingBytes = 0;
    const response = this.#response;
    if (response.destroyed || response.writableEnded) return;
    if (!response.write(bytes)) this.#backlog.note(this, response.writableLength);
  }

  end(): void {
    this.flush();
    this.#response.end();
  }

  cut(): void {
    this.#pending = [];
    this.#pendingBytes = 0;
    this.#response.destroy();
  }

  get isFull(): boolean {
    return this.#pendingBytes + this.#response.writableLength >= this.#backlog.share;
  }

  /** Waits until the client has taken enough. False: it is gone, or has taken nothing for `stuckMs`. */
  async hasRoom(stuckMs: number): Promise<boolean> {
    const response = this.#response;
    this.flush();
    if (response.destroyed) return false;
    return new Promise((resolve) => {
      const settle = (hasRoom: boolean): void => {
        clearTimeout(timer);
        response.off('drain', onDrain).off('close', onClose);
        resolve(hasRoom);
      };
      const onDrain = (): void => settle(true);
      const onClose = (): void => settle(false);
      const timer = setTimeout(() => {
        settle(false);
        this.cut();
      }, stuckMs);
      response.on('drain', onDrain).on('close', onClose);
      if (!response.writableNeedDrain) settle(!response.destroyed);
    });
  }
}
