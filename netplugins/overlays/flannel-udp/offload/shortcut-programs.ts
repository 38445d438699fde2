/**
 * The two programs of the shortcut (shortcut.ts), for the kernel's BPF machine. What either cannot do as the data path in
 * user space would, it leaves to it, untouched.
 *
 *     r6 the packet   r7 its first byte   r8 length, or its end   r9 the peer's address, as it stands in the header
 */
import { BpfAssembler } from '../../../linux/bpf-assembler.ts';
import { bpfHelpers, bpfPacket, bpfVerdicts } from '../../../linux/bpf.ts';

/** ETH_P_IP and ETH_P_IPV6, as a little-endian machine reads them. */
const ipv4 = 0x0008;
const ipv6 = 0xdd86;
const UDP = 17;
const frame = 14;
const header = 20;
const header6 = 40;
const overhead = 28;
const ttl = 64;
/** BPF_ADJ_ROOM_MAC: right behind the link layer's header. */
const behindFrame = 1;
/** BPF_F_ADJ_ROOM_*: the size of TCP segments stays; the outer headers are IPv4 and UDP. */
const fixedSegments = 1;
const outerIpv4 = 1 << 1;
const outerUdp = 1 << 4;
const innerIpv6 = 1 << 8;
const BPF_F_INGRESS = 1;
/** What a datagram can take. */
const longestInner = 65_507;
const TCP = 6;
/** A frame of more than this is one of a bulk transfer. */
const largeFrame = 1_000;
/** More of them in a row that arrived one by one: whatever the path could gather it has not. */
export const patience = 32;

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
  readonly checkSource: boolean;
}

export const sentIndex = 0;
/** One by one, or many in one. */
export const receivedIndex = 1;
/** Those that went to be gathered. */
export const gatheredIndex = 2;
/** Not counted: the index of the link behind which packets are gathered (gathering-link.ts); 0: there is none yet. */
export const gatheringIndex = 3;

const swapped16 = (value: number): number => ((value & 0xff) << 8) | (value >> 8);

function loadBounds(program: BpfAssembler, needed: number, otherwise: string): void {
  program.load('u32', 7, 6, bpfPacket.data).load('u32', 8, 6, bpfPacket.dataEnd);
  program.copy(2, 7).advance(2, needed).jumpIfBeyond(2, 8, otherwise);
}

/** Time to live of the header at `at` of the packet, with IPv4's checksum (RFC 1624). */
function countDown(program: BpfAssembler, at: number): void {
  program.load('u8', 2, 7, at).compute('and', 2, 0xf0).jumpIf(2, 'equal', 0x60, 'hops');
  program
    .load('u8', 2, 7, at + 8)
    .compute('sub', 2, 1)
    .store('u8', 7, at + 8, 2);
  // One less in the high byte of a word is one more in the sum, which is the low byte of it here.
  program.load('u16', 2, 7, at + 10).compute('add', 2, 1);
  program.computeWith('move', 3, 2).compute('shiftRight', 3, 16).computeWith('add', 2, 3);
  program.store('u16', 7, at + 10, 2).jump('older');
  program.label('hops').load('u8', 2, 7, at + 7);
  program
    .compute('sub', 2, 1)
    .store('u8', 7, at + 7, 2)
    .label('older');
}

function count(program: BpfAssembler, counters: number, index: number): void {
  program.storeValue('u32', 10, -8, index);
  program.map(1, counters).copy(2, 10).advance(2, -8).call(bpfHelpers.mapLookup);
  program.jumpIfNone(0, `counted${index}`).set(1, 1).addTo(0, 0, 1).label(`counted${index}`);
}

/** On the end of the gathering link that is in a namespace of its own: to the other end, at once. */
export function gatheredProgram(link: number): Buffer {
  return new BpfAssembler().set(1, link).set(2, 0).call(bpfHelpers.redirectPeer).exit().assemble();
}

/** On the end in the node's namespace: as what the TUN device received. */
export function deliveryProgram(device: number): Buffer {
  return new BpfAssembler().set(1, device).set(2, BPF_F_INGRESS).call(bpfHelpers.redirect).exit().assemble();
}

/** Leaves everything to the long way. */
export function idleProgram(): Buffer {
  return new BpfAssembler().set(0, bpfVerdicts.next).exit().assemble();
}

function end(program: BpfAssembler): Buffer {
  program.label('leave').set(0, bpfVerdicts.next).exit();
  return program.label('drop').set(0, bpfVerdicts.drop).exit().assemble();
}

/**
 * Sets r9 to the link behind which the packet is to be gathered, if it is: it is of TCP, and of a peer whose large packets
 * arrive one by one. All TCP of that peer goes this way, or small packets would overtake large ones. r0: the peer's count of
 * large packets in a row. One packet goes the long way, as a sign for the process that the link is wanted.
 */
function chooseWay(program: BpfAssembler, counters: number): void {
  program.load('u32', 2, 10, -16).jumpIf(2, 'notEqual', TCP, 'chosen');
  program.load('u32', 2, 6, bpfPacket.segmentSize).jumpIf(2, 'equal', 0, 'single');
  program.storeValue('u32', 0, 0, 0).jump('chosen').label('single');
  program.load('u32', 3, 0, 0).jumpIf(3, 'greater', patience, 'many');
  program.load('u32', 2, 6, bpfPacket.length).jumpIf(2, 'atMost', largeFrame, 'chosen');
  program.compute('add', 3, 1).store('u32', 0, 0, 3).jump('chosen');

  program.label('many').copy(8, 0).storeValue('u32', 10, -8, gatheringIndex);
  program.map(1, counters).copy(2, 10).advance(2, -8).call(bpfHelpers.mapLookup).jumpIfNone(0, 'chosen');
  program.load('u32', 9, 0, 0).jumpIf(9, 'notEqual', 0, 'chosen');
  program.load('u32', 3, 8, 0).jumpIf(3, 'greater', patience + 1, 'chosen');
  program.compute('add', 3, 1).store('u32', 8, 0, 3).jump('leave');
}

/** On what leaves through the TUN device: puts it into a datagram for its peer and sends that through the underlay. */
export function senderProgram({ underlay, local, port, routes, routes6, counters }: ShortcutPlace): Buffer {
  const program = new BpfAssembler().copy(6, 1);
  program.load('u32', 2, 6, bpfPacket.protocol).jumpIf(2, 'equal', ipv6, 'six').jumpIf(2, 'notEqual', ipv4, 'leave');
  loadBounds(program, header, 'leave');
  program.load('u8', 2, 7, 0).compute('and', 2, 0xf0).jumpIf(2, 'notEqual', 0x40, 'leave');
  program.load('u8', 2, 7, 8).jumpIf(2, 'atMost', 1, 'leave');
  program.storeValue('u32', 10, -8, 32).load('u32', 2, 7, 16).store('u32', 10, -4, 2);
  program.map(1, routes).copy(2, 10).advance(2, -8).call(bpfHelpers.mapLookup).jump('found');

  program.label('six');
  loadBounds(program, header6, 'leave');
  program.load('u8', 2, 7, 0).compute('and', 2, 0xf0).jumpIf(2, 'notEqual', 0x60, 'leave');
  program.load('u8', 2, 7, 7).jumpIf(2, 'atMost', 1, 'leave').storeValue('u32', 10, -24, 128);
  for (let word = 0; word < 16; word += 4) program.load('u32', 2, 7, 24 + word).store('u32', 10, -20 + word, 2);
  program.map(1, routes6).copy(2, 10).advance(2, -24).call(bpfHelpers.mapLookup);

  program.label('found').jumpIfNone(0, 'leave');
  // Zero: a peer that takes no such packets.
  program.load('u32', 9, 0, 0).jumpIf(9, 'equal', 0, 'leave');

  // A source port of the flow's own, 49152 and up: networks and cards spread what comes from many.
  program.copy(1, 6).call(bpfHelpers.hash).compute('and', 0, 0xff3f).compute('or', 0, 0x00c0).store('u16', 10, -12, 0);
  program.load('u32', 8, 6, bpfPacket.length).jumpIf(8, 'greater', longestInner, 'leave');
  program
    .copy(1, 6)
    .set(2, overhead)
    .set(3, behindFrame)
    .set(4, fixedSegments | outerIpv4 | outerUdp);
  program.call(bpfHelpers.adjustRoom).jumpIf(0, 'notEqual', 0, 'leave');

  program.call(bpfHelpers.random);
  program.computeWith('move', 5, 0).compute('and', 5, 0xffff);
  program.compute('add', 8, overhead).computeWith('move', 4, 8).swap16(4);
  // r8 is needed for the packet's end: the datagram's length goes to the frame meanwhile.
  program.compute('sub', 8, header).swap16(8).store('u16', 10, -16, 8);
  loadBounds(program, overhead + header, 'drop');
  program.storeValue('u16', 7, 0, 0x0045).store('u16', 7, 2, 4).store('u16', 7, 4, 5);
  program.storeValue('u16', 7, 6, 0).storeValue('u16', 7, 8, ttl | (UDP << 8));
  program.storeValue('u32', 7, 12, local | 0).store('u32', 7, 16, 9);
  const fixed = 0x0045 + (ttl | (UDP << 8)) + (local & 0xffff) + (local >>> 16);
  program.computeWith('add', 4, 5).compute('add', 4, fixed);
  program.computeWith('move', 3, 9).compute('and', 3, 0xffff).computeWith('add', 4, 3);
  program.computeWith('move', 3, 9).compute('shiftRight', 3, 16).computeWith('add', 4, 3);
  for (let fold = 0; fold < 2; fold += 1) {
    program.computeWith('move', 3, 4).compute('shiftRight', 3, 16).compute('and', 4, 0xffff);
    program.computeWith('add', 4, 3);
  }
  program.compute('xor', 4, 0xffff).store('u16', 7, 10, 4);
  program.load('u16', 2, 10, -12).store('u16', 7, 20, 2).storeValue('u16', 7, 22, swapped16(port));
  // Without a checksum of its own: what is inside has one.
  program.load('u16', 2, 10, -16).store('u16', 7, 24, 2).storeValue('u16', 7, 26, 0);
  countDown(program, overhead);
  count(program, counters, sentIndex);
  // Room for the link layer's header, which the next call fills in.
  program.copy(1, 6).set(2, frame).set(3, 0).call(bpfHelpers.changeHead).jumpIf(0, 'notEqual', 0, 'drop');
  program.set(1, underlay).set(2, 0).set(3, 0).set(4, 0).call(bpfHelpers.redirectNeighbour).exit();
  return end(program);
}

/** On what arrives on the underlay's link: takes a peer's packet out of its datagram, as one that the TUN device received. */
export function receiverProgram(place: ShortcutPlace): Buffer {
  const { device, local, port, peers, counters, checkSource } = place;
  const udp = frame + header;
  const inner = udp + 8;
  const program = new BpfAssembler().copy(6, 1);
  program.load('u32', 2, 6, bpfPacket.protocol).jumpIf(2, 'notEqual', ipv4, 'leave');
  loadBounds(program, inner + header, 'pull');
  program.label('whole');
  program.load('u8', 2, 7, frame).jumpIf(2, 'notEqual', 0x45, 'leave');
  program.load('u8', 2, 7, frame + 9).jumpIf(2, 'notEqual', UDP, 'leave');
  // More fragments, or an offset.
  program
    .load('u16', 2, 7, frame + 6)
    .compute('and', 2, swapped16(0x3fff))
    .jumpIf(2, 'notEqual', 0, 'leave');
  program.load('u32', 2, 7, frame + 16).jumpIf(2, 'notEqual', local, 'leave');
  program.load('u16', 2, 7, udp + 2).jumpIf(2, 'notEqual', swapped16(port), 'leave');
  // One with a checksum is from a data path in user space, which may have left those inside to the receiver.
  program.load('u16', 2, 7, udp + 6).jumpIf(2, 'notEqual', 0, 'leave');
  program
    .load('u16', 5, 7, udp + 4)
    .swap16(5)
    .compute('sub', 5, 8);
  program
    .load('u8', 2, 7, inner)
    .compute('and', 2, 0xf0)
    .jumpIf(2, 'equal', 0x60, 'six')
    .jumpIf(2, 'notEqual', 0x40, 'leave');
  program.load('u8', 2, 7, inner + 8).jumpIf(2, 'atMost', 1, 'leave');
  program
    .load('u16', 3, 7, inner + 2)
    .swap16(3)
    .jumpIfDifferent(5, 3, 'leave');
  // What the kernel is told when the outer headers go, and the inner protocol, are kept on the frame.
  program
    .storeValue('u32', 10, -12, fixedSegments)
    .load('u8', 2, 7, inner + 9)
    .store('u32', 10, -16, 2)
    .jump('known');

  program
    .label('six')
    .copy(2, 7)
    .advance(2, inner + header6)
    .jumpIfBeyond(2, 8, 'pull6')
    .label('whole6');
  program.load('u8', 2, 7, inner + 7).jumpIf(2, 'atMost', 1, 'leave');
  program
    .load('u16', 5, 7, udp + 4)
    .swap16(5)
    .compute('sub', 5, 8);
  program
    .load('u16', 3, 7, inner + 4)
    .swap16(3)
    .compute('add', 3, header6)
    .jumpIfDifferent(5, 3, 'leave');
  program
    .storeValue('u32', 10, -12, fixedSegments | innerIpv6)
    .load('u8', 2, 7, inner + 6)
    .store('u32', 10, -16, 2);

  program.label('known');
  program.load('u32', 2, 7, frame + 12).store('u32', 10, -8, 2);
  program.map(1, peers).copy(2, 10).advance(2, -8).call(bpfHelpers.mapLookup);
  program.set(9, 0).jumpIfNone(0, checkSource ? 'leave' : 'chosen');
  chooseWay(program, counters);
  program.label('chosen');
  program.copy(1, 6).set(2, -overhead).set(3, behindFrame).load('u32', 4, 10, -12);
  program.call(bpfHelpers.adjustRoom).jumpIf(0, 'notEqual', 0, 'leave');
  loadBounds(program, frame + header, 'drop');
  program
    .load('u32', 2, 10, -12)
    .jumpIf(2, 'equal', fixedSegments, 'typed')
    .storeValue('u16', 7, 12, ipv6)
    .label('typed');
  countDown(program, frame);
  program.jumpIf(9, 'equal', 0, 'deliver');
  count(program, counters, gatheredIndex);
  program.copy(1, 9).set(2, 0).call(bpfHelpers.redirect).exit().label('deliver');
  count(program, counters, receivedIndex);
  program.set(1, device).set(2, BPF_F_INGRESS).call(bpfHelpers.redirect).exit();

  // Not all of the headers are where they can be read.
  for (const [label, needed, then] of [
    ['pull', inner + header, 'whole'],
    ['pull6', inner + header6, 'whole6'],
  ] as const) {
    program.label(label).copy(1, 6).set(2, needed).call(bpfHelpers.pullData);
    loadBounds(program, needed, 'leave');
    program.jump(then);
  }
  return end(program);
}
