/**
 * Hands received packets to the TUN device, TCP segments that follow each other as one super-packet of up to 64 KB, which
 * the kernel carries as one. Only one header is made; payloads go from the memory that they were received into straight to
 * the kernel. Keeps up to eight flows open at once; the caller closes all with `flush` before it uses that memory again.
 *
 * The rules are those of the kernel's own GRO (net/ipv4/tcp_offload.c): same headers, next sequence number, no flags but ACK
 * and PSH, all of the size of the first but the last.
 */
import { iovecBytes, setIovec, type BatchIo, type Memory } from '../../../linux/batch-io.ts';
import { fold, sumOf } from './checksum.ts';
import { finishHead } from './super-packet.ts';
import {
  longestPacket,
  packetAt,
  TCP,
  TCP_ACK,
  TCP_PSH,
  tcpUncheckedBit,
  vnetAt,
  vnetHeaderBytes,
} from './tunnel-memory.ts';

const mostFlows = 8;
const mostSegments = 128;
/** Room for the virtio header and the longest packet headers. */
const headRoom = 160;

/** One super-packet that is being gathered: the headers of its first packet, the payloads of all. */
interface Gathering {
  readonly head: Memory;
  readonly iovecs: Memory;
  isOpen: boolean;
  /** Low words of the addresses, and the ports. */
  source: number;
  destination: number;
  ports: number;
  headers: number;
  tcp: number;
  segment: number;
  payload: number;
  count: number;
  next: number;
}

export class Coalescer {
  readonly #io: BatchIo;
  readonly #tun: number;
  readonly #received: Memory;
  readonly #gatherings: readonly Gathering[];
  readonly #single: Memory;
  readonly #blank: Memory;
  #turn = 0;
  #open = 0;
  failed = 0;

  /** `received`: where packets are. */
  constructor(io: BatchIo, tun: number, received: Memory) {
    this.#io = io;
    this.#tun = tun;
    this.#received = received;
    this.#single = io.allocate(2 * iovecBytes);
    this.#blank = io.allocate(16);
    this.#blank.bytes.fill(0);
    setIovec(this.#single.words, 0, this.#blank, 0, vnetHeaderBytes);
    this.#gatherings = Array.from({ length: mostFlows }, () => ({
      head: io.allocate(headRoom),
      iovecs: io.allocate((mostSegments + 1) * iovecBytes),
      ...{ isOpen: false, source: 0, destination: 0, ports: 0, headers: 0, tcp: 0, segment: 0 },
      ...{ payload: 0, count: 0, next: 0 },
    }));
  }

  /** An IPv4 or IPv6 packet, whole, its time to live counted down: `length` bytes from `at`. */
  take(at: number, length: number): void {
    const { bytes, view } = this.#received;
    const isV4 = bytes[at]! >> 4 === 4;
    const tcp = isV4 ? (bytes[at]! & 15) * 4 : 40;
    const isTcp = isV4 ? bytes[at + 9] === TCP && (view.getUint16(at + 6) & 0x3fff) === 0 : bytes[at + 6] === TCP;
    if (!isTcp || length < tcp + 20) return this.#writeSingle(at, length);
    const headers = tcp + (bytes[at + tcp + 12]! >> 4) * 4;
    if (length < headers || headers < tcp + 20) return this.#writeSingle(at, length);

    const source = view.getUint32(isV4 ? at + 12 : at + 20, true);
    const destination = view.getUint32(isV4 ? at + 16 : at + 36, true);
    const ports = view.getUint32(at + tcp, true);
    const open = this.#open === 0 ? undefined : this.#find(source, destination, ports);
    const flags = bytes[at + tcp + 13]!;
    const payload = length - headers;
    const isUnchecked = (bytes[at + tcp + 12]! & tcpUncheckedBit) !== 0;
    const isBulk =
      payload > 0 && (flags & ~TCP_PSH) === TCP_ACK && (!isV4 || tcp === 20) && headers <= headRoom - packetAt;
    if (!isBulk || (!isUnchecked && !this.#isIntact(at, length, tcp, isV4))) {
      // In the order of the flow: what came before it goes first.
      if (open !== undefined) this.#write(open);
      if (!isUnchecked || headers > headRoom - packetAt) return this.#writeSingle(at, length);
      const alone = this.#begin(at, headers, tcp, payload);
      return this.#write(alone);
    }
    const sequence = view.getUint32(at + tcp + 4);
    if (open !== undefined) {
      if (this.#follows(open, at, headers, tcp, payload, sequence, isV4)) {
        setIovec(open.iovecs.words, open.count + 1, this.#received, at + headers, payload);
        open.count += 1;
        open.payload += payload;
        open.next = (open.next + payload) >>> 0;
        if ((flags & TCP_PSH) !== 0) open.head.bytes[packetAt + tcp + 13]! |= TCP_PSH;
        if ((flags & TCP_PSH) !== 0 || payload < open.segment || open.count === mostSegments) this.#write(open);
        return;
      }
      this.#write(open);
    }
    const begun = this.#begin(at, headers, tcp, payload);
    begun.source = source;
    begun.destination = destination;
    begun.ports = ports;
    begun.next = (sequence + payload) >>> 0;
    if ((flags & TCP_PSH) !== 0) this.#write(begun);
  }

  get isOpen(): boolean {
    return this.#open > 0;
  }

  /** Writes all that is open. */
  flush(): void {
    if (this.#open === 0) return;
    for (const gathering of this.#gatherings) if (gathering.isOpen) this.#write(gathering);
  }

  #find(source: number, destination: number, ports: number): Gathering | undefined {
    for (let index = 0; index < mostFlows; index += 1) {
      const one = this.#gatherings[index]!;
      if (one.isOpen && one.ports === ports && one.source === source && one.destination === destination) return one;
    }
    return undefined;
  }

  #isIntact(at: number, length: number, tcp: number, isV4: boolean): boolean {
    const addresses = isV4 ? sumOf(this.#received, at + 12, 8) : sumOf(this.#received, at + 8, 32);
    return fold(addresses + TCP + length - tcp + sumOf(this.#received, at + tcp, length - tcp)) === 0xffff;
  }

  #follows(
    open: Gathering,
    at: number,
    headers: number,
    tcp: number,
    payload: number,
    sequence: number,
    isV4: boolean,
  ): boolean {
    if (sequence !== open.next || headers !== open.headers || tcp !== open.tcp || payload > open.segment) return false;
    if (open.payload + payload + headers > longestPacket) return false;
    const { view } = this.#received;
    const head = open.head.view;
    const first = packetAt;
    if (isV4) {
      // Version and service, fragment bits, time to live and protocol, addresses.
      if (view.getUint16(at) !== head.getUint16(first)) return false;
      if (view.getUint32(at + 6) >>> 0 !== head.getUint32(first + 6) >>> 0 && !this.#sameFragmentAndTtl(at, head))
        return false;
      if (view.getUint32(at + 12) !== head.getUint32(first + 12)) return false;
    } else {
      if (view.getUint32(at) !== head.getUint32(first) || view.getUint16(at + 6) !== head.getUint16(first + 6))
        return false;
      for (let offset = 8; offset < 40; offset += 4)
        if (view.getUint32(at + offset) !== head.getUint32(first + offset)) return false;
    }
    // Acknowledgement, window, options.
    if (view.getUint32(at + tcp + 8) !== head.getUint32(first + tcp + 8)) return false;
    if (view.getUint16(at + tcp + 14) !== head.getUint16(first + tcp + 14)) return false;
    for (let offset = tcp + 20; offset < headers; offset += 4)
      if (view.getUint32(at + offset) !== head.getUint32(first + offset)) return false;
    return true;
  }

  #sameFragmentAndTtl(at: number, head: DataView): boolean {
    const { view } = this.#received;
    return (
      view.getUint16(at + 6) === head.getUint16(packetAt + 6) && view.getUint16(at + 8) === head.getUint16(packetAt + 8)
    );
  }

  #begin(at: number, headers: number, tcp: number, payload: number): Gathering {
    let free: Gathering | undefined;
    for (let index = 0; index < mostFlows && free === undefined; index += 1)
      if (!this.#gatherings[index]!.isOpen) free = this.#gatherings[index];
    if (free === undefined) {
      free = this.#gatherings[this.#turn]!;
      this.#turn = (this.#turn + 1) % mostFlows;
      this.#write(free);
    }
    this.#received.bytes.copy(free.head.bytes, packetAt, at, at + headers);
    setIovec(free.iovecs.words, 1, this.#received, at + headers, payload);
    free.isOpen = true;
    free.headers = headers;
    free.tcp = tcp;
    free.segment = payload;
    free.payload = payload;
    free.count = 1;
    this.#open += 1;
    return free;
  }

  #write(gathering: Gathering): void {
    const { head, iovecs, headers, tcp, payload, count, segment } = gathering;
    finishHead(head, { tcp, headers, payload, segment, count });
    setIovec(iovecs.words, 0, head, vnetAt, vnetHeaderBytes + headers);
    gathering.isOpen = false;
    this.#open -= 1;
    if (this.#io.writev(this.#tun, iovecs.address, count + 1) < 0) this.failed += 1;
  }

  #writeSingle(at: number, length: number): void {
    setIovec(this.#single.words, 1, this.#received, at, length);
    if (this.#io.writev(this.#tun, this.#single.address, 2) < 0) this.failed += 1;
  }
}
