/**
 * SPDY/3.1 as Kubernetes' clients speak it after an upgrade (moby/spdystream): streams with headers, data both ways, no
 * flow control. Runs over any Duplex, a socket or a WebSocket. A server takes streams (`onStream`), a client opens them.
 *
 *   control frame  | 1 | version 3 (15) | type (16) | flags (8) | length (24) | payload |
 *   data frame     | 0 | stream id (31)             | flags (8) | length (24) | payload |
 */
import { Duplex } from 'node:stream';
import { constants, createDeflate, createInflate, type Deflate, type Inflate } from 'node:zlib';
import { spdyDictionary } from './spdy-dictionary.ts';

const controlTypes = {
  synStream: 1,
  synReply: 2,
  rstStream: 3,
  settings: 4,
  ping: 6,
  goAway: 7,
  headers: 8,
  windowUpdate: 9,
} as const;
const resets = { protocolError: 1, refusedStream: 3, cancel: 5, internalError: 6 } as const;
const finFlag = 1;
const frameHeadBytes = 8;
/** Headers of a stream are a few hundred bytes. */
const maxControlBytes = 64 * 1024;
const maxHeaderBytes = 256 * 1024;
const maxStreams = 1000;
/** What all streams together may hold unread before the connection is no longer read. */
const maxUnreadBytes = 4 * 1024 * 1024;
const dataChunkBytes = 32 * 1024;

export class SpdyStream extends Duplex {
  readonly id: number;
  /** Names in lower case. */
  readonly headers: ReadonlyMap<string, string>;
  readonly #connection: SpdyConnection;
  #unread = 0;

  constructor(connection: SpdyConnection, id: number, headers: ReadonlyMap<string, string>) {
    super({ allowHalfOpen: true });
    this.#connection = connection;
    this.id = id;
    this.headers = headers;
    // A broken stream is one user's; nobody may be listening yet.
    this.on('error', () => undefined);
  }

  /** Called by the connection. */
  deliver(chunk: Buffer): void {
    if (this.destroyed || this.readableEnded) return;
    if (!this.push(chunk)) {
      this.#unread += chunk.length;
      this.#connection.addUnread(chunk.length);
    }
  }

  override _read(): void {
    const unread = this.#unread;
    this.#unread = 0;
    if (unread > 0) this.#connection.addUnread(-unread);
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, callback: (error?: Error | null) => void): void {
    this.#connection.sendData(this.id, chunk, false, callback);
  }

  override _final(callback: (error?: Error | null) => void): void {
    this.#connection.sendData(this.id, Buffer.alloc(0), true, callback);
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this._read();
    this.#connection.forget(this, error !== null || !this.writableFinished);
    callback(error);
  }
}

export class SpdyConnection {
  readonly #transport: Duplex;
  readonly #streams = new Map<number, SpdyStream>();
  readonly #inflate: Inflate = createInflate({ dictionary: spdyDictionary });
  readonly #deflate: Deflate = createDeflate({ dictionary: spdyDictionary });
  #rest: Buffer = Buffer.alloc(0);
  #data: { readonly stream: SpdyStream | undefined; left: number; readonly isLast: boolean } | undefined;
  #isWorking = false;
  #unread = 0;
  #lastId = 0;
  #nextId = 1;
  /** The compression state goes on from block to block, so streams are opened one after the other. */
  #opening: Promise<unknown> = Promise.resolve();
  #onStream: (stream: SpdyStream) => void = () => undefined;
  readonly #closeListeners = new Set<() => void>();
  #hasEnded = false;
  #isClosed = false;

  constructor(transport: Duplex) {
    this.#transport = transport;
    for (const codec of [this.#inflate, this.#deflate]) codec.on('error', () => this.close());
    transport.on('data', (chunk: Buffer) => {
      this.#rest = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
      void this.#work();
    });
    transport.on('error', () => this.close());
    // What came before the end is still given to its streams.
    const onEnd = (): void => {
      this.#hasEnded = true;
      void this.#work();
    };
    transport.once('end', onEnd);
    transport.once('close', onEnd);
  }

  onStream(listener: (stream: SpdyStream) => void): void {
    this.#onStream = listener;
  }

  /** Opens a stream, as a client. Data may be written at once. */
  async open(headers: Readonly<Record<string, string>>): Promise<SpdyStream> {
    const id = this.#nextId;
    this.#nextId += 2;
    const stream = new SpdyStream(this, id, new Map(Object.entries(headers)));
    this.#streams.set(id, stream);
    const sent = this.#opening.then(async () => {
      const head = Buffer.alloc(10);
      head.writeUInt32BE(id);
      const block = await through(this.#deflate, headerBlock(headers));
      this.#sendControl(controlTypes.synStream, Buffer.concat([head, block]));
    });
    // Whoever opened this stream hears of its failure; the next one only waits for its turn.
    this.#opening = sent.catch(() => undefined);
    await sent;
    return stream;
  }

  /** Any number of listeners; one that comes too late is called at once. */
  onClose(listener: () => void): void {
    if (this.#isClosed) listener();
    else this.#closeListeners.add(listener);
  }

  /** Ends every stream and the transport, after what has been written. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    for (const stream of this.#streams.values()) {
      endStream(stream);
    }
    this.#streams.clear();
    this.#inflate.close();
    this.#deflate.close();
    this.#transport.end();
    // A peer that does not close its side must not keep the socket.
    setTimeout(() => this.#transport.destroy(), 2000).unref();
    for (const listener of this.#closeListeners) listener();
    this.#closeListeners.clear();
  }

  /** Called by streams. */
  addUnread(bytes: number): void {
    this.#unread += bytes;
    if (this.#unread > maxUnreadBytes) this.#transport.pause();
    else if (this.#transport.isPaused()) this.#transport.resume();
  }

  /** Called by streams. */
  sendData(id: number, chunk: Buffer, isLast: boolean, callback: (error?: Error | null) => void): void {
    if (this.#isClosed || !this.#transport.writable) {
      callback();
      return;
    }
    const frames: Buffer[] = [];
    for (let from = 0; from < chunk.length || (isLast && from === 0); from += dataChunkBytes) {
      const piece = chunk.subarray(from, from + dataChunkBytes);
      const head = Buffer.alloc(frameHeadBytes);
      head.writeUInt32BE(id, 0);
      head.writeUInt8(isLast && from + dataChunkBytes >= chunk.length ? finFlag : 0, 4);
      head.writeUIntBE(piece.length, 5, 3);
      frames.push(head, piece);
    }
    // A transport that breaks ends every stream through `close`; the stream itself has nothing to add.
    this.#transport.write(Buffer.concat(frames), () => callback());
  }

  /** Called by a stream that is destroyed. */
  forget(stream: SpdyStream, isAbrupt: boolean): void {
    if (!this.#streams.delete(stream.id) || this.#isClosed) return;
    if (isAbrupt) this.#reset(stream.id, resets.cancel);
  }

  async #work(): Promise<void> {
    if (this.#isWorking) return;
    this.#isWorking = true;
    try {
      while (!this.#isClosed && (await this.#step()));
      if (this.#hasEnded) this.close();
    } catch {
      this.close();
    } finally {
      this.#isWorking = false;
    }
  }

  /** Deals with one frame, or a piece of a data frame. False: more bytes are needed. */
  async #step(): Promise<boolean> {
    if (this.#data !== undefined) return this.#takeData(this.#data);
    if (this.#rest.length < frameHeadBytes) return false;
    const isControl = (this.#rest.readUInt8(0) & 0x80) !== 0;
    const flags = this.#rest.readUInt8(4);
    const length = this.#rest.readUIntBE(5, 3);
    if (!isControl) {
      const stream = this.#streams.get(this.#rest.readUInt32BE(0) & 0x7fffffff);
      this.#rest = this.#rest.subarray(frameHeadBytes);
      this.#data = { stream, left: length, isLast: (flags & finFlag) !== 0 };
      return true;
    }
    if ((this.#rest.readUInt16BE(0) & 0x7fff) !== 3) throw new RangeError('not SPDY/3');
    if (length > maxControlBytes) throw new RangeError('a control frame is too long');
    if (this.#rest.length < frameHeadBytes + length) return false;
    const type = this.#rest.readUInt16BE(2);
    const payload = Buffer.from(this.#rest.subarray(frameHeadBytes, frameHeadBytes + length));
    this.#rest = this.#rest.subarray(frameHeadBytes + length);
    await this.#control(type, flags, payload);
    return true;
  }

  #takeData(data: { readonly stream: SpdyStream | undefined; left: number; readonly isLast: boolean }): boolean {
    const piece = this.#rest.subarray(0, data.left);
    if (piece.length === 0 && data.left > 0) return false;
    this.#rest = this.#rest.subarray(piece.length);
    data.left -= piece.length;
    if (piece.length > 0) data.stream?.deliver(Buffer.from(piece));
    if (data.left === 0) {
      this.#data = undefined;
      if (data.isLast && data.stream !== undefined && !data.stream.destroyed) data.stream.push(null);
    }
    return true;
  }

  async #control(type: number, flags: number, payload: Buffer): Promise<void> {
    switch (type) {
      case controlTypes.synStream:
        return this.#openStream(payload, (flags & finFlag) !== 0);
      case controlTypes.synReply:
      case controlTypes.headers:
        // The compression state is shared by all blocks: each must be read, also one that nobody needs.
        await this.#readHeaders(payload.subarray(4));
        return;
      case controlTypes.rstStream: {
        const stream = this.#streams.get(payload.readUInt32BE(0) & 0x7fffffff);
        if (stream === undefined) return;
        this.#streams.delete(stream.id);
        endStream(stream);
        return;
      }
      case controlTypes.ping:
        this.#sendControl(controlTypes.ping, payload);
        return;
      case controlTypes.goAway:
        // The peer opens no more streams; those that are open go on until it closes.
        return;
      case controlTypes.settings:
      case controlTypes.windowUpdate:
        return;
      default:
        throw new RangeError(`control frame of the unknown type ${type}`);
    }
  }

  async #openStream(payload: Buffer, isEnded: boolean): Promise<void> {
    const id = payload.readUInt32BE(0) & 0x7fffffff;
    const headers = await this.#readHeaders(payload.subarray(10));
    // A client's streams are odd and rise.
    if (id % 2 === 0 || id <= this.#lastId) {
      this.#reset(id, resets.protocolError);
      return;
    }
    this.#lastId = id;
    if (this.#streams.size >= maxStreams) {
      this.#reset(id, resets.refusedStream);
      return;
    }
    const stream = new SpdyStream(this, id, headers);
    this.#streams.set(id, stream);
    const head = Buffer.alloc(4);
    head.writeUInt32BE(id);
    this.#sendControl(controlTypes.synReply, Buffer.concat([head, await this.#noHeaders()]));
    if (isEnded) stream.push(null);
    this.#onStream(stream);
  }

  #reset(id: number, status: number): void {
    const payload = Buffer.alloc(8);
    payload.writeUInt32BE(id, 0);
    payload.writeUInt32BE(status, 4);
    this.#sendControl(controlTypes.rstStream, payload);
  }

  #sendControl(type: number, payload: Buffer): void {
    if (this.#isClosed || !this.#transport.writable) return;
    const head = Buffer.alloc(frameHeadBytes);
    head.writeUInt16BE(0x8003, 0);
    head.writeUInt16BE(type, 2);
    head.writeUIntBE(payload.length, 5, 3);
    this.#transport.write(Buffer.concat([head, payload]));
  }

  /** | count | name length | name | value length | value | ..., 4-byte numbers, compressed. */
  async #readHeaders(compressed: Buffer): Promise<ReadonlyMap<string, string>> {
    const bytes = await through(this.#inflate, compressed);
    const headers = new Map<string, string>();
    let at = 0;
    const text = (): string => {
      const length = bytes.readUInt32BE(at);
      at += 4;
      if (at + length > bytes.length) throw new RangeError('a header is longer than its block');
      at += length;
      return bytes.toString('latin1', at - length, at);
    };
    const count = bytes.readUInt32BE(at);
    at += 4;
    if (count > 1000) throw new RangeError('too many headers');
    for (let index = 0; index < count; index++) {
      const name = text().toLowerCase();
      headers.set(name, text());
    }
    return headers;
  }

  #noHeaders(): Promise<Buffer> {
    return through(this.#deflate, Buffer.alloc(4));
  }
}

/** Servers reset a stream after its last byte. Destroyed at once, it would forget what nobody has read yet. */
function endStream(stream: SpdyStream): void {
  if (!stream.readableEnded) stream.push(null);
  if (stream.readableLength > 0) stream.once('end', () => stream.destroy());
  else stream.destroy();
}

function headerBlock(headers: Readonly<Record<string, string>>): Buffer {
  const number = (value: number): Buffer => {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32BE(value);
    return bytes;
  };
  const text = (value: string): readonly Buffer[] => [number(Buffer.byteLength(value)), Buffer.from(value)];
  const entries = Object.entries(headers);
  return Buffer.concat([
    number(entries.length),
    ...entries.flatMap(([name, value]) => [...text(name.toLowerCase()), ...text(value)]),
  ]);
}

/** One block through a codec whose state goes on from block to block. */
function through(codec: Inflate | Deflate, input: Buffer): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let size = 0;
    const settle = (act: () => void): void => {
      codec.off('data', onData).off('error', onError).off('close', onClose);
      act();
    };
    const onData = (chunk: Buffer): void => {
      size += chunk.length;
      chunks.push(chunk);
      if (size > maxHeaderBytes) settle(() => reject(new RangeError('a header block is too large')));
    };
    const onError = (error: Error): void => settle(() => reject(error));
    const onClose = (): void => settle(() => reject(new RangeError('the connection has ended')));
    codec.on('data', onData).on('error', onError).on('close', onClose);
    codec.write(input);
    codec.flush(constants.Z_SYNC_FLUSH, () => settle(() => resolve(Buffer.concat(chunks, size))));
  });
}
