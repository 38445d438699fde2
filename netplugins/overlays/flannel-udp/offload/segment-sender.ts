/**
 * Sends what the TUN device hands over: single packets as they are, TCP super-packets of up to 64 KB cut into plain packets.
 * Only headers are made anew; payloads go from the memory that they were read into straight to the kernel, which cuts the
 * datagrams apart (UDP_SEGMENT). No state beyond one packet.
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
import { packetAt, TCP, TCP_ACK, TCP_FIN, TCP_PSH, tcpChecksumAt, tcpUncheckedBit } from './tunnel-memory.ts';

/** The kernel's UDP_MAX_SEGMENTS, and the longest datagram before it is cut. */
const mostSegments = 64;
const longestSend = 65_507;
/** Room for the longest IPv6 and TCP headers, a power of two. */
const headerBytes = 128;
const controlBytes = 24;

export class SegmentSender {
  readonly #io: BatchIo;
  readonly #socket: number;
  #segments: boolean;
  readonly #packet: Memory;
  readonly #headers: Memory;
  readonly #iovecs: Memory;
  readonly #name: Memory;
  readonly #control: Memory;
  readonly #messages: Memory;
  /** Of the packet's TCP pseudo header without the length: set before the segments are made. */
  #pseudoSum = 0;
  #superId = 0;
  failed = 0;

  /** `packet`: where packets are read into. `segments`: whether the socket does UDP_SEGMENT. */
  constructor(io: BatchIo, socket: number, port: number, packet: Memory, segments: boolean) {
    this.#io = io;
    this.#socket = socket;
    this.#segments = segments;
    this.#packet = packet;
    this.#headers = io.allocate(mostSegments * headerBytes);
    this.#iovecs = io.allocate(mostSegments * 2 * iovecBytes);
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

  /** The packet as it is, `length` bytes. */
  sendWhole(peer: PeerTarget, length: number): void {
    this.#name.words[1] = peer.word;
    setIovec(this.#iovecs.words, 0, this.#packet, packetAt, length);
    this.#sendFrom(0, 1, 0);
  }

  /** A TCP super-packet with `size` bytes of payload in each of its packets; the TCP header begins at `tcp` of the packet. */
  sendSegments(peer: PeerTarget, length: number, tcp: number, size: number): void {
    const { bytes, view } = this.#packet;
    const at = packetAt;
    const headers = tcp + (bytes[at + tcp + 12]! >> 4) * 4;
    const payload = length - headers;
    if (payload <= 0 || headers > headerBytes || size === 0) return this.sendWhole(peer, length);
    const isV4 = bytes[at]! >> 4 === 4;
    const first = { id: isV4 ? view.getUint16(at + 4) : 0, sequence: view.getUint32(at + tcp + 4) };
    const flags = bytes[at + tcp + 13]!;
    // What differs from one to the next is left out of the sums.
    let ipSum = 0;
    if (isV4) {
      view.setUint16(at + 2, 0);
      view.setUint16(at + 4, 0);
      view.setUint16(at + 10, 0);
      ipSum = sumOf(this.#packet, at, tcp);
    }
    const isPartial = peer.framing !== 'plain';
    view.setUint16(at + tcp + tcpChecksumAt, 0);
    if (isPartial) bytes[at + tcp + 12]! |= tcpUncheckedBit;
    else this.#pseudoSum = (isV4 ? sumOf(this.#packet, at + 12, 8) : sumOf(this.#packet, at + 8, 32)) + TCP;

    this.#name.words[1] = peer.word;
    const most = Math.min(mostSegments, Math.floor(longestSend / (headers + size)));
    let count = 0;
    for (let offset = 0, index = 0; offset < payload; offset += size, index += 1) {
      const rest = payload - offset;
      const own = rest < size ? rest : size;
      const header = count * headerBytes;
      this.#copyHeader(header, headers);
      const made = this.#headers.view;
      if (isV4) {
        const id = (first.id + index) & 0xffff;
        made.setUint16(header + 2, headers + own);
        made.setUint16(header + 4, id);
        made.setUint16(header + 10, ~fold(ipSum + headers + own + id) & 0xffff);
      } else made.setUint16(header + 4, headers - 40 + own);
      made.setUint32(header + tcp + 4, (first.sequence + offset) >>> 0);
      if (own < rest) made.setUint8(header + tcp + 13, flags & ~(TCP_FIN | TCP_PSH));
      if (!isPartial) this.#fillChecksum(header, headers, tcp, at + headers + offset, own);
      setIovec(this.#iovecs.words, count * 2, this.#headers, header, headers);
      setIovec(this.#iovecs.words, count * 2 + 1, this.#packet, at + headers + offset, own);
      count += 1;
      if (count === most) {
        this.#sendMany(count, headers + size);
        count = 0;
      }
    }
    if (count > 0) this.#sendMany(count, headers + size);
  }

  /** The same as a super-packet. False: it is none that this framing is for. */
  sendSuper(peer: PeerTarget, length: number, tcp: number, size: number): boolean {
    const { bytes } = this.#packet;
    const headers = tcp + (bytes[packetAt + tcp + 12]! >> 4) * 4;
    const payload = length - headers;
    const count = Math.ceil(payload / size);
    const piece = pieceLengthFor(headers);
    const skip = superHeaderBytes + piece;
    const flags = bytes[packetAt + tcp + 13]!;
    if (!this.#segments || headers > longestHead || (flags & ~TCP_PSH) !== TCP_ACK) return false;
    if (count < fewestChunks || count > mostChunks || payload + count * skip > longestSend) return false;

    const id = (this.#superId + 1) & 0xffff;
    this.#superId = id;
    const made = this.#headers.words;
    const head = this.#packet.words;
    const pieceWords = piece >> 2;
    const word = firstByteOf(piece, false) | ((id >> 8) << 16) | ((id & 0xff) << 24);
    for (let index = 0, offset = 0; index < count; index += 1, offset += size) {
      const to = (index * headerBytes) >> 2;
      made[to] = word | (index << 8);
      // What is beyond the head in its last piece is payload's: of no meaning, and the receiver's already.
      const from = (packetAt >> 2) + (index & (headPieces - 1)) * pieceWords;
      for (let at = 0; at < pieceWords; at += 1) made[to + 1 + at] = head[from + at]!;
      const rest = payload - offset;
      setIovec(this.#iovecs.words, index * 2, this.#headers, index * headerBytes, skip);
      setIovec(this.#iovecs.words, index * 2 + 1, this.#packet, packetAt + headers + offset, rest < size ? rest : size);
    }
    this.#headers.bytes[(count - 1) * headerBytes] = firstByteOf(piece, true);
    this.#name.words[1] = peer.word;
    this.#sendMany(count, skip + size);
    return true;
  }

  #copyHeader(to: number, length: number): void {
    const source = this.#packet.words;
    const target = this.#headers.words;
    const from = packetAt >> 2;
    const start = to >> 2;
    const count = length >> 2;
    for (let index = 0; index < count; index += 1) target[start + index] = source[from + index]!;
  }

  #fillChecksum(header: number, headers: number, tcp: number, payloadAt: number, payload: number): void {
    const sum =
      this.#pseudoSum +
      (headers - tcp + payload) +
      sumOf(this.#headers, header + tcp, headers - tcp) +
      sumOf(this.#packet, payloadAt, payload);
    this.#headers.view.setUint16(header + tcp + tcpChecksumAt, ~fold(sum) & 0xffff);
  }

  /** `count` packets, all but the last of `size` bytes, two iovecs each. */
  #sendMany(count: number, size: number): void {
    if (this.#segments && count > 1) {
      this.#control.view.setUint16(16, size, true);
      if (this.#sendFrom(0, count * 2, controlBytes)) return;
    }
    for (let sent = 0; sent < count;) {
      const start = sent * messageBytes;
      for (let index = sent; index < count; index += 1)
        setMessageSizes(this.#messages, index * messageBytes, 2, 0, this.#iovecs.addressLow + index * 2 * iovecBytes);
      const done = this.#io.sendmmsg(this.#socket, this.#messages.address + start, count - sent, 0);
      if (done <= 0) this.failed += 1;
      sent += Math.max(done, 1);
    }
  }

  #sendFrom(start: number, iovecCount: number, controlLength: number): boolean {
    setMessageSizes(this.#messages, 0, iovecCount, controlLength, this.#iovecs.addressLow + start * iovecBytes);
    if (this.#io.sendmsg(this.#socket, this.#messages.address, 0) >= 0) return true;
    if (controlLength === 0) this.failed += 1;
    return false;
  }
}
