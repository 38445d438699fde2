/**
 * Which processor TCP acknowledgements leave from, on a node that gathers packets on another one than they come to
 * (gathering-link.ts). Acknowledgements are made there, too. Where the sender's node is on the same machine, they reach it on
 * that processor, and make it send from it: then packets of a flow come to either processor in turns, are gathered on the
 * other, and overtake each other. TCP sees through that, unless packets are lost as well: then it takes for lost what is
 * late. So the acknowledgements of a flow in which much is missing (SACK, RFC 2018) leave from the processor that its packets
 * come to, and those stay in order. Without losses both processors have more to do when they take turns.
 *
 *     pod -> flannel0: sender -> flannel0-gather, queue of that processor -> delivery -> flannel0: sender -> underlay
 */
import type { BpfAssembler } from '../../../linux/bpf-assembler.ts';
import { bpfHelpers, bpfPacket } from '../../../linux/bpf.ts';
import { returningMark } from './pair-programs.ts';
import {
  BPF_F_INGRESS,
  count,
  fixedSegments,
  frame,
  gatheringIndex,
  header,
  header6,
  ipv6,
  loadBounds,
  steeredIndex,
  TCP,
  type ShortcutPlace,
} from './program-parts.ts';

/** What is known of a flow: the queue of the processor that its packets come to, 0: none yet; how much it has missed lately. */
export const flowBytes = 8;
const queueAt = 0;
const missedAt = 4;
/** Flows whose hash is the same share what is known. */
export const flowEntries = 1_024;

/** IPv6 and the longest header of TCP, without content. */
const longestBare = header6 + 60;
/**
 * The usual one: its only option is the timestamp. Without that it is as long when it tells of one gap, which then is not
 * seen.
 */
const usualHeader = 32;
/**
 * A packet in a thousand lost, and 45 gathered: every second acknowledgement tells of something missing. Packets that only
 * overtake each other: one in seven, but many in a row. So one weighs as much as three of the others, and more than a
 * hundred must have come.
 */
const weight = 3;
const many = 384;
const most = 1_024;
/** One packet of so many (a power of two) is looked at: it takes time that others need. */
const sampled = 16;

/** Sets r8 to the hash of the flow whose IP header is at `at` of the packet, the same in both directions. */
function loadFlow(program: BpfAssembler, at: number, isIpv6: boolean): void {
  const [source, destination, ports] = isIpv6 ? [20, 36, header6] : [12, 16, header];
  program.load('u32', 8, 7, at + source);
  for (const other of [destination, ports]) program.load('u32', 2, 7, at + other).computeWith('xor', 8, 2);
  program.computeWith('move', 2, 8).compute('shiftRight', 2, 16).computeWith('xor', 8, 2);
  program.compute('and', 8, flowEntries - 1).store('u32', 10, -8, 8);
}

/** Of a packet that is to be gathered and has been counted (r0 is where). Loses all but r6 and r9. */
export function noteProcessor(program: BpfAssembler, flows: number): void {
  program
    .jumpIfNone(0, 'noted')
    .load('u32', 2, 0, 0)
    .compute('and', 2, sampled - 1);
  program.jumpIf(2, 'notEqual', 0, 'noted');
  loadBounds(program, frame + header6 + 4, 'noted');
  program.load('u32', 2, 10, -12).jumpIf(2, 'equal', fixedSegments, 'flow4');
  loadFlow(program, frame, true);
  program.jump('flow').label('flow4');
  loadFlow(program, frame, false);
  program.label('flow').map(1, flows).copy(2, 10).advance(2, -8).call(bpfHelpers.mapLookup).jumpIfNone(0, 'noted');
  program.copy(8, 0).call(bpfHelpers.processor).compute('add', 0, 1).load('u32', 2, 8, queueAt);
  // What another processor reads is not written without need.
  program.jumpIfDifferent(0, 2, 'note').jump('noted').label('note').store('u32', 8, queueAt, 0).label('noted');
}

/** Of a packet that leaves through the TUN device, if it is one of those. Otherwise keeps r6 and r9 only. */
export function steerAcknowledgement(program: BpfAssembler, { flows, counters }: ShortcutPlace): void {
  program.load('u32', 2, 6, bpfPacket.mark).jumpIf(2, 'equal', returningMark, 'returned');
  program.jumpIf(2, 'notEqual', 0, 'straight');
  program.load('u32', 2, 6, bpfPacket.length).jumpIf(2, 'greater', longestBare, 'straight');
  program.load('u32', 2, 6, bpfPacket.protocol).jumpIf(2, 'equal', ipv6, 'bare6');
  for (const [isIpv6, length, protocolAt] of [
    [false, header, 9],
    [true, header6, 6],
  ] as const) {
    if (isIpv6) program.jump('bare').label('bare6');
    loadBounds(program, length + header, 'straight');
    program.load('u8', 2, 7, protocolAt).jumpIf(2, 'notEqual', TCP, 'straight');
    // Length of TCP's header, in words, in the upper half of a byte.
    program
      .load('u8', 3, 7, length + 12)
      .compute('shiftRight', 3, 2)
      .compute('and', 3, 0x3c);
    program.store('u32', 10, -12, 3).compute('add', 3, length);
    loadFlow(program, 0, isIpv6);
  }
  program.label('bare').load('u32', 2, 6, bpfPacket.length).jumpIfDifferent(2, 3, 'straight');
  program.map(1, flows).copy(2, 10).advance(2, -8).call(bpfHelpers.mapLookup).jumpIfNone(0, 'straight').copy(8, 0);
  program.load('u32', 7, 8, queueAt).jumpIf(7, 'equal', 0, 'straight').load('u32', 2, 8, missedAt);
  program.load('u32', 3, 10, -12).jumpIf(3, 'greater', usualHeader, 'missed');
  program.jumpIf(2, 'equal', 0, 'straight').compute('sub', 2, 1).jump('known');
  program.label('missed').jumpIf(2, 'greater', most, 'known').compute('add', 2, weight);
  program.label('known').store('u32', 8, missedAt, 2).jumpIf(2, 'atMost', many, 'straight');
  program.call(bpfHelpers.processor).compute('add', 0, 1).jumpIfDifferent(0, 7, 'elsewhere').jump('straight');
  program.label('elsewhere').storeValue('u32', 10, -8, gatheringIndex);
  program.map(1, counters).copy(2, 10).advance(2, -8).call(bpfHelpers.mapLookup).jumpIfNone(0, 'straight');
  program.load('u32', 2, 0, 0).jumpIf(2, 'equal', 0, 'straight').copy(9, 2);
  program.store('u32', 6, bpfPacket.queue, 7).set(2, returningMark).store('u32', 6, bpfPacket.mark, 2);
  count(program, counters, steeredIndex);
  program.copy(1, 6).set(2, frame).set(3, 0).call(bpfHelpers.changeHead).jumpIf(0, 'notEqual', 0, 'drop');
  loadBounds(program, frame, 'drop');
  program.load('u32', 2, 6, bpfPacket.protocol).store('u16', 7, 12, 2);
  program.copy(1, 9).set(2, BPF_F_INGRESS).call(bpfHelpers.redirect).exit();
  program.label('returned').set(2, 0).store('u32', 6, bpfPacket.mark, 2).label('straight');
}
