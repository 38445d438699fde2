/** Cutting and putting together of super-packets, on real memory and with system calls that only write down what they get. */
import test from 'ava';
import fc from 'fast-check';
import { batchIo, iovecBytes, messageBytes, type BatchIo, type Memory } from '../../../netplugins/linux/batch-io.ts';
import { parseIp } from '../../../netplugins/linux/ip-address.ts';
import { onesSum } from '../../../netplugins/overlays/flannel-udp/inner-packet.ts';
import { fold, sumOf } from '../../../netplugins/overlays/flannel-udp/offload/checksum.ts';
import { Coalescer } from '../../../netplugins/overlays/flannel-udp/offload/coalescer.ts';
import { SegmentSender } from '../../../netplugins/overlays/flannel-udp/offload/segment-sender.ts';
import { isSuper } from '../../../netplugins/overlays/flannel-udp/offload/super-framing.ts';
import { SuperGatherer } from '../../../netplugins/overlays/flannel-udp/offload/super-gatherer.ts';
import { packetAt, vnetHeaderBytes } from '../../../netplugins/overlays/flannel-udp/offload/tunnel-memory.ts';
import { wordOf, type Framing } from '../../../netplugins/overlays/flannel-udp/peer-table.ts';

interface Sent {
  readonly segment: number;
  readonly datagrams: readonly Buffer[];
}

/** Like batchIo, but sends and writes are kept. */
function recorder(options: { readonly refusesSegments?: boolean } = {}) {
  const memories: Memory[] = [];
  const sent: Sent[] = [];
  const written: Buffer[] = [];
  const at = (address: number, length: number): Buffer => {
    const memory = memories.find((one) => address >= one.address && address + length <= one.address + one.bytes.length);
    if (memory === undefined) throw new Error(`no memory at ${address}`);
    return memory.bytes.subarray(address - memory.address, address - memory.address + length);
  };
  const gather = (iovecs: number, count: number): Buffer => {
    const vectors = at(iovecs, count * iovecBytes);
    return Buffer.concat(
      Array.from({ length: count }, (_, index) =>
        at(Number(vectors.readBigUInt64LE(index * 16)), vectors.readUInt32LE(index * 16 + 8)),
      ),
    );
  };
  const message = (address: number): { bytes: Buffer; segment: number } => {
    const header = at(address, 56);
    const control = header.readUInt32LE(40);
    const bytes = gather(Number(header.readBigUInt64LE(16)), header.readUInt32LE(24));
    const segment = control === 0 ? 0 : at(Number(header.readBigUInt64LE(32)), control).readUInt16LE(16);
    return { bytes, segment };
  };
  const io: BatchIo = {
    ...batchIo(),
    allocate: (bytes) => {
      const memory = batchIo().allocate(bytes);
      memories.push(memory);
      return memory;
    },
    sendmsg: (_, address) => {
      const { bytes, segment } = message(address);
      if (segment > 0 && options.refusesSegments === true) return -1;
      if (bytes.length > 65_507) return -1;
      const size = segment === 0 ? bytes.length : segment;
      const datagrams = Array.from({ length: Math.ceil(bytes.length / size) }, (_unused, index) =>
        Buffer.from(bytes.subarray(index * size, (index + 1) * size)),
      );
      sent.push({ segment, datagrams });
      return bytes.length;
    },
    sendmmsg: (_, address, count) => {
      for (let index = 0; index < count; index += 1)
        sent.push({ segment: 0, datagrams: [Buffer.from(message(address + index * messageBytes).bytes)] });
      return count;
    },
    writev: (_, address, count) => {
      const bytes = Buffer.from(gather(address, count));
      written.push(bytes);
      return bytes.length;
    },
  };
  return { io, sent, written };
}

interface Shape {
  readonly isV4: boolean;
  readonly payload: number;
  readonly size: number;
  readonly sequence?: number;
  readonly flags?: number;
  readonly id?: number;
  readonly options?: number;
}

const payloadOf = (length: number, start = 0): Buffer =>
  Buffer.from(Array.from({ length }, (_, index) => ((start + index) * 7 + ((start + index) >> 8)) & 0xff));

/** A TCP packet as the kernel hands it over: of any length, its TCP checksum only begun. */
function tcpPacket({ isV4, payload, sequence = 1_000, flags = 0x10, id = 65_530, options = 12 }: Shape): Buffer {
  const tcp = Buffer.alloc(20 + options, 1);
  tcp.writeUInt16BE(40_000, 0);
  tcp.writeUInt16BE(80, 2);
  tcp.writeUInt32BE(sequence, 4);
  tcp.writeUInt32BE(77, 8);
  tcp.writeUInt16BE(((tcp.length / 4) << 12) | flags, 12);
  tcp.writeUInt16BE(512, 14);
  tcp.writeUInt16BE(0x1234, 16);
  tcp.writeUInt16BE(0, 18);
  const ip = Buffer.alloc(isV4 ? 20 : 40);
  if (isV4) {
    ip[0] = 0x45;
    ip.writeUInt16BE(20 + tcp.length + payload, 2);
    ip.writeUInt16BE(id, 4);
    ip.writeUInt16BE(0x4000, 6);
    ip[8] = 63;
    ip[9] = 6;
    parseIp('10.244.1.2').copy(ip, 12);
    parseIp('10.244.2.2').copy(ip, 16);
    ip.writeUInt16BE(~onesSum(ip) & 0xffff, 10);
  } else {
    ip[0] = 0x60;
    ip.writeUInt16BE(tcp.length + payload, 4);
    ip[6] = 6;
    ip[7] = 63;
    parseIp('fd44:0:0:1::2').copy(ip, 8);
    parseIp('fd44:0:0:2::2').copy(ip, 24);
  }
  return Buffer.concat([ip, tcp, payloadOf(payload, sequence - 1_000)]);
}

const headerLengths = (packet: Buffer): { tcp: number; headers: number } => {
  const tcp = packet[0]! >> 4 === 4 ? 20 : 40;
  return { tcp, headers: tcp + (packet[tcp + 12]! >> 4) * 4 };
};

function tcpSum(packet: Buffer): number {
  const { tcp } = headerLengths(packet);
  const addresses = packet.subarray(packet[0]! >> 4 === 4 ? 12 : 8, tcp);
  return onesSum(packet.subarray(tcp), onesSum(addresses, 6 + packet.length - tcp));
}

function send(
  packets: readonly Shape[],
  framing: Framing,
  options: { segments?: boolean; refusesSegments?: boolean } = {},
) {
  const recording = recorder(options);
  const stride = 65_536 + 64;
  const memory = recording.io.allocate(packets.length * stride);
  const sender = new SegmentSender(recording.io, 9, 8285, memory, options.segments ?? true);
  const peer = { address: '192.168.99.2', word: wordOf('192.168.99.2'), framing };
  for (const [index, shape] of packets.entries()) {
    const packet = tcpPacket(shape);
    const { tcp } = headerLengths(packet);
    const at = index * stride + packetAt;
    packet.copy(memory.bytes, at);
    if (framing !== 'super' || !sender.sendSuper(peer, at, packet.length, tcp, shape.size))
      sender.sendSegments(peer, at, packet.length, tcp, shape.size);
  }
  sender.flush();
  return { ...recording, datagrams: recording.sent.flatMap((one) => one.datagrams), failed: sender.failed };
}

/** Puts datagrams into a receiver in this order; what it writes to the device, as [virtio header, packet]. */
function receive(datagrams: readonly Buffer[]) {
  const { io, written } = recorder();
  const memory = io.allocate(datagrams.length * 1_600 + 64);
  const coalescer = new Coalescer(io, 3, memory);
  const gatherer = new SuperGatherer(io, 3, memory);
  for (const [index, datagram] of datagrams.entries()) {
    datagram.copy(memory.bytes, index * 1_600);
    if (isSuper(datagram[0]!)) gatherer.take(5, index * 1_600, datagram.length);
    else coalescer.take(index * 1_600, datagram.length);
  }
  coalescer.flush();
  gatherer.flush();
  return written.map((bytes) => ({
    vnet: bytes.subarray(0, vnetHeaderBytes),
    packet: bytes.subarray(vnetHeaderBytes),
  }));
}

/** The stretches of the stream that packets carry. */
function stretches(packets: readonly { readonly packet: Buffer }[]): { from: number; bytes: Buffer }[] {
  return packets.map(({ packet }) => {
    const { tcp, headers } = headerLengths(packet);
    return { from: packet.readUInt32BE(tcp + 4) - 1_000, bytes: packet.subarray(headers) };
  });
}

test('sums agree with the plain ones, whatever the length and alignment', (t) => {
  const memory = batchIo().allocate(4_096);
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 2_000 }), fc.nat(7), (bytes, offset) => {
      memory.bytes.set(bytes, offset);
      return sumOf(memory, offset, bytes.length) % 0xffff === onesSum(Buffer.from(bytes)) % 0xffff;
    }),
  );
  t.is(fold(0x1_ffff_ffff), 0x1_ffff_ffff % 0xffff, 'beyond 32 bits');
});

for (const isV4 of [true, false]) {
  const family = isV4 ? 'IPv4' : 'IPv6';
  test(`${family}: every datagram is one plain packet with all its checksums, for a peer that knows nothing else`, (t) => {
    const size = isV4 ? 1_420 : 1_400;
    const { datagrams, sent } = send([{ isV4, payload: 10 * size + 17, size, flags: 0x18 }], 'plain');
    t.is(sent.length, 1);
    t.is(datagrams.length, 11);
    for (const [index, packet] of datagrams.entries()) {
      const { tcp, headers } = headerLengths(packet);
      const isLast = index === 10;
      t.is(packet.length, isLast ? headers + 17 : 1_472);
      t.is(packet.readUInt32BE(tcp + 4), 1_000 + index * size);
      t.is(packet[tcp + 13], isLast ? 0x18 : 0x10, 'PSH only on the last');
      t.is(packet[tcp + 12]! & 15, 0, 'no mark');
      t.is(tcpSum(packet), 0xffff);
      if (isV4) {
        t.is(packet.readUInt16BE(2), packet.length);
        t.is(packet.readUInt16BE(4), (65_530 + index) & 0xffff, 'identification counts up, around 65,535');
        t.is(onesSum(packet.subarray(0, 20)), 0xffff);
      } else t.is(packet.readUInt16BE(4), packet.length - 40);
      t.deepEqual(packet.subarray(headers), payloadOf(packet.length - headers, index * size));
    }
  });

  test(`${family}: what has been cut arrives as it was, in either framing, in one piece`, (t) => {
    for (const framing of ['plain', 'partial', 'super'] as const)
      for (const payload of [1, 1_400, 1_401, 5_600, 45 * 1_400, 45 * 1_400 + 3]) {
        const shape = { isV4, payload, size: 1_400, flags: 0x18 };
        const { datagrams } = send([shape], framing);
        t.is(
          datagrams.some((one) => isSuper(one[0]!)),
          framing === 'super' && payload >= 5_600,
        );
        const got = receive(datagrams);
        const wanted = tcpPacket(shape);
        const what = `${framing}, ${payload} bytes`;
        t.is(got.length, 1, what);
        const { packet, vnet } = got[0]!;
        const { tcp, headers } = headerLengths(wanted);
        const ttl = isV4 ? 8 : 7;
        // Counted down by the gatherer; of plain packets the caller has done it.
        if (framing === 'super' && payload >= 5_600) t.is(packet[ttl], 62, what);
        packet[ttl] = 63;
        if (isV4) {
          packet.writeUInt16BE(0, 10);
          packet.writeUInt16BE(~onesSum(packet.subarray(0, 20)) & 0xffff, 10);
        }
        t.deepEqual(packet.subarray(0, tcp + 16), wanted.subarray(0, tcp + 16), what);
        t.deepEqual(packet.subarray(tcp + 18), wanted.subarray(tcp + 18), what);
        const isMany = payload > 1_400;
        if (isMany) t.is(vnet.toString('hex'), `01${isV4 ? '01' : '04'}${le16(headers)}${le16(1_400)}${le16(tcp)}1000`);
        if (isMany) {
          const pseudo = onesSum(packet.subarray(isV4 ? 12 : 8, tcp), 6 + packet.length - tcp);
          t.is(packet.readUInt16BE(tcp + 16), pseudo, 'the kernel is given the sum of the pseudo header');
        }
      }
  });
}

const le16 = (value: number): string => Buffer.from([value & 0xff, value >> 8]).toString('hex');

test('a lost datagram costs one segment, in any order, in either framing', (t) => {
  fc.assert(
    fc.property(
      fc.constantFrom<Framing>('partial', 'super'),
      fc.uniqueArray(fc.nat(39), { maxLength: 12 }),
      fc.boolean(),
      (framing, lost, isSwapped) => {
        const { datagrams } = send([{ isV4: true, payload: 40 * 1_000, size: 1_000 }], framing);
        const kept = datagrams.map((one, index) => ({ one, index })).filter(({ index }) => !lost.includes(index));
        // Neighbours that changed places.
        if (isSwapped && kept.length > 10) [kept[4], kept[5]] = [kept[5]!, kept[4]!];
        const got = stretches(receive(kept.map(({ one }) => one)));
        const arrived = new Set<number>();
        for (const { from, bytes } of got) {
          if (!bytes.equals(payloadOf(bytes.length, from))) return false;
          for (let offset = 0; offset < bytes.length; offset += 1_000) arrived.add((from + offset) / 1_000);
        }
        return arrived.size === kept.length && kept.every(({ index }) => arrived.has(index));
      },
    ),
    { numRuns: 60 },
  );
  t.pass();
});

test('what one send cannot take goes with the next super-packet, in order, and never waits for none', (t) => {
  const shape = (index: number) => ({
    isV4: true,
    size: 1_420,
    payload: 46 * 1_420,
    sequence: 1_000 + index * 46 * 1_420,
  });
  const { sent, datagrams } = send([shape(0), shape(1), shape(2)], 'partial');
  t.deepEqual(
    sent.map((one) => one.datagrams.length),
    [44, 44, 44, 6],
  );
  t.deepEqual(
    datagrams.map((one) => one.readUInt32BE(24)),
    Array.from({ length: 138 }, (_, index) => 1_000 + index * 1_420),
  );
  const other = send([shape(0), { ...shape(1), size: 1_000 }], 'partial');
  t.deepEqual(
    other.sent.map(({ segment, datagrams: { length } }) => [segment, length]).slice(0, 3),
    [
      [1_472, 44],
      [1_472, 2],
      [1_052, 62],
    ],
    'another size is not mixed in',
  );
});

test('without segmentation by the kernel every datagram is sent by itself', (t) => {
  for (const options of [{ segments: false }, { refusesSegments: true }]) {
    const { sent, datagrams, failed } = send([{ isV4: true, payload: 30_000, size: 1_420 }], 'super', options);
    t.is(failed, 0);
    t.true(sent.every(({ segment }) => segment === 0));
    t.is(datagrams.length, 22);
    t.is(receive(datagrams).length, 1);
  }
});

test('packets that must not be joined are handed over one by one', (t) => {
  const cut = (change: (packets: Buffer[]) => void, framing: Framing = 'partial'): number => {
    const { datagrams } = send([{ isV4: true, payload: 4 * 1_000, size: 1_000 }], framing);
    const packets = [...datagrams];
    change(packets);
    return receive(packets).length;
  };
  t.is(
    cut(() => undefined),
    1,
  );
  t.is(
    cut((packets) => (packets[2]![33]! |= 0x01)),
    3,
    'FIN',
  );
  t.is(
    cut((packets) => (packets[2]![33]! |= 0x20)),
    3,
    'URG',
  );
  t.is(
    cut((packets) => packets[2]!.writeUInt32BE(78, 28)),
    3,
    'another acknowledgement',
  );
  t.is(
    cut((packets) => packets[2]!.writeUInt16BE(99, 34)),
    3,
    'another window',
  );
  t.is(
    cut((packets) => (packets[2]![45]! ^= 1)),
    3,
    'another time stamp',
  );
  t.is(
    cut((packets) => (packets[2]![1]! |= 4)),
    3,
    'another service',
  );
  t.is(
    cut((packets) => (packets[2]![8]! = 9)),
    3,
    'another time to live',
  );
  t.is(
    cut((packets) => (packets[2]![15]! = 9)),
    3,
    'another source',
  );
  t.is(
    cut((packets) => packets.splice(1, 1)),
    2,
    'one is missing',
  );
  t.is(
    cut((packets) => (packets[1]![33]! |= 0x08)),
    2,
    'PSH ends a super-packet',
  );
  const bad = (packets: Buffer[]): void => void (packets[2]![700]! ^= 1);
  t.is(cut(bad, 'plain'), 3, 'a packet with a wrong checksum stays what it is');
});

test('datagrams that are no packets of ours do no harm', (t) => {
  const { datagrams } = send([{ isV4: true, payload: 40_000, size: 1_000 }], 'super');
  fc.assert(
    fc.property(fc.nat(39), fc.nat(60), fc.nat(255), fc.nat(60), (index, offset, value, length) => {
      const packets = datagrams.map((one) => Buffer.from(one));
      packets[index]![offset] = value;
      packets[(index + 1) % 40] = packets[(index + 1) % 40]!.subarray(0, length);
      receive(packets.filter((one) => one.length > 0 && (isSuper(one[0]!) || one.length >= 40)));
      return true;
    }),
    { numRuns: 200 },
  );
  t.pass();
});
