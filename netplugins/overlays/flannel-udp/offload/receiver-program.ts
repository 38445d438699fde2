/**
 * The shortcut's program on what arrives on the underlay's link. Some packets of a peer's TCP go through another link before
 * the node sees them: to be gathered (gathering-link.ts), or to lose a mark (tunnel-link.ts).
 */
import { BpfAssembler } from '../../../linux/bpf-assembler.ts';
import { bpfHelpers, bpfPacket } from '../../../linux/bpf.ts';
import { noteProcessor } from './acknowledgement-steering.ts';
import { enteringMark } from './pair-programs.ts';
import {
  ipv4,
  ipv6,
  TCP,
  UDP,
  frame,
  header,
  header6,
  overhead,
  ttl,
  behindFrame,
  fixedSegments,
  innerIpv6,
  BPF_F_INGRESS,
  type ShortcutPlace,
  receivedIndex,
  gatheredIndex,
  unmarkedIndex,
  gatheringIndex,
  tunnelIndex,
  swapped16,
  loadBounds,
  countDown,
  foldSum,
  count,
  end,
} from './program-parts.ts';

/** A frame of more than this is one of a bulk transfer. */
const largeFrame = 1_000;
/** More of them in a row that arrived one by one: whatever the path could gather it has not. */
export const patience = 32;

/** How packets travel through that tunnel. The addresses are of a namespace in which there are no others. */
export const wrapping = { vni: 1, port: 4789, from: '10.0.0.1', to: '10.0.0.2', mac: '02:70:69:6e:00:03' } as const;
/** Of each pair's far end (own-pair.ts). */
export const farMac = '02:70:69:6e:00:02';
/** Outer headers of VXLAN: IPv4, UDP, its own, and the frame inside. */
const wrapper = header + 8 + 8 + frame;
/** On the frame: whether the link that the packet goes through gathers. */
const gatheredAt = -20;
/** After so many small packets in a row there are no large ones any more that they could overtake. */
const lastingSmall = 64;

/**
 * What is known of a peer: how many large packets have come one by one since the last that came whole, and how many small
 * ones may come before its TCP takes the direct way again.
 */
export const peerBytes = 8;
export const singlesAt = 0;
const smallAt = 4;

/** Sets r9 to the link at `index` of the counters, 0: none; loses r0. */
function loadLink(program: BpfAssembler, counters: number, index: number): void {
  program.storeValue('u32', 10, -8, index).map(1, counters).copy(2, 10).advance(2, -8).call(bpfHelpers.mapLookup);
  program.jumpIfNone(0, 'chosen').load('u32', 9, 0, 0);
}

/**
 * Sets r9 to the link that the packet goes through, 0: none, and whether to be gathered there or as VXLAN. Only TCP goes
 * through one, and then all TCP of that peer, or small packets would overtake large ones; until there have been only small
 * ones for a while, which are sooner there without. r0: what is known of the peer. One packet goes the long way, as a sign
 * for the process that the gathering link is wanted.
 */
function chooseWay(program: BpfAssembler, counters: number): void {
  program.storeValue('u32', 10, gatheredAt, 0);
  program.load('u32', 2, 10, -16).jumpIf(2, 'notEqual', TCP, 'chosen');
  program.load('u32', 2, 6, bpfPacket.segmentSize).jumpIf(2, 'equal', 0, 'single');
  program.storeValue('u32', 0, singlesAt, 0).storeValue('u32', 0, smallAt, lastingSmall);
  program.label('tunnel');
  loadLink(program, counters, tunnelIndex);
  program.jump('chosen');

  program.label('single').load('u32', 2, 6, bpfPacket.length);
  program.load('u32', 3, 0, singlesAt).jumpIf(3, 'greater', patience, 'many');
  program.jumpIf(2, 'atMost', largeFrame, 'few').compute('add', 3, 1).store('u32', 0, singlesAt, 3);
  program.label('few').load('u32', 3, 0, smallAt).jumpIf(3, 'equal', 0, 'chosen');
  program.compute('sub', 3, 1).store('u32', 0, smallAt, 3).jump('tunnel');

  program.label('many').jumpIf(2, 'greater', largeFrame, 'large');
  program.load('u32', 2, 0, smallAt).jumpIf(2, 'notEqual', 0, 'small');
  program.storeValue('u32', 0, singlesAt, 0).jump('chosen');
  program.label('small').compute('sub', 2, 1).store('u32', 0, smallAt, 2).jump('gather');
  program.label('large').storeValue('u32', 0, smallAt, lastingSmall);
  program.label('gather').storeValue('u32', 10, gatheredAt, 1).copy(8, 0);
  loadLink(program, counters, gatheringIndex);
  program.jumpIf(9, 'notEqual', 0, 'chosen');
  program.load('u32', 3, 8, singlesAt).jumpIf(3, 'greater', patience + 1, 'chosen');
  program.compute('add', 3, 1).store('u32', 8, singlesAt, 3).jump('leave');
}

/** Through the link r9 on another processor than this one, the same for all packets of a flow that come by one. */
function goElsewhere(program: BpfAssembler, { flows, processors }: ShortcutPlace): void {
  noteProcessor(program, flows);
  program.copy(1, 6).call(bpfHelpers.hash).computeWith('move', 8, 0);
  program
    .compute('modulo', 8, processors - 1)
    .call(bpfHelpers.processor)
    .computeWith('add', 8, 0);
  program.compute('add', 8, 1).compute('modulo', 8, processors);
  // Queues are counted from 1 here.
  program.compute('add', 8, 1).store('u32', 6, bpfPacket.queue, 8);
  program.set(2, enteringMark).store('u32', 6, bpfPacket.mark, 2);
  program.copy(1, 9).set(2, BPF_F_INGRESS).call(bpfHelpers.redirect).exit();
}

/** Makes VXLAN of a packet, for the tunnel that is told how in tunnel-link.ts. */
function wrap(program: BpfAssembler, counters: number): void {
  const bytes = (text: string): Buffer => Buffer.from(text.split('.').map(Number));
  const [from, to] = [bytes(wrapping.from).readUInt32LE(), bytes(wrapping.to).readUInt32LE()];
  const mac = (text: string): Buffer => Buffer.from(text.replaceAll(':', ''), 'hex');
  const storeMac = (text: string, at: number): void => {
    program.storeValue('u32', 7, at, mac(text).readInt32LE());
    program.storeValue('u16', 7, at + 4, mac(text).readUInt16LE(4));
  };
  loadBounds(program, frame + overhead, 'leave');
  program
    .load('u16', 8, 7, frame + 2)
    .swap16(8)
    .jumpIf(8, 'greater', 0xffff - (wrapper - overhead), 'tooLong');
  program.compute('add', 8, wrapper - overhead).store('u32', 10, -16, 8);
  program
    .copy(1, 6)
    .set(2, wrapper - overhead)
    .set(3, behindFrame)
    .set(4, fixedSegments);
  program.call(bpfHelpers.adjustRoom).jumpIf(0, 'notEqual', 0, 'leave');
  loadBounds(program, frame + wrapper + header, 'drop');
  const [ip, udp, vxlan, inner] = [frame, frame + header, frame + header + 8, frame + header + 16];
  storeMac(farMac, 0);
  program.storeValue('u16', 7, ip, 0x0045).storeValue('u32', 7, ip + 4, 0);
  program.storeValue('u16', 7, ip + 8, ttl | (UDP << 8));
  program.storeValue('u32', 7, ip + 12, from | 0).storeValue('u32', 7, ip + 16, to | 0);
  program
    .load('u32', 4, 10, -16)
    .computeWith('move', 3, 4)
    .swap16(4)
    .store('u16', 7, ip + 2, 4);
  program.compute(
    'add',
    4,
    [0x0045, ttl | (UDP << 8), from & 0xffff, from >>> 16, to & 0xffff, to >>> 16].reduce((a, b) => a + b),
  );
  foldSum(program);
  program.store('u16', 7, ip + 10, 4);
  program
    .compute('sub', 3, header)
    .swap16(3)
    .store('u16', 7, udp + 4, 3);
  program.storeValue('u16', 7, udp, swapped16(wrapping.port)).storeValue('u16', 7, udp + 2, swapped16(wrapping.port));
  program.storeValue('u16', 7, udp + 6, 0);
  program.storeValue('u32', 7, vxlan, 0x08).storeValue('u32', 7, vxlan + 4, wrapping.vni << 16);
  storeMac(wrapping.mac, inner);
  storeMac(farMac, inner + 6);
  program
    .storeValue('u16', 7, inner + 12, ipv4)
    .load('u32', 2, 10, -12)
    .jumpIf(2, 'equal', fixedSegments, 'wrapped');
  program.storeValue('u16', 7, inner + 12, ipv6).label('wrapped');
  countDown(program, frame + wrapper, 'Wrapped');
  count(program, counters, unmarkedIndex);
}

/** Sets r5 to the length of what the datagram holds. */
function loadPayloadLength(program: BpfAssembler): void {
  program
    .load('u16', 5, 7, frame + header + 4)
    .swap16(5)
    .compute('sub', 5, 8);
}

/** On what arrives on the underlay's link: takes a peer's packet out of its datagram, as one that the TUN device received. */
export function receiverProgram(place: ShortcutPlace): Buffer {
  const { device, local, port, peers, counters, checkSource, processors } = place;
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
  loadPayloadLength(program);
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
  loadPayloadLength(program);
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
  program.label('chosen').jumpIf(9, 'equal', 0, 'unpack').load('u32', 2, 10, gatheredAt).jumpIf(2, 'equal', 0, 'wrap');
  program.label('unpack').copy(1, 6).set(2, -overhead).set(3, behindFrame).load('u32', 4, 10, -12);
  program.call(bpfHelpers.adjustRoom).jumpIf(0, 'equal', 0, 'unpacked');
  // Kernels before 6.3 cannot be told that IPv6 is inside: the headers become as long as its own, and then go all.
  program.load('u32', 2, 10, -12).jumpIf(2, 'equal', fixedSegments, 'leave');
  program.copy(1, 6).set(2, ipv6).set(3, 0).call(bpfHelpers.changeProtocol).jumpIf(0, 'notEqual', 0, 'leave');
  program
    .copy(1, 6)
    .set(2, header - header6 - overhead)
    .set(3, behindFrame)
    .set(4, fixedSegments);
  program.call(bpfHelpers.adjustRoom).jumpIf(0, 'notEqual', 0, 'drop');
  program.label('unpacked');
  loadBounds(program, frame + header, 'drop');
  program
    .load('u32', 2, 10, -12)
    .jumpIf(2, 'equal', fixedSegments, 'typed')
    .storeValue('u16', 7, 12, ipv6)
    .label('typed');
  countDown(program, frame);
  program.jumpIf(9, 'equal', 0, 'deliver');
  count(program, counters, gatheredIndex);
  if (processors === 1) program.copy(1, 9).set(2, 0).call(bpfHelpers.redirect).exit();
  else goElsewhere(program, place);
  program.label('deliver');
  count(program, counters, receivedIndex);
  program.set(1, device).set(2, BPF_F_INGRESS).call(bpfHelpers.redirect).exit();

  program.label('wrap');
  wrap(program, counters);
  program.copy(1, 9).set(2, 0).call(bpfHelpers.redirect).exit();
  program.label('tooLong').set(9, 0).jump('unpack');

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
