/** The shortcut's program on what leaves through the TUN device, and one that leaves all to the data path in user space. */
import { BpfAssembler } from '../../../linux/bpf-assembler.ts';
import { bpfHelpers, bpfPacket, bpfVerdicts } from '../../../linux/bpf.ts';
import { steerAcknowledgement } from './acknowledgement-steering.ts';
import {
  ipv4,
  ipv6,
  UDP,
  frame,
  header,
  header6,
  overhead,
  ttl,
  behindFrame,
  fixedSegments,
  outerIpv4,
  outerUdp,
  longestInner,
  type ShortcutPlace,
  sentIndex,
  swapped16,
  loadBounds,
  countDown,
  foldSum,
  count,
  end,
} from './program-parts.ts';

/** Leaves everything to the long way. */
export function idleProgram(): Buffer {
  return new BpfAssembler().set(0, bpfVerdicts.next).exit().assemble();
}

/** On what leaves through the TUN device: puts it into a datagram for its peer and sends that through the underlay. */
export function senderProgram(place: ShortcutPlace): Buffer {
  const { underlay, local, port, routes, routes6, counters, processors } = place;
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

  if (processors > 1) steerAcknowledgement(program, place);
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
  foldSum(program);
  program.store('u16', 7, 10, 4);
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
