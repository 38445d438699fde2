/**
 * The node tunnel: how the API server reaches the containers of a node that has no open port.
 *
 * The agent opens `POST /apis/pintle.dev/v1/nodes/NAME/tunnel` with `Upgrade: pintle-tunnel` (HTTP/1.1). After the 101 the
 * API server is an HTTP/2 *client* on that connection and the agent an HTTP/2 server; each request of a user is one stream:
 *
 *   POST /logs | /exec | /attach | /port-forward | /stats | /metrics | /network     body: one `request` frame with the JSON of the NodeService request
 *   200                                              then, by path:
 *     logs           the log's bytes
 *     stats          JSON NodeUsage
 *     metrics        Prometheus text
 *     network        JSON of NetworkAnswers
 *     port-forward   the connection's bytes, both ways (end of stream is a half-close)
 *     exec, attach   frames both ways
 *   4xx, 5xx         body: JSON {code, message, details} of a PintleError
 *
 * A frame:  | type, 1 byte | length, 4 bytes big-endian | payload |
 */
export const tunnelUpgrade = 'pintle-tunnel';

export function tunnelPath(nodeName: string): string {
  return `/apis/pintle.dev/v1/nodes/${encodeURIComponent(nodeName)}/tunnel`;
}

export const frameTypes = {
  request: 0,
  stdin: 1,
  stdout: 2,
  stderr: 3,
  /** JSON {columns, rows} */
  resize: 4,
  /** JSON ProcessExit; the last frame. */
  exit: 5,
  /** stdin ends; output goes on. */
  stdinEnd: 6,
} as const;
export type FrameType = (typeof frameTypes)[keyof typeof frameTypes];

/** A command line may be long; data comes in chunks of pipes and sockets, far below this. */
export const maxFrameBytes = 4 * 1024 * 1024;
const headBytes = 5;

export function frame(type: FrameType, payload: Buffer | string = ''): Buffer {
  const body = typeof payload === 'string' ? Buffer.from(payload) : payload;
  const head = Buffer.allocUnsafe(headBytes);
  head.writeUInt8(type, 0);
  head.writeUInt32BE(body.length, 1);
  return Buffer.concat([head, body]);
}

export interface Frame {
  readonly type: number;
  readonly payload: Buffer;
}

/** Cuts frames out of a byte stream. Throws RangeError when a frame claims to be too long. */
export class FrameReader {
  #rest: Buffer = Buffer.alloc(0);

  /** Bytes after the last whole frame. */
  get rest(): Buffer {
    return this.#rest;
  }

  /** The next whole frame, if there is one. */
  next(): Frame | undefined {
    if (this.#rest.length < headBytes) return undefined;
    const length = this.#rest.readUInt32BE(1);
    if (length > maxFrameBytes)
      throw new RangeError(`a tunnel frame of ${length} bytes came, at most ${maxFrameBytes} are allowed`);
    if (this.#rest.length < headBytes + length) return undefined;
    const found = { type: this.#rest.readUInt8(0), payload: this.#rest.subarray(headBytes, headBytes + length) };
    this.#rest = this.#rest.subarray(headBytes + length);
    return found;
  }

  push(chunk: Buffer): void {
    this.#rest = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
  }
}

/** Windows for a link on one machine or LAN: 64 KiB, the protocol's default, would make each stream wait for its peer. */
export const tunnelWindowBytes = 256 * 1024;
export const tunnelStreams = 1000;
/** Room for all streams: one whose client does not read must not hold up the others. */
export const tunnelSessionWindowBytes = tunnelStreams * tunnelWindowBytes;
/** Node's own limit, 10 MB, is soon reached by so many; in MB. */
export const tunnelSessionMemory = 1024;
/** A peer that answers no ping for this long is gone. */
export const tunnelPingMs = 15_000;
