/**
 * Sends what the TUN device hands over: single packets as they are, TCP super-packets of up to 64 KB cut into datagrams of
 * one packet each. Only headers are made anew; payloads go from the memory that they were read into straight to the kernel,
 * which cuts the datagrams apart (UDP_SEGMENT).
 *
 * A super-packet is often a little more than one send can take. What is left of it waits for the next one of the same size
 * to the same peer, until the caller has nothing more to send and calls `flush`.
 */
import {
  iovecBytes,
  messageBytes,
  setIovec,
  setMessage,
  setMessageSizes,
  type BatchIo,
  type Memory,
} from '../../../linux/batch-io.ts';
import { SOL_UDP, UDP_SEGMENT } from '../../../linux/udp-socket.ts';
import type { PeerTarget } from '../peer-table.ts';
import { fold, sumOf } from './checksum.ts';
import {
  fewestChunks,
  firstByteOf,
  headPieces,
  longestHead,
  mostChunks,
  pieceLengthFor,
  superHeaderBytes,
} from './super-framing.ts';
import { TCP, TCP_ACK, TCP_FIN, TCP_PSH, tcpChecksumAt, tcpUncheckedBit } from './tunnel-memory.ts';

/** The kernel's UDP_MAX_SEGMENTS, and the longest datagram before it is cut. */
const mostSegments = 64;
const longestSend = 65_507;
/** Room for the longest IPv6 and TCP headers, a power of two. */
const headerBytes = 128;
const controlBytes = 24;

export class SegmentSender {
  readonly #io: BatchIo;
  readonly #socket: number;
  readonly #segments: boolean;
  readonly #packets: Memory;
  readonly #headers: Memory;
  readonly #iovecs: Memory;
  readonly #name: Memory;
  readonly #control: Memory;
  readonly #messages: Memory;
  /** What waits: how many segments, of what size, for which peer. */
  #count = 0;
  #size = 0;
  #most = 0;
  #oldest = 0;
  /** Of the packet's TCP pseudo header without the length. */
  #pseudoSum = 0;
  #superId = 0;
  failed = 0;

  /** `packets`: where packets are read into. `segments`: whether the socket does UDP_SEGMENT. */
  constructor(io: BatchIo, socket: number, port: number, packets: Memory, segments: boolean) {
    this.#io = io;
    this.#socket = socket;
    this.#segments = segments;
    this.#packets = packets;
    this.#headers = io.allocate(mostSegments * headerBytes);
    this.#iovecs = io.allocate((mostSegments + 1) * 2 * iovecBytes);
    this.#name = io.allocate(16);
    this.#control = io.allocate(controlBytes);
    this.#messages = io.allocate(mostSegments * messageBytes);
    this.#name.bytes.fill(0);
    this.#name.view.setUint16(0, 2, true);
    this.#name.view.setUint16(2, port);
    // struct cmsghdr: length u64, level i32, type i32; the size of a segment u16.
    this.#control.bytes.fill(0);
    this.#control.view.setBigUint64(0, 18n, true);
    this.#control.view.setInt32(8, SOL_UDP, true);
    this.#control.view.setInt32(12, UDP_SEGMENT, true);
    // Message 0 serves for one send; all of them for datagrams that the kernel does not cut.
    for (let index = 0; index < mostSegments; index += 1)
      setMessage(this.#messages, index * messageBytes, {
        name: this.#name,
        nameLength: 16,
        iovecs: this.#iovecs,
        iovecOffset: index * 2 * iovecBytes,
        iovecCount: 2,
        control: this.#control,
      });
  }

  /** Where the first payload is that waits and must not be overwritten; -1: none waits. */
  get waitingFrom(): number {
    return this.#count === 0 ? -1 : this.#oldest;
  }

  /** The packet as it is: `length` bytes from `at`. */
  sendWhole(peer: PeerTarget, at: number, length: number): void {
    this.flush();
    this.#name.words[1] = peer.word;
    setIovec(this.#iovecs.words, 0, this.#packets, at, length);
    if (!this.#send(1, 0)) this.failed += 1;
  }

  /** A TCP super-packet with `size` bytes of payload in each of its packets; the TCP header begins at `tcp` of the packet. */
  sendSegments(peer: PeerTarget, at: number, length: number, tcp: number, size: number): void {
    const { bytes, view } = this.#packets;
    const headers = tcp + (bytes[at + tcp + 12]! >> 4) * 4;
    const payload = length - headers;
    if (payload <= 0 || headers > headerBytes || size === 0) return this.sendWhole(peer, at, length);
    const isV4 = bytes[at]! >> 4 === 4;
    const firstId = isV4 ? view.getUint16(at + 4) : 0;
    const firstSequence = view.getUint32(at + tcp + 4);
    const flags = bytes[at + tcp + 13]!;
    // What differs from one to the next is left out of the sums.
    let ipSum = 0;
    if (isV4) {
      view.setUint16(at + 2, 0);
      view.setUint16(at + 4, 0);
      view.setUint16(at + 10, 0);
      ipSum = sumOf(this.#packets, at, tcp);
    }
    const isPartial = peer.framing !== 'plain';
    view.setUint16(at + tcp + tcpChecksumAt, 0);
    if (isPartial) bytes[at + tcp + 12]! |= tcpUncheckedBit;
    else this.#pseudoSum = (isV4 ? sumOf(this.#packets, at + 12, 8) : sumOf(this.#packets, at + 8, 32)) + TCP;

    this.#prepare(peer, headers + size);
    const made = this.#headers.view;
    for (let offset = 0, index = 0; offset < payload; offset += size, index += 1) {
      const rest = payload - offset;
      const own = rest < size ? rest : size;
      const header = this.#count * headerBytes;
      this.#copyHeader(at, header, headers);
      if (isV4) {
        const id = (firstId + index) & 0xffff;
        made.setUint16(header + 2, headers + own);
        made.setUint16(header + 4, id);
        made.setUint16(header + 10, ~fold(ipSum + headers + own + id) & 0xffff);
      } else made.setUint16(header + 4, headers - 40 + own);
      made.setUint32(header + tcp + 4, (firstSequence + offset) >>> 0);
      if (own < rest) made.setUint8(header + tcp + 13, flags & ~(TCP_FIN | TCP_PSH));
      if (!isPartial) this.#fillChecksum(header, headers, tcp, at + headers + offset, own);
      this.#push(headers, at + headers + offset, own, own < size);
    }
  }

  /** The same as a super-packet. False: it is none that this framing is for. */
  sendSuper(peer: PeerTarget, at: number, length: number, tcp: number, size: number): boolean {
    const { bytes, words } = this.#packets;
    const headers = tcp + (bytes[at + tcp + 12]! >> 4) * 4;
    const payload = length - headers;
    const count = Math.ceil(payload / size);
    const piece = pieceLengthFor(headers);
    const skip = superHeaderBytes + piece;
    if (!this.#segments || headers > longestHead || (bytes[at + tcp + 13]! & ~TCP_PSH) !== TCP_ACK) return false;
    if (count < fewestChunks || count > mostChunks || payload + count * skip > longestSend) return false;

    this.flush();
    this.#prepare(peer, skip + size);
    const id = (this.#superId + 1) & 0xffff;
    this.#superId = id;
    const made = this.#headers.words;
    const pieceWords = piece >> 2;
    const lowHalf = ((id >> 8) << 16) | ((id & 0xff) << 24);
    for (let index = 0; index < count; index += 1) {
      const rest = payload - index * size;
      const to = (index * headerBytes) >> 2;
      made[to] = firstByteOf(piece, rest <= size) | (index << 8) | lowHalf;
      // What is beyond the head in its last piece is payload's: of no meaning, and the receiver's already.
      const from = (at >> 2) + (index & (headPieces - 1)) * pieceWords;
      for (let word = 0; word < pieceWords; word += 1) made[to + 1 + word] = words[from + word]!;
      this.#push(skip, at + headers + index * size, rest < size ? rest : size, rest <= size);
    }
    return true;
  }

  /** Sends what waits. */
  flush(): void {
    if (this.#count === 0) return;
    const count = this.#count;
    this.#count = 0;
    if (this.#segments && count > 1) {
      this.#control.view.setUint16(16, this.#size, true);
      if (this.#send(count * 2, controlBytes)) return;
    }
    // One by one: the socket cannot, or this path cannot (narrower than the segments, or no checksum offload).
    for (let index = 0; index < count; index += 1) {
      const iovecs = this.#iovecs.addressLow + index * 2 * iovecBytes;
      setMessageSizes(this.#messages, index * messageBytes, 2, 0, iovecs);
    }
    for (let sent = 0; sent < count;) {
      const done = this.#io.sendmmsg(this.#socket, this.#messages.address + sent * messageBytes, count - sent, 0);
      if (done <= 0) this.failed += 1;
      sent += Math.max(done, 1);
    }
  }

  /** For segments of `size` bytes to `peer`: others that wait go first. */
  #prepare(peer: PeerTarget, size: number): void {
    if (this.#count > 0 && (this.#size !== size || this.#name.words[1] !== peer.word)) this.flush();
    this.#name.words[1] = peer.word;
    this.#size = size;
    this.#most = Math.min(mostSegments, Math.floor(longestSend / size));
  }

  /** The header is in its place. A short segment can only be the last of a send. */
  #push(headers: number, payloadAt: number, payload: number, isLast: boolean): void {
    const { words } = this.#iovecs;
    const index = this.#count;
    if (index === 0) this.#oldest = payloadAt;
    setIovec(words, index * 2, this.#headers, index * headerBytes, headers);
    setIovec(words, index * 2 + 1, this.#packets, payloadAt, payload);
    this.#count = index + 1;
    if (isLast || this.#count === this.#most) this.flush();
  }

  #copyHeader(at: number, to: number, length: number): void {
    const source = this.#packets.words;
    const target = this.#headers.words;
    const from = at >> 2;
    const start = to >> 2;
    const count = length >> 2;
    for (let index = 0; index < count; index += 1) target[start + index] = source[from + index]!;
  }

  #fillChecksum(header: number, headers: number, tcp: number, payloadAt: number, payload: number): void {
    const sum =
      this.#pseudoSum +
      (headers - tcp + payload) +
      sumOf(this.#headers, header + tcp, headers - tcp) +
      sumOf(this.#packets, payloadAt, payload);
    this.#headers.view.setUint16(header + tcp + tcpChecksumAt, ~fold(sum) & 0xffff);
  }

  #send(iovecCount: number, controlLength: number): boolean {
    setMessageSizes(this.#messages, 0, iovecCount, controlLength, this.#iovecs.addressLow);
    return this.#io.sendmsg(this.#socket, this.#messages.address, 0) >= 0;
  }
}
