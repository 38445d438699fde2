/** The client's side of SPDY/3.1 for tests: opens streams, collects what comes, and can send junk. */
import { randomBytes } from 'node:crypto';
import { connect, type Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { constants, createDeflate, createInflate } from 'node:zlib';
import { spdyDictionary } from '../../../kernel/machinery/spdy/spdy-dictionary.ts';

export interface ClientStream {
  readonly id: number;
  text: string;
  isEnded: boolean;
  isReset: boolean;
  write(data: string | Buffer): void;
  end(): void;
  reset(): void;
  done(): Promise<string>;
}

export class SpdyClient {
  readonly #socket: Duplex;
  readonly #deflate = createDeflate({ dictionary: spdyDictionary });
  readonly #inflate = createInflate({ dictionary: spdyDictionary });
  readonly #streams = new Map<number, ClientStream>();
  readonly replies: number[] = [];
  readonly pings: number[] = [];
  #rest = Buffer.alloc(0);
  #nextId = 1;
  #wake: () => void = () => undefined;
  readonly closed: Promise<void>;

  constructor(socket: Duplex, head: Buffer) {
    this.#socket = socket;
    this.closed = new Promise((resolve) => socket.once('close', () => resolve()));
    socket.on('error', () => undefined);
    socket.on('close', () => this.#wake());
    this.#inflate.on('data', () => undefined);
    socket.on('data', (chunk: Buffer) => this.#feed(chunk));
    this.#feed(head);
  }

  async open(headers: Record<string, string>, options: { readonly fin?: boolean } = {}): Promise<ClientStream> {
    const id = this.#nextId;
    this.#nextId += 2;
    await this.openAs(id, headers, options);
    const stream: ClientStream = {
      id,
      text: '',
      isEnded: false,
      isReset: false,
      write: (data) => this.data(id, Buffer.from(data), false),
      end: () => this.data(id, Buffer.alloc(0), true),
      reset: () => this.control(3, 0, Buffer.concat([u32(id), u32(5)])),
      done: async () => {
        while (!stream.isEnded && !stream.isReset && !this.#socket.destroyed)
          await new Promise<void>((resolve) => (this.#wake = resolve));
        return stream.text;
      },
    };
    this.#streams.set(id, stream);
    return stream;
  }

  async openAs(id: number, headers: Record<string, string>, options: { readonly fin?: boolean } = {}): Promise<void> {
    const entries = Object.entries(headers);
    const block = Buffer.concat([
      u32(entries.length),
      ...entries.flatMap(([name, value]) => [
        u32(name.length),
        Buffer.from(name),
        u32(value.length),
        Buffer.from(value),
      ]),
    ]);
    const compressed = await new Promise<Buffer>((resolve) => {
      const chunks: Buffer[] = [];
      const onData = (chunk: Buffer): void => void chunks.push(chunk);
      this.#deflate.on('data', onData);
      this.#deflate.write(block);
      this.#deflate.flush(constants.Z_SYNC_FLUSH, () => {
        this.#deflate.off('data', onData);
        resolve(Buffer.concat(chunks));
      });
    });
    this.control(1, options.fin === true ? 1 : 0, Buffer.concat([u32(id), u32(0), Buffer.from([0, 0]), compressed]));
  }

  control(type: number, flags: number, payload: Buffer): void {
    const head = Buffer.alloc(8);
    head.writeUInt16BE(0x8003, 0);
    head.writeUInt16BE(type, 2);
    head.writeUInt8(flags, 4);
    head.writeUIntBE(payload.length, 5, 3);
    this.raw(Buffer.concat([head, payload]));
  }

  data(id: number, payload: Buffer, isLast: boolean): void {
    const head = Buffer.alloc(8);
    head.writeUInt32BE(id, 0);
    head.writeUInt8(isLast ? 1 : 0, 4);
    head.writeUIntBE(payload.length, 5, 3);
    this.raw(Buffer.concat([head, payload]));
  }

  raw(bytes: Buffer): void {
    this.#socket.write(bytes);
  }

  /** One byte at a time: frames must not depend on how they are cut. */
  async trickle(bytes: Buffer): Promise<void> {
    for (const byte of bytes) {
      this.#socket.write(Buffer.from([byte]));
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  close(): void {
    this.#socket.destroy();
  }

  #feed(chunk: Buffer): void {
    this.#rest = Buffer.concat([this.#rest, chunk]);
    while (this.#rest.length >= 8) {
      const length = this.#rest.readUIntBE(5, 3);
      if (this.#rest.length < 8 + length) break;
      const head = this.#rest.subarray(0, 8);
      const payload = this.#rest.subarray(8, 8 + length);
      this.#rest = this.#rest.subarray(8 + length);
      if ((head.readUInt8(0) & 0x80) !== 0) {
        const type = head.readUInt16BE(2);
        if (type === 2) this.replies.push(payload.readUInt32BE(0));
        else if (type === 6) this.pings.push(payload.readUInt32BE(0));
        else if (type === 3) {
          const stream = this.#streams.get(payload.readUInt32BE(0));
          if (stream !== undefined) stream.isReset = true;
        }
      } else {
        const stream = this.#streams.get(head.readUInt32BE(0));
        if (stream !== undefined) {
          stream.text += payload.toString();
          if ((head.readUInt8(4) & 1) !== 0) stream.isEnded = true;
        }
      }
    }
    this.#wake();
  }
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

/** Writes `head`, an upgrade, to the unix socket, and hands over the answer's head and what came behind it. */
function upgrade(
  socketPath: string,
  head: string,
): Promise<{ readonly answer: string; readonly socket: Socket; readonly rest: Buffer }> {
  return new Promise((resolve, reject) => {
    const socket = connect({ path: socketPath });
    let seen = Buffer.alloc(0);
    const onData = (chunk: Buffer): void => {
      seen = Buffer.concat([seen, chunk]);
      const end = seen.indexOf('\r\n\r\n');
      if (end < 0) return;
      socket.off('data', onData);
      resolve({ answer: seen.subarray(0, end).toString(), socket, rest: seen.subarray(end + 4) });
    };
    socket.on('data', onData);
    socket.once('error', reject);
    socket.write(head);
  });
}

/** Upgrades a connection to the unix socket; `answer` is the head of the HTTP answer. */
export async function upgradeSpdy(
  socketPath: string,
  path: string,
  protocols: string,
): Promise<{ readonly answer: string; readonly client: SpdyClient }> {
  const head = `POST ${path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: ${protocols}\r\nContent-Length: 0\r\n\r\n`;
  const { answer, socket, rest } = await upgrade(socketPath, head);
  return { answer, client: new SpdyClient(socket, rest) };
}

/** The same inside a WebSocket, by hand: the name of the protocol is none that a WebSocket library would take. */
export async function upgradeTunnelledSpdy(
  socketPath: string,
  path: string,
  protocol: string,
): Promise<{ readonly answer: string; readonly client: SpdyClient }> {
  const key = randomBytes(16).toString('base64');
  const head = `GET ${path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${key}\r\nSec-WebSocket-Protocol: ${protocol}\r\n\r\n`;
  const { answer, socket, rest } = await upgrade(socketPath, head);
  let pending = rest;
  // Frames of RFC 6455: a binary one a write, masked with zeros; of the server's the payloads, none above 64 KiB here.
  const tunnel = new Duplex({
    read: () => undefined,
    write: (chunk: Buffer, _encoding, done) => {
      const { length } = chunk;
      const size = length < 126 ? [0x80 | length] : [0x80 | 126, length >> 8, length & 0xff];
      socket.write(Buffer.concat([Buffer.from([0x82, ...size, 0, 0, 0, 0]), chunk]), () => done());
    },
    destroy: (error, done) => {
      socket.destroy();
      done(error);
    },
  });
  const feed = (chunk: Buffer): void => {
    pending = Buffer.concat([pending, chunk]);
    while (pending.length >= 4) {
      const isLong = (pending[1]! & 0x7f) === 126;
      const [start, length] = isLong ? [4, pending.readUInt16BE(2)] : [2, pending[1]! & 0x7f];
      if (pending.length < start + length) return;
      if ((pending[0]! & 0x0f) === 2) tunnel.push(pending.subarray(start, start + length));
      pending = pending.subarray(start + length);
    }
  };
  socket.on('data', feed);
  socket.on('close', () => tunnel.destroy());
  feed(Buffer.alloc(0));
  return { answer, client: new SpdyClient(tunnel, Buffer.alloc(0)) };
}
