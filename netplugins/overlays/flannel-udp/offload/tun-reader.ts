/** The direction from the TUN device to peers: one packet, or super-packet, a turn. */
import type { BatchIo, Memory } from '../../../linux/batch-io.ts';
import { IcmpSender } from '../icmp-sender.ts';
import { countDown, versionOf, type IcmpReason } from '../inner-packet.ts';
import { fold, sumOf } from './checksum.ts';
import { SegmentSender } from './segment-sender.ts';
import {
  longestPacket,
  packetAt,
  VNET_GSO_TCPV4,
  VNET_GSO_TCPV6,
  VNET_NEEDS_CSUM,
  vnetAt,
  vnetHeaderBytes,
} from './tunnel-memory.ts';
import { counterNames, type FollowedPeers, type WorkerSettings } from './worker-messages.ts';

const EBADF = 9;
const EFAULT = 14;
const EBADFD = 77;
const sentAt = counterNames.indexOf('sentPackets');
const sentSupersAt = counterNames.indexOf('sentSupers');
const noRouteAt = counterNames.indexOf('noRoute');
const expiredAt = counterNames.indexOf('expired');

/** Packets that are in memory at once, while segments of them wait to be sent. */
const slots = 3;
const slotBytes = 65_536 + 64;

export class TunReader {
  readonly #io: BatchIo;
  readonly #tun: number;
  readonly #memory: Memory;
  readonly #peers: FollowedPeers;
  readonly #sender: SegmentSender;
  readonly #icmp: IcmpSender;
  readonly #counters: Float64Array;
  #slot = 0;

  constructor(io: BatchIo, settings: WorkerSettings, peers: FollowedPeers, counters: Float64Array) {
    this.#io = io;
    this.#tun = settings.tun;
    this.#memory = io.allocate(slots * slotBytes);
    this.#peers = peers;
    this.#sender = new SegmentSender(io, settings.sender, settings.port, this.#memory, settings.segments);
    this.#icmp = new IcmpSender(settings.sources);
    this.#counters = counters;
  }

  get failed(): number {
    return this.#sender.failed;
  }

  /** Whether segments wait for more of their kind. */
  get isWaiting(): boolean {
    return this.#sender.waitingFrom >= 0;
  }

  /** Sends what waits. */
  flush(): void {
    this.#sender.flush();
  }

  /** Bytes that were there; 0: none. Throws when the device has gone. */
  step(): number {
    const start = this.#slot * slotBytes;
    const address = this.#memory.address + start + vnetAt;
    const got = this.#io.read(this.#tun, address, vnetHeaderBytes + longestPacket);
    if (got < 0) {
      const errno = this.#io.errno();
      if (errno === EBADF || errno === EFAULT || errno === EBADFD) throw new Error('the TUN device has gone');
      this.#sender.flush();
      return 0;
    }
    this.#peers.follow();
    if (got > vnetHeaderBytes) this.#carry(start, got - vnetHeaderBytes);
    this.#chooseSlot();
    return got;
  }

  /** The next packet goes where nothing waits: as few places in turn as can be, which stay in the processor's cache. */
  #chooseSlot(): void {
    const { waitingFrom } = this.#sender;
    if (waitingFrom < 0) return;
    this.#slot = (this.#slot + 1) % slots;
    if (Math.floor(waitingFrom / slotBytes) === this.#slot) this.#sender.flush();
  }

  #carry(start: number, length: number): void {
    const { bytes, view } = this.#memory;
    const at = start + packetAt;
    const vnet = start + vnetAt;
    const version = versionOf(bytes, at, length);
    if (version === undefined) return;
    const { table } = this.#peers;
    const peer = version === 4 ? table.find4(bytes, at + 16) : table.find6(bytes, at + 24);
    if (peer === undefined) return this.#refuse(at, length, 'no-route');
    if (!countDown(bytes, at)) return this.#refuse(at, length, 'expired');
    this.#counters[sentAt]! += 1;
    const type = bytes[vnet + 1]!;
    if (type === VNET_GSO_TCPV4 || type === VNET_GSO_TCPV6) {
      const tcp = view.getUint16(vnet + 6, true);
      const size = view.getUint16(vnet + 4, true);
      if (peer.framing === 'super' && this.#sender.sendSuper(peer, at, length, tcp, size))
        this.#counters[sentSupersAt]! += 1;
      else this.#sender.sendSegments(peer, at, length, tcp, size);
    } else {
      if ((bytes[vnet]! & VNET_NEEDS_CSUM) !== 0) this.#completeChecksum(vnet, at, length);
      this.#sender.sendWhole(peer, at, length);
    }
  }

  #refuse(at: number, length: number, reason: IcmpReason): void {
    this.#counters[reason === 'no-route' ? noRouteAt : expiredAt]! += 1;
    this.#icmp.answer(this.#memory.bytes.subarray(at, at + length), reason);
  }

  /** The kernel has left the sum of the pseudo header in the checksum's place; the rest is added here. */
  #completeChecksum(vnet: number, at: number, length: number): void {
    const { view } = this.#memory;
    const start = at + view.getUint16(vnet + 6, true);
    const place = start + view.getUint16(vnet + 8, true);
    const end = at + length;
    if (place + 2 > end) return;
    const sum = ~fold(sumOf(this.#memory, start, end - start)) & 0xffff;
    // Zero would say "none" in UDP.
    view.setUint16(place, sum === 0 ? 0xffff : sum);
  }
}
