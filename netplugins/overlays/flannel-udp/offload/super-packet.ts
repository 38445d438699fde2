/** The head with which several TCP segments are handed to the TUN device as one. */
import type { Memory } from '../../../linux/batch-io.ts';
import { fold, sumOf } from './checksum.ts';
import {
  packetAt,
  TCP,
  tcpChecksumAt,
  tcpUncheckedBit,
  VNET_GSO_TCPV4,
  VNET_GSO_TCPV6,
  VNET_NEEDS_CSUM,
  vnetAt,
} from './tunnel-memory.ts';

/**
 * Fills in the virtio header, lengths and checksums of a head at `packetAt` with its TCP header at `tcp`. The kernel sums TCP
 * header and payload by itself, when it needs to; it is given the sum of the pseudo header.
 */
export function finishHead(
  head: Memory,
  shape: {
    readonly tcp: number;
    readonly headers: number;
    readonly payload: number;
    readonly segment: number;
    readonly count: number;
  },
): void {
  const { view, bytes } = head;
  const { tcp, headers, payload, segment, count } = shape;
  const length = headers + payload;
  const isV4 = bytes[packetAt]! >> 4 === 4;
  bytes[packetAt + tcp + 12]! &= ~tcpUncheckedBit;
  const addresses = isV4 ? sumOf(head, packetAt + 12, 8) : sumOf(head, packetAt + 8, 32);
  view.setUint16(packetAt + tcp + tcpChecksumAt, fold(addresses + TCP + length - tcp));
  if (isV4) {
    view.setUint16(packetAt + 2, length);
    view.setUint16(packetAt + 10, 0);
    view.setUint16(packetAt + 10, ~sumOf(head, packetAt, tcp) & 0xffff);
  } else view.setUint16(packetAt + 4, length - 40);
  const isMany = count > 1;
  bytes[vnetAt] = VNET_NEEDS_CSUM;
  bytes[vnetAt + 1] = isMany ? (isV4 ? VNET_GSO_TCPV4 : VNET_GSO_TCPV6) : 0;
  view.setUint16(vnetAt + 2, isMany ? headers : 0, true);
  view.setUint16(vnetAt + 4, isMany ? segment : 0, true);
  view.setUint16(vnetAt + 6, tcp, true);
  view.setUint16(vnetAt + 8, tcpChecksumAt, true);
}
