/**
 * What the programs of the shortcut (shortcut.ts) have in common, for the kernel's BPF machine. What either cannot do as the
 * data path in user space would, it leaves to it, untouched.
 *
 *     r6 the packet   r7 its first byte   r8 length, or its end   r9 the peer's address, or a link
 */
import type { BpfAssembler } from '../../../linux/bpf-assembler.ts';
import { bpfHelpers, bpfPacket, bpfVerdicts } from '../../../linux/bpf.ts';

/** ETH_P_IP and ETH_P_IPV6, as a little-endian machine reads them. */
export const ipv4 = 0x0008;
export const ipv6 = 0xdd86;
export const TCP = 6;
export const UDP = 17;
export const frame = 14;
export const header = 20;
export const header6 = 40;
export const overhead = 28;
export const ttl = 64;
/** BPF_ADJ_ROOM_MAC: right behind the link layer's header. */
export const behindFrame = 1;
/** BPF_F_ADJ_ROOM_*: the size of TCP segments stays; the outer headers are IPv4 and UDP. */
export const fixedSegments = 1;
export const outerIpv4 = 1 << 1;
export const outerUdp = 1 << 4;
export const innerIpv6 = 1 << 8;
export const BPF_F_INGRESS = 1;
/** What a datagram can take. */
export const longestInner = 65_507;

export interface ShortcutPlace {
  /** Indices of the TUN device and of the underlay's link. */
  readonly device: number;
  readonly underlay: number;
  /** Underlay address, as a little-endian machine reads it from a header. */
  readonly local: number;
  readonly port: number;
  /** Descriptors of maps. */
  readonly routes: number;
  readonly routes6: number;
  readonly peers: number;
  readonly counters: number;
  readonly flows: number;
  readonly checkSource: boolean;
  /** Among so many the work of gathering is shared. */
  readonly processors: number;
}

export const sentIndex = 0;
/** One by one, or many in one. */
export const receivedIndex = 1;
/** Those that went to be gathered. */
export const gatheredIndex = 2;
/** Those that went through a tunnel of the kernel's own. */
export const unmarkedIndex = 3;
/** Not counted: the index of the link behind which packets are gathered (gathering-link.ts); 0: there is none yet. */
export const gatheringIndex = 4;
/** Nor this: of the link to a tunnel of the kernel's own (tunnel-link.ts); 0: large packets need none. */
export const tunnelIndex = 5;
/** TCP acknowledgements that left from another processor than they were made on. */
export const steeredIndex = 6;
export const counterEntries = 7;

export const swapped16 = (value: number): number => ((value & 0xff) << 8) | (value >> 8);

export function loadBounds(program: BpfAssembler, needed: number, otherwise: string): void {
  program.load('u32', 7, 6, bpfPacket.data).load('u32', 8, 6, bpfPacket.dataEnd);
  program.copy(2, 7).advance(2, needed).jumpIfBeyond(2, 8, otherwise);
}

/** Time to live of the header at `at` of the packet, with IPv4's checksum (RFC 1624). */
export function countDown(program: BpfAssembler, at: number, way = ''): void {
  program.load('u8', 2, 7, at).compute('and', 2, 0xf0).jumpIf(2, 'equal', 0x60, `hops${way}`);
  program
    .load('u8', 2, 7, at + 8)
    .compute('sub', 2, 1)
    .store('u8', 7, at + 8, 2);
  // One less in the high byte of a word is one more in the sum, which is the low byte of it here.
  program.load('u16', 2, 7, at + 10).compute('add', 2, 1);
  program.computeWith('move', 3, 2).compute('shiftRight', 3, 16).computeWith('add', 2, 3);
  program.store('u16', 7, at + 10, 2).jump(`older${way}`);
  program.label(`hops${way}`).load('u8', 2, 7, at + 7);
  program
    .compute('sub', 2, 1)
    .store('u8', 7, at + 7, 2)
    .label(`older${way}`);
}

/** Of words in r4: the checksum, there too; uses r5. */
export function foldSum(program: BpfAssembler): void {
  for (let fold = 0; fold < 2; fold += 1) {
    program.computeWith('move', 5, 4).compute('shiftRight', 5, 16).compute('and', 4, 0xffff);
    program.computeWith('add', 4, 5);
  }
  program.compute('xor', 4, 0xffff);
}

/** r0 is then where that stands, 0: nowhere. */
export function count(program: BpfAssembler, counters: number, index: number): void {
  program.storeValue('u32', 10, -8, index);
  program.map(1, counters).copy(2, 10).advance(2, -8).call(bpfHelpers.mapLookup);
  program.jumpIfNone(0, `counted${index}`).set(1, 1).addTo(0, 0, 1).label(`counted${index}`);
}

export function end(program: BpfAssembler): Buffer {
  program.label('leave').set(0, bpfVerdicts.next).exit();
  return program.label('drop').set(0, bpfVerdicts.drop).exit().assemble();
}
