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
const noRouteAt = counterNames.indexOf('noRoute');
const expiredAt = counterNames.indexOf('expired');

export class TunReader {
  readonly #io: BatchIo;
  readonly #tun: number;
  readonly #memory: Memory;
  readonly #peers: FollowedPeers;
  readonly #sender: SegmentSender;
  readonly #icmp: IcmpSender;
  readonly #counters: Float64Array;

  constructor(io: BatchIo, settings: WorkerSettings, peers: FollowedPeers, counters: Float64Array) {
    this.#io = io;
    this.#tun = settings.tun;
    this.#memory = io.allocate(packetAt + longestPacket + 1);
    this.#peers = peers;
    this.#sender = new SegmentSender(io, settings.socket, settings.port, this.#memory, settings.segments);
    this.#icmp = new IcmpSender(settings.sources);
    this.#counters = counters;
  }

  get failed(): number {
    return this.#sender.failed;
  }

  /** False: nothing was there (of a descriptor that does not block). Throws when the device has gone. */
  step(): boolean {
    const got = this.#io.read(this.#tun, this.#memory.address + vnetAt, vnetHeaderBytes + longestPacket);
    if (got < 0) {
      const errno = this.#io.errno();
      if (errno === EBADF || errno === EFAULT || errno === EBADFD) throw new Error('the TUN device has gone');
      return false;
    }
    this.#peers.follow();
    if (got > vnetHeaderBytes) this.#carry(got - vnetHeaderBytes);
    return true;
  }

  #carry(length: number): void {
    const { bytes, view } = this.#memory;
    const version = versionOf(bytes, packetAt, length);
    if (version === undefined) return;
    const { table } = this.#peers;
    const peer = version === 4 ? table.find4(bytes, packetAt + 16) : table.find6(bytes, packetAt + 24);
    if (peer === undefined) return this.#refuse(length, 'no-route');
    if (!countDown(bytes, packetAt)) return this.#refuse(length, 'expired');
    this.#counters[sentAt]! += 1;
    const type = bytes[vnetAt + 1]!;
    if (type === VNET_GSO_TCPV4 || type === VNET_GSO_TCPV6) {
      const tcp = view.getUint16(vnetAt + 6, true);
      const size = view.getUint16(vnetAt + 4, true);
      if (peer.framing !== 'super' || !this.#sender.sendSuper(peer, length, tcp, size))
        this.#sender.sendSegments(peer, length, tcp, size);
    } else {
      if ((bytes[vnetAt]! & VNET_NEEDS_CSUM) !== 0) this.#completeChecksum(length);
      this.#sender.sendWhole(peer, length);
    }
  }

  #refuse(length: number, reason: IcmpReason): void {
    this.#counters[reason === 'no-route' ? noRouteAt : expiredAt]! += 1;
    this.#icmp.answer(this.#memory.bytes.subarray(packetAt, packetAt + length), reason);
  }

  /** The kernel has left the sum of the pseudo header in the checksum's place; the rest is added here. */
  #completeChecksum(length: number): void {
    const { view } = this.#memory;
    const start = packetAt + view.getUint16(vnetAt + 6, true);
    const place = start + view.getUint16(vnetAt + 8, true);
    const end = packetAt + length;
    if (place + 2 > end) return;
    const sum = ~fold(sumOf(this.#memory, start, end - start)) & 0xffff;
    // Zero would say "none" in UDP.
    view.setUint16(place, sum === 0 ? 0xffff : sum);
  }
}
