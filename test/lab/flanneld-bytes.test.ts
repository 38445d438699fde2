/**
 * The frames that the real flanneld sent (test/fixtures/flanneld), and what this node sends in its place: each field of each
 * header is the same, but for names (addresses, MACs), numbers of packets, ports that follow from a hash, and one more.
 */
import { readFileSync } from 'node:fs';
import test, { type ExecutionContext } from 'ava';
import type { Peer } from '../../kernel/contract/index.ts';
import { setTxChecksumOffload } from '../../netplugins/linux/ethtool.ts';
import { onesSum } from '../../netplugins/overlays/flannel-udp/inner-packet.ts';
import { clusterCidrs, createPods, openFlannelUdp, openOverlay } from './support/cluster.ts';
import { udpSum } from './support/flannel-peer.ts';
import { createTopology, nodeAddress, podCidr } from './support/topology.ts';
import { Wire } from './support/wire.ts';

interface Sent {
  readonly annotations: Readonly<Record<string, string>>;
  /** Hex, with its Ethernet header. */
  readonly frame: string;
}
const fixture = JSON.parse(readFileSync('test/fixtures/flanneld/v0.28.10.json', 'utf8')) as {
  readonly node: { readonly address: string; readonly pod: string };
  readonly pintle: { readonly address: string; readonly pod: string; readonly vtepMac: string };
  readonly vxlan: Sent;
  readonly udp: Sent;
};

const publicIp = 'flannel.alpha.coreos.com/public-ip';
const data = 'flannel.alpha.coreos.com/backend-data';
const ports = { vxlan: 8472, udp: 8285 } as const;
type Backend = keyof typeof ports;

const ethernetBytes = 14;
const dontFragment = 0x4000;
const addressAt = (bytes: Buffer, at: number): string => [...bytes.subarray(at, at + 4)].join('.');
const macAt = (bytes: Buffer, at: number): string => bytes.toString('hex', at, at + 6).replaceAll(/..(?=.)/g, '$&:');

/** An IPv4 packet with UDP in it; `isGood` of its checksums. */
function readPacket(packet: Buffer) {
  return {
    versionAndLength: packet[0],
    service: packet[1],
    length: packet.readUInt16BE(2) - packet.length,
    fragment: packet.readUInt16BE(6),
    ttl: packet[8],
    protocol: packet[9],
    isGoodHeader: onesSum(packet.subarray(0, 20)) === 0xffff,
    source: addressAt(packet, 12),
    destination: addressAt(packet, 16),
    destinationPort: packet.readUInt16BE(22),
    udpLength: packet.readUInt16BE(24) - packet.length,
    hasChecksum: packet.readUInt16BE(26) !== 0,
    isGoodChecksum: udpSum(packet) === 0xffff,
  };
}

/** All of a frame on the underlay; `names`: who has which address or MAC. */
function readFrame(frame: Buffer, backend: Backend, names: Readonly<Record<string, string>>) {
  const outer = frame.subarray(ethernetBytes);
  const payload = outer.subarray(28);
  const isVxlan = backend === 'vxlan';
  const packet = isVxlan ? payload.subarray(8 + ethernetBytes) : payload;
  const inner = readPacket(packet);
  const fields = {
    etherType: frame.readUInt16BE(12),
    outer: readPacket(outer),
    // The UDP backend has one port for all; VXLAN's follows from a hash of what is inside.
    sourcePort: isVxlan ? 'any' : outer.readUInt16BE(20),
    vxlan: isVxlan ? payload.toString('hex', 0, 8) : undefined,
    ethernet: isVxlan ? { to: macAt(payload, 8), from: macAt(payload, 14), type: payload.readUInt16BE(20) } : undefined,
    inner: { ...inner, sourcePort: packet.readUInt16BE(20), text: packet.toString('latin1', 28) },
  };
  return JSON.parse(JSON.stringify(fields), (_, value: unknown) =>
    typeof value === 'string' ? (names[value] ?? value) : value,
  ) as typeof fields;
}

/** What this node sends to the peer that flanneld was. */
async function sentByUs(t: ExecutionContext, backend: Backend) {
  const topology = createTopology(t, 2);
  const [node] = topology.nodes;
  const overlayName = backend === 'udp' ? 'flannel-udp' : 'vxlan';
  const [pod] = await createPods(t, { ...topology, nodes: [node!] }, { overlay: overlayName });
  const overlay = (backend === 'udp' ? openFlannelUdp : openOverlay)(node!, topology.folder);
  t.teardown(async () => {
    await overlay.leave();
    await overlay[Symbol.asyncDispose]();
  });
  const local = { name: 'node-2', podCidrs: [podCidr(0)], clusterCidrs, addresses: [nodeAddress(0)] };
  const { annotations: ours } = await overlay.join(local);
  const theirs = { ...fixture[backend].annotations, [publicIp]: nodeAddress(1) };
  const peer: Peer = { name: 'flannel-node', podCidrs: [podCidr(1)], addresses: [], annotations: theirs };
  await overlay.sync([peer]);
  t.deepEqual(overlay.status().peers, [{ name: 'flannel-node', ready: true, reason: undefined }]);
  // As on a wire: nothing is left to a device that would fill it in.
  for (const place of [node!, pod!.pod]) setTxChecksumOffload('eth0', false, place);
  const wire = new Wire(t, node!, 'eth0');
  const their = '10.244.2.7';
  let isThere = false;
  const asking = (async () => {
    // Nobody answers: again, until it is seen.
    while (!isThere) await pod!.pod.udp(their, 80, { localPort: 5_353, bytes: 5, timeoutMs: 500 });
  })();
  const isIt = (frame: Buffer): boolean => frame.includes('?????') && frame.readUInt16BE(36) === ports[backend];
  const frame = await wire.frame('the datagram is on the underlay', isIt).finally(() => (isThere = true));
  await asking;
  const names = {
    ...namesOf(ours, 'sender'),
    ...namesOf(theirs, 'receiver'),
    [pod!.ip]: 'sending pod',
    [their]: 'pod',
  };
  return readFrame(frame, backend, names);
}

/** flanneld's node has these names, and those of ours that it sent to. */
function namesOf(annotations: Readonly<Record<string, string>>, who: string): Record<string, string> {
  const vtep = (JSON.parse(annotations[data] ?? 'null') as { VtepMAC?: string } | null)?.VtepMAC;
  return { [annotations[publicIp]!]: who, ...(vtep === undefined ? {} : { [vtep]: `${who}'s VTEP` }) };
}

function sentByFlanneld(backend: Backend) {
  const { frame, annotations } = fixture[backend];
  const { pintle, node } = fixture;
  return readFrame(Buffer.from(frame, 'hex'), backend, {
    ...namesOf(annotations, 'sender'),
    [pintle.address]: 'receiver',
    [pintle.vtepMac]: "receiver's VTEP",
    [node.pod]: 'sending pod',
    [pintle.pod]: 'pod',
  });
}

for (const backend of ['vxlan', 'udp'] as const)
  test(`${backend}: a frame of ours is one of flanneld's, field by field`, async (t) => {
    const theirs = sentByFlanneld(backend);
    // The fixture says what it should, so that two misreadings are not taken for agreement.
    t.like(theirs, {
      outer: { destinationPort: ports[backend], source: 'sender', destination: 'receiver', isGoodChecksum: true },
      inner: { source: 'sending pod', destination: 'pod', text: '?????', isGoodHeader: true, isGoodChecksum: true },
    });
    // One difference, on purpose: a narrow path cuts our datagrams in pieces, as it does those of kernel tunnels, and loses its.
    t.is(theirs.outer.fragment, backend === 'udp' ? dontFragment : 0);
    t.deepEqual(await sentByUs(t, backend), { ...theirs, outer: { ...theirs.outer, fragment: 0 } });
  });
