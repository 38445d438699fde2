/**
 * A netlink socket of our own over koffi, with the codecs of the `netlink` package. Owns one file descriptor.
 *
 * The kernel answers an rtnetlink or nfnetlink request inside send(2), so a request is one synchronous send and the
 * receives of what is already queued: no waiting, no interleaving, 120,000 requests a second. The `netlink` package's own
 * socket is not used: it aborts the process when its receive buffer overflows.
 */
import { closeSync } from 'node:fs';
import { AttrStream, formatHeader, HEADER_LENGTH, parseAttributes, type StreamData } from 'netlink/dist/structs.js';
import { PintleError } from '../../kernel/contract/index.ts';
import { kernelRefused, libc } from './libc.ts';
import { runInNetns } from './namespaces.ts';

export const NETLINK_ROUTE = 0;
export const NETLINK_NETFILTER = 12;

export const NLM_F_REQUEST = 0x1;
export const NLM_F_ACK = 0x4;
const NLM_F_DUMP_INTR = 0x10;
export const NLM_F_REPLACE = 0x100;
export const NLM_F_EXCL = 0x200;
export const NLM_F_CREATE = 0x400;
export const NLM_F_DUMP = 0x300;

const NLM_F_ACK_TLVS = 0x200;
const NLM_F_CAPPED = 0x100;
const NLMSG_ERROR = 2;
const NLMSG_DONE = 3;
const NLMSG_OVERRUN = 4;
const NFNL_MSG_BATCH_BEGIN = 0x10;
const NFNL_MSG_BATCH_END = 0x11;

const AF_NETLINK = 16;
const SOCK_RAW = 3;
const SOCK_CLOEXEC = 0o2000000;
const SOCK_NONBLOCK = 0o4000;
const SOL_SOCKET = 1;
const SO_SNDBUF = 7;
const SO_RCVBUF = 8;
const SO_SNDBUFFORCE = 32;
const SO_RCVBUFFORCE = 33;
const SOL_NETLINK = 270;
const NETLINK_ADD_MEMBERSHIP = 1;
const NETLINK_CAP_ACK = 10;
const NETLINK_EXT_ACK = 11;
const MSG_DONTWAIT = 0x40;
const MSG_TRUNC = 0x20;
const POLLIN = 1;
const EAGAIN = 11;
const EINTR = 4;
const ENOBUFS = 105;

/** Classic BPF: BPF_LD|BPF_W|BPF_ABS, BPF_JMP|BPF_JEQ|BPF_K, BPF_RET|BPF_K. */
const [BPF_LOAD_WORD, BPF_JUMP_EQUAL, BPF_RETURN] = [0x20, 0x15, 0x06];
/** In struct nlmsghdr. */
const portOffset = 12;

const receiveBytes = 1 << 18;
/** Requests sent in one datagram by `transact`: beyond 64 nothing is gained (measured). */
const batchSize = 64;
/** The kernel answers at once; a longer silence means that something is broken, and blocking for ever would hide it. */
const silenceMs = 10_000;

export interface NetlinkMessage {
  readonly type: number;
  readonly flags: number;
  readonly seq: number;
  /** Port of the socket whose request caused the message; 0: the kernel itself. */
  readonly port: number;
  readonly payload: Buffer;
}

export interface NetlinkRequest {
  readonly type: number;
  /** NLM_F_REQUEST is added. */
  readonly flags: number;
  readonly body: Uint8Array;
  /** For the error's message: "Creating bridge cni0". */
  readonly what: string;
}

export type Received = NetlinkMessage[] | 'nothing' | 'overflow';

/** Joins what a formatter of the `netlink` package emits. */
export function encode(...parts: readonly StreamData[]): Buffer {
  const stream = new AttrStream();
  for (const part of parts) stream.emit(part);
  return Buffer.concat(stream.bufs);
}

/** One attribute: 16 bits of length, 16 bits of type, the value, padding to 4 bytes. */
export function attribute(type: number, value: Uint8Array | string): Buffer {
  const data = typeof value === 'string' ? Buffer.from(`${value}\0`) : value;
  const bytes = Buffer.alloc((4 + data.length + 3) & ~3);
  bytes.writeUInt16LE(4 + data.length, 0);
  bytes.writeUInt16LE(type, 2);
  bytes.set(data, 4);
  return bytes;
}

const NLA_F_NESTED = 0x8000;

export function nested(type: number, ...attributes: readonly Uint8Array[]): Buffer {
  return attribute(type | NLA_F_NESTED, Buffer.concat(attributes));
}

export function u8(value: number): Buffer {
  return Buffer.from([value]);
}
export function u16be(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(value);
  return bytes;
}
export function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

/** The attributes by type; a repeated type keeps its last value. Values are views, valid as long as `bytes` is. */
export function attributes(bytes: Buffer): Map<number, Buffer> {
  const found = new Map<number, Buffer>();
  parseAttributes(bytes, (item) => found.set(item.type, item.data));
  return found;
}

/** The attributes of a list, whose types are all the same. */
export function attributeList(bytes: Buffer): { readonly type: number; readonly data: Buffer }[] {
  const found: { type: number; data: Buffer }[] = [];
  parseAttributes(bytes, ({ type, data }) => found.push({ type, data }));
  return found;
}

export class NetlinkSocket {
  readonly fd: number;
  readonly port: number;
  readonly #buffer = Buffer.allocUnsafeSlow(receiveBytes);
  #sequence = 1;
  #closed = false;

  constructor(
    protocol: number,
    options: { readonly netns?: string | undefined; readonly groups?: readonly number[] } = {},
  ) {
    const groups = options.groups ?? [];
    const open = (): number => libc().socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol);
    this.fd = options.netns === undefined ? open() : runInNetns(options.netns, open);
    if (this.fd < 0) throw kernelRefused(`Opening a netlink socket (protocol ${protocol})`, libc().errno());
    const address = Buffer.alloc(12);
    address.writeUInt16LE(AF_NETLINK, 0);
    if (libc().bind(this.fd, address, 12) !== 0) {
      const error = kernelRefused('Binding a netlink socket', libc().errno());
      closeSync(this.fd);
      throw error;
    }
    this.#option(SOL_NETLINK, NETLINK_EXT_ACK, 1);
    this.#option(SOL_NETLINK, NETLINK_CAP_ACK, 1);
    if (groups.length > 0) {
      // Room for a burst while the event loop is busy. FORCE needs CAP_NET_ADMIN in the initial user namespace; without
      // it the system's limit holds, and an overflow is reported to the reader, who lists again.
      if (!this.#option(SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)) this.#option(SOL_SOCKET, SO_RCVBUF, 4 << 20);
      for (const group of groups) this.#option(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group);
    }
    const length = Buffer.alloc(4);
    length.writeUInt32LE(12);
    libc().getsockname(this.fd, address, length);
    this.port = address.readUInt32LE(4);
  }

  #option(level: number, option: number, value: number): boolean {
    return libc().setsockopt(this.fd, level, option, u32(value), 4) === 0;
  }

  /** Sends one request and returns the messages it was answered with (a dump's whole list). Throws KERNEL_REFUSED. */
  request(request: NetlinkRequest): NetlinkMessage[] {
    const isDump = (request.flags & NLM_F_DUMP) === NLM_F_DUMP;
    // A dump during which the table changed may lack entries: the kernel marks it, and it is taken again.
    for (let attempt = 1; ; attempt += 1) {
      const sequence = this.#send([{ ...request, flags: isDump ? request.flags : request.flags | NLM_F_ACK }]);
      const answer = this.#collect(request, sequence);
      if (!answer.interrupted || attempt === 5) return answer.messages;
    }
  }

  /**
   * Sends many requests in few datagrams. One result a request, in order: undefined, or the error. The kernel takes them one
   * after the other and tells every error by itself; so the last one of a datagram alone asks for an answer, which comes
   * after all errors.
   */
  transact(requests: readonly NetlinkRequest[]): (PintleError | undefined)[] {
    const results: (PintleError | undefined)[] = [];
    for (let start = 0; start < requests.length; start += batchSize) {
      const batch = requests.slice(start, start + batchSize);
      const last = batch.length - 1;
      const first = this.#send(
        batch.map((request, index) => (index === last ? { ...request, flags: request.flags | NLM_F_ACK } : request)),
      );
      const errors = new Map<number, PintleError | undefined>();
      while (!errors.has(last)) {
        for (const message of this.#await(batch[0]?.what ?? 'netlink')) {
          const request = batch[message.seq - first];
          if (message.type !== NLMSG_ERROR || request === undefined) continue;
          errors.set(message.seq - first, errorOf(message, request.what));
        }
      }
      for (let index = 0; index < batch.length; index += 1) results.push(errors.get(index));
    }
    return results;
  }

  /**
   * Sends messages of one nfnetlink subsystem as one transaction: all of it happens, or nothing. Returns the errors; the
   * first is the cause.
   */
  transactBatch(subsystem: number, requests: readonly NetlinkRequest[]): PintleError[] {
    const last = requests.length - 1;
    // struct nfgenmsg: family, version, res_id (big-endian: the subsystem of the batch).
    const edge = { flags: 0, body: Buffer.from([0, 0, 0, subsystem]), what: requests[0]?.what ?? 'nfnetlink' };
    const first = this.#send([
      { ...edge, type: NFNL_MSG_BATCH_BEGIN },
      ...requests.map((request, index) =>
        index === last ? { ...request, flags: request.flags | NLM_F_ACK } : request,
      ),
      { ...edge, type: NFNL_MSG_BATCH_END },
    ]);
    const errors: PintleError[] = [];
    // What the commit itself refuses is said of the beginning; everything is answered before send(2) returns.
    for (let isAnswered = false; !isAnswered;) {
      for (const message of this.#await(edge.what)) {
        const index = message.seq - first - 1;
        if (message.type !== NLMSG_ERROR || index < -1 || index > last) continue;
        const error = errorOf(message, requests[index]?.what ?? edge.what);
        if (error !== undefined) errors.push(error);
        isAnswered ||= index === last || index === -1;
      }
    }
    return errors;
  }

  /** For batches: a datagram may be no longer than the socket's buffer. */
  growSendBuffer(): void {
    if (!this.#option(SOL_SOCKET, SO_SNDBUFFORCE, 8 << 20)) this.#option(SOL_SOCKET, SO_SNDBUF, 4 << 20);
  }

  /**
   * Notifications that name one of these ports do not arrive any more; what one datagram holds is of one port. Replaces the
   * ports of the last call.
   */
  ignorePorts(ports: readonly number[]): void {
    const instruction = (code: number, whenTrue: number, value: number): Buffer => {
      const bytes = Buffer.alloc(8);
      bytes.writeUInt16LE(code, 0);
      bytes.writeUInt8(whenTrue, 2);
      bytes.writeUInt32LE(value >>> 0, 4);
      return bytes;
    };
    // The word is loaded as if it were in network order, which the port in a netlink header is not.
    const loaded = (port: number): number => Buffer.from(u32(port)).readUInt32BE();
    const program = [
      instruction(BPF_LOAD_WORD, 0, portOffset),
      ...ports.map((port, index) => instruction(BPF_JUMP_EQUAL, ports.length - index, loaded(port))),
      instruction(BPF_RETURN, 0, 0xffff_ffff),
      instruction(BPF_RETURN, 0, 0),
    ];
    if (libc().attachFilter(this.fd, Buffer.concat(program)) !== 0)
      throw kernelRefused('Filtering netlink notifications', libc().errno());
  }

  /** What is queued now, without waiting. */
  receive(): Received {
    if (this.#closed) return 'nothing';
    const length = libc().recv(this.fd, this.#buffer, this.#buffer.length, MSG_DONTWAIT | MSG_TRUNC);
    if (length < 0) {
      const errno = libc().errno();
      if (errno === EAGAIN) return 'nothing';
      if (errno === ENOBUFS) return 'overflow';
      if (errno === EINTR) return this.receive();
      throw kernelRefused('Reading from a netlink socket', errno);
    }
    if (length > this.#buffer.length) return 'overflow';
    return parse(this.#buffer, length);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    closeSync(this.fd);
  }

  #send(requests: readonly NetlinkRequest[]): number {
    const first = this.#sequence;
    const parts: Uint8Array[] = [];
    for (const request of requests) {
      const length = HEADER_LENGTH + request.body.length;
      const flags = request.flags | NLM_F_REQUEST;
      parts.push(formatHeader({ length, type: request.type, flags, seq: this.#sequence, port: 0 }), request.body);
      if (length % 4 !== 0) parts.push(Buffer.alloc(4 - (length % 4)));
      this.#sequence += 1;
    }
    this.#sendRaw(Buffer.concat(parts), requests[0]?.what ?? 'netlink');
    return first;
  }

  #sendRaw(bytes: Buffer, what: string): void {
    if (this.#closed) throw new PintleError('INTERNAL', `${what}: the netlink socket is closed`);
    while (libc().send(this.fd, bytes, bytes.length, 0) < 0) {
      const errno = libc().errno();
      if (errno !== EINTR) throw kernelRefused(what, errno);
    }
  }

  #collect(request: NetlinkRequest, sequence: number): { messages: NetlinkMessage[]; interrupted: boolean } {
    const messages: NetlinkMessage[] = [];
    let interrupted = false;
    for (;;) {
      for (const message of this.#await(request.what)) {
        if (message.seq !== sequence) continue;
        interrupted ||= (message.flags & NLM_F_DUMP_INTR) !== 0;
        if (message.type === NLMSG_DONE) {
          const errno = message.payload.length >= 4 ? -message.payload.readInt32LE(0) : 0;
          if (errno > 0) throw kernelRefused(request.what, errno);
          return { messages, interrupted };
        }
        if (message.type === NLMSG_ERROR) {
          const error = errorOf(message, request.what);
          if (error !== undefined) throw error;
          return { messages, interrupted };
        }
        // The socket's buffer is used again by the next receive.
        messages.push({ ...message, payload: Buffer.from(message.payload) });
      }
    }
  }

  #await(what: string): NetlinkMessage[] {
    for (;;) {
      const received = this.receive();
      if (received === 'overflow')
        throw kernelRefused(what, ENOBUFS, { advice: 'more answers than the socket can hold' });
      if (received !== 'nothing') return received;
      const poll = Buffer.alloc(8);
      poll.writeInt32LE(this.fd, 0);
      poll.writeInt16LE(POLLIN, 4);
      if (libc().poll(poll, 1, silenceMs) === 0)
        throw new PintleError('KERNEL_REFUSED', `${what}: the kernel did not answer for ${silenceMs} ms`, {
          details: { errno: 'ETIMEDOUT', extack: '' },
        });
    }
  }
}

function parse(buffer: Buffer, length: number): NetlinkMessage[] {
  const messages: NetlinkMessage[] = [];
  for (let offset = 0; offset + HEADER_LENGTH <= length;) {
    const size = buffer.readUInt32LE(offset);
    if (size < HEADER_LENGTH || offset + size > length) break;
    const type = buffer.readUInt16LE(offset + 4);
    if (type !== NLMSG_OVERRUN)
      messages.push({
        type,
        flags: buffer.readUInt16LE(offset + 6),
        seq: buffer.readUInt32LE(offset + 8),
        port: buffer.readUInt32LE(offset + 12),
        payload: buffer.subarray(offset + HEADER_LENGTH, offset + size),
      });
    offset += (size + 3) & ~3;
  }
  return messages;
}

/**
 * struct nlmsgerr: int error; the request's header (and, unless NLM_F_CAPPED, its payload); with NLM_F_ACK_TLVS
 * attributes, of which NLMSGERR_ATTR_MSG = 1 is the text.
 */
function errorOf(message: NetlinkMessage, what: string): PintleError | undefined {
  const errno = -message.payload.readInt32LE(0);
  if (errno === 0) return undefined;
  let extack: string | undefined;
  if ((message.flags & NLM_F_ACK_TLVS) !== 0) {
    const requestLength = message.payload.readUInt32LE(4);
    const offset = 4 + ((message.flags & NLM_F_CAPPED) === 0 ? (requestLength + 3) & ~3 : HEADER_LENGTH);
    const text = attributes(message.payload.subarray(offset)).get(1);
    extack = text?.toString('latin1').replace(/\0.*$/s, '');
  }
  return kernelRefused(what, errno, { extack });
}
