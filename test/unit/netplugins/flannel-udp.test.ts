import test from 'ava';
import fc from 'fast-check';
import { parseIp } from '../../../netplugins/linux/ip-address.ts';
import { announce, announcementKey, readUdpPeer } from '../../../netplugins/overlays/flannel-udp/announcement.ts';
import { mostThreads } from '../../../netplugins/overlays/flannel-udp/data-path-protocol.ts';
import { countDown, icmpError, onesSum, versionOf } from '../../../netplugins/overlays/flannel-udp/inner-packet.ts';
import { PeerTable } from '../../../netplugins/overlays/flannel-udp/peer-table.ts';

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(/\s/g, ''), 'hex');

/** A captured query: 115 bytes of UDP from 192.168.0.1 to 192.168.0.199, of which the payload does not matter here. */
const header4 = '4500 0073 0000 4000 4011 b861 c0a8 0001 c0a8 00c7';
const packet4 = (): Buffer => Buffer.concat([hex(header4), hex('d431 0035 005f 0000'), Buffer.alloc(87, 'x')]);
const packet6 = (hops: number): Buffer => {
  const packet = Buffer.concat([hex(`6000 0000 000c 11 ${hops.toString(16).padStart(2, '0')}`), Buffer.alloc(44)]);
  parseIp('fd44:0:0:1::2').copy(packet, 8);
  parseIp('fd44:0:0:2::2').copy(packet, 24);
  return packet;
};

test('threads follow the processors, and what is said', (t) => {
  t.deepEqual(
    [1, 2, 3, 4, 7, 8, 64].map((processors) => mostThreads('auto', processors)),
    [1, 1, 1, 2, 2, 4, 4],
  );
  t.is(mostThreads(8, 2), 8);
});

test('a packet is recognised by its version and length', (t) => {
  t.is(versionOf(packet4()), 4);
  t.is(versionOf(packet6(64)), 6);
  t.is(versionOf(packet4().subarray(0, 100)), undefined, 'cut short');
  t.is(versionOf(packet6(64).subarray(0, 50)), undefined);
  t.is(versionOf(Buffer.alloc(0)), undefined);
  t.is(versionOf(Buffer.alloc(60)), undefined);
});

test('counting down changes the time to live and the checksum, by known bytes', (t) => {
  const packet = packet4();
  t.true(countDown(packet));
  t.is(packet.subarray(0, 20).toString('hex'), '45000073000040003f11b961c0a80001c0a800c7');
  const hops = packet6(64);
  t.true(countDown(hops));
  t.is(hops[7], 63);
});

test('at its end a packet is left as it was', (t) => {
  for (const packet of [packet6(1), packet6(0)]) {
    const before = packet.toString('hex');
    t.false(countDown(packet));
    t.is(packet.toString('hex'), before);
  }
  for (const ttl of [0, 1]) {
    const packet = packet4();
    packet[8] = ttl;
    t.false(countDown(packet), 'zero does not wrap around to 255');
    t.is(packet[8], ttl);
  }
});

test('the checksum stays right all the way down, whatever the header', (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 20, maxLength: 20 }), (bytes) => {
      const packet = Buffer.from(bytes);
      packet[0] = 0x45;
      packet[8] = 255;
      packet.writeUInt16BE(0, 10);
      packet.writeUInt16BE(~onesSum(packet) & 0xffff, 10);
      while (countDown(packet)) if (onesSum(packet) !== 0xffff) return false;
      return packet[8] === 1;
    }),
    { numRuns: 50 },
  );
  t.pass();
});

test('without a route the source gets network unreachable, as from flannel: TTL 8, header and 8 bytes quoted', (t) => {
  const answer = icmpError(packet4(), parseIp('10.244.1.0'), 'no-route')!;
  t.is(answer.subarray(0, 10).toString('hex'), '45000038000000000801');
  t.is(answer.subarray(12, 20).toString('hex'), '0af40100c0a80001');
  t.is(onesSum(answer.subarray(0, 20)), 0xffff);
  t.is(answer.subarray(20, 22).toString('hex'), '0300');
  t.is(onesSum(answer.subarray(20)), 0xffff);
  t.deepEqual(answer.subarray(28), packet4().subarray(0, 28));
});

test('an expired packet gets time exceeded, in both families', (t) => {
  t.is(icmpError(packet4(), parseIp('10.244.1.0'), 'expired')?.[20], 11);
  const answer = icmpError(packet6(1), parseIp('fd44:0:0:1::'), 'expired')!;
  t.is(answer.subarray(0, 8).toString('hex'), '60000000003c3a40');
  t.deepEqual(answer.subarray(24, 40), parseIp('fd44:0:0:1::2'));
  t.is(answer.subarray(40, 42).toString('hex'), '0300');
  const pseudo = Buffer.concat([answer.subarray(8, 40), hex('0000003c 0000003a')]);
  t.is(onesSum(answer.subarray(40), onesSum(pseudo)), 0xffff);
  t.is(icmpError(packet6(1), parseIp('fd44:0:0:1::'), 'no-route')?.[40], 1);
});

test('errors, later fragments and packets to or from nobody in particular get no answer', (t) => {
  const source = parseIp('10.244.1.0');
  const changed = (offset: number, value: number): Buffer => {
    const packet = packet4();
    packet[offset] = value;
    return packet;
  };
  t.is(icmpError(changed(9, 1), source, 'no-route'), undefined, 'ICMP');
  t.is(icmpError(changed(7, 5), source, 'no-route'), undefined, 'a later fragment');
  t.is(icmpError(changed(16, 0xe0), source, 'no-route'), undefined, 'multicast');
  t.is(icmpError(changed(12, 0), source, 'no-route'), undefined, 'no source');
  const error6 = packet6(64);
  error6[6] = 58;
  t.is(icmpError(error6, parseIp('fd44::'), 'no-route'), undefined, 'ICMPv6 error');
  error6[40] = 128;
  t.not(icmpError(error6, parseIp('fd44::'), 'no-route'), undefined, 'an echo request is none');
});

test('the longest prefix decides, and the answer for one destination is not that for the next', (t) => {
  const peer = (address: string, ...podCidrs: string[]) => ({
    address,
    addresses: [address],
    podCidrs,
    framing: 'plain' as const,
  });
  const table = new PeerTable([
    peer('192.168.0.1', '10.244.1.0/24', 'fd44:0:0:1::/64'),
    peer('192.168.0.2', '10.244.0.0/16'),
    peer('192.168.0.3', '10.244.1.128/25', 'fd44::/48'),
    peer('192.168.0.4', '10.244.1.200/32'),
  ]);
  const ask = (text: string): string | undefined => {
    const bytes = parseIp(text);
    return (bytes.length === 4 ? table.find4(bytes, 0) : table.find6(bytes, 0))?.address;
  };
  for (let round = 0; round < 2; round += 1) {
    t.is(ask('10.244.1.5'), '192.168.0.1');
    t.is(ask('10.244.1.5'), '192.168.0.1');
    t.is(ask('10.244.1.129'), '192.168.0.3');
    t.is(ask('10.244.1.200'), '192.168.0.4');
    t.is(ask('10.244.2.1'), '192.168.0.2');
    t.is(ask('10.245.0.1'), undefined);
    t.is(ask('fd44:0:0:1::9'), '192.168.0.1');
    t.is(ask('fd44:0:0:2::9'), '192.168.0.3');
    t.is(ask('fd45::1'), undefined);
  }
  t.true(table.hasPeer('192.168.0.2'));
  t.false(table.hasPeer('192.168.0.9'));
  t.is(new PeerTable([]).find4(parseIp('10.244.1.5'), 0), undefined);
});

test('annotations are those of flannel with one more, and a flannel node is read as what it can do', (t) => {
  const annotations = announce('192.168.99.1', { ipv6: true, framings: ['plain', 'partial'] });
  t.deepEqual(annotations, {
    'flannel.alpha.coreos.com/backend-type': 'udp',
    'flannel.alpha.coreos.com/kube-subnet-manager': 'true',
    'flannel.alpha.coreos.com/backend-data': 'null',
    'flannel.alpha.coreos.com/public-ip': '192.168.99.1',
    'pintle.dev/flannel-udp': '{"ipv6":true,"framings":["plain","partial"]}',
  });
  const peer = { name: 'b', podCidrs: ['10.244.2.0/24', 'fd44:0:0:2::/64'], addresses: ['192.168.99.1'], annotations };
  const common = { name: 'b', publicIp: '192.168.99.1', addresses: ['192.168.99.1'] };
  t.deepEqual(readUdpPeer(peer, 2), {
    ...common,
    family: 2,
    podCidr: '10.244.2.0/24',
    framings: ['plain', 'partial'],
  });
  t.deepEqual(readUdpPeer(peer, 10), {
    ...common,
    family: 10,
    podCidr: 'fd44:0:0:2::/64',
    framings: ['plain', 'partial'],
  });
  for (const ours of [undefined, 'no json', '{"ipv6":"yes","framings":["later"]}', '[]']) {
    const { [announcementKey]: _, ...flannel } = annotations;
    const other = { ...peer, annotations: ours === undefined ? flannel : { ...annotations, [announcementKey]: ours } };
    t.deepEqual(readUdpPeer(other, 2), { ...common, family: 2, podCidr: '10.244.2.0/24', framings: ['plain'] });
    t.is(readUdpPeer(other, 10), undefined);
  }
  const vxlan = { ...peer, annotations: { ...annotations, 'flannel.alpha.coreos.com/backend-type': 'vxlan' } };
  t.is(readUdpPeer(vxlan, 2), 'its overlay is "vxlan", not udp');
  t.is(readUdpPeer(vxlan, 10), undefined);
});
