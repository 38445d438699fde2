/**
 * A node that runs flanneld, made by hand beside one of ours: a Node object as flanneld's Kubernetes subnet manager leaves it,
 * and a namespace with the device, ARP, FDB and routes that its VXLAN backend makes from our Node object. Real packets go
 * both ways, and their bytes are those of RFC 7348.
 */
import test, { type ExecutionContext } from 'ava';
import type { Node } from '../../kernel/contract/kubernetes.ts';
import { setTxChecksumOffload } from '../../netplugins/linux/ethtool.ts';
import { parseMac } from '../../netplugins/linux/ip-address.ts';
import { onesSum } from '../../netplugins/overlays/flannel-udp/inner-packet.ts';
import type { VxlanOverlay } from '../../netplugins/overlays/vxlan/vxlan-overlay.ts';
import { peerOf } from '../../plugins/components/node-agent/node-network.ts';
import { clusterCidrs, createPods, openOverlay, podCidr6, type PodOnNode } from './support/cluster.ts';
import { FlannelPeer, udpPacket, udpSum } from './support/flannel-peer.ts';
import { createTopology, nodeAddress, nodeAddress6, podCidr, until, type Place } from './support/topology.ts';

const prefix = 'flannel.alpha.coreos.com/';
const flannelMac = '4a:17:3b:0c:9d:5e';
const flannelMac6 = '9e:02:6d:41:77:b3';

/** As `kubectl get node -o json` shows it where flanneld runs with both families. */
const flannelNode = {
  apiVersion: 'v1',
  kind: 'Node',
  metadata: {
    name: 'flannel-node',
    uid: '0f6a2f0c-8c1e-4a63-b7f8-6f1b9e0f4d11',
    annotations: {
      [`${prefix}backend-data`]: `{"VNI":1,"VtepMAC":"${flannelMac}"}`,
      [`${prefix}backend-type`]: 'vxlan',
      [`${prefix}backend-v6-data`]: `{"VNI":1,"VtepMAC":"${flannelMac6}"}`,
      [`${prefix}kube-subnet-manager`]: 'true',
      [`${prefix}public-ip`]: nodeAddress(1),
      [`${prefix}public-ipv6`]: nodeAddress6(1),
      'node.alpha.kubernetes.io/ttl': '0',
      'volumes.kubernetes.io/controller-managed-attach-detach': 'true',
    },
  },
  spec: { podCIDR: podCidr(1), podCIDRs: [podCidr(1), podCidr6(1)] },
  status: {
    addresses: [
      { type: 'InternalIP', address: nodeAddress(1) },
      { type: 'InternalIP', address: nodeAddress6(1) },
      { type: 'Hostname', address: 'flannel-node' },
    ],
  },
} as unknown as Node;

interface Bed {
  readonly ours: Place;
  readonly theirs: Place;
  readonly overlay: VxlanOverlay;
  /** What our node publishes, by which flanneld reaches it. */
  readonly annotations: Readonly<Record<string, string>>;
  readonly ourPod: PodOnNode;
  readonly theirPod: PodOnNode;
}

async function bed(t: ExecutionContext): Promise<Bed> {
  const topology = createTopology(t, 2);
  const [ours, theirs] = topology.nodes as [Place, Place];
  const [ourPod, theirPod] = (await createPods(t, topology, { dual: true })) as [PodOnNode, PodOnNode];
  const overlay = openOverlay(ours, topology.folder);
  t.teardown(() => overlay[Symbol.asyncDispose]());
  const { annotations } = await overlay.join({
    name: 'node-0',
    podCidrs: [podCidr(0), podCidr6(0)],
    clusterCidrs,
    addresses: [nodeAddress(0), nodeAddress6(0)],
  });
  return { ours, theirs, overlay, annotations, ourPod, theirPod };
}

const macIn = (data: string | undefined): string => (JSON.parse(data ?? '{}') as { VtepMAC: string }).VtepMAC;

/** The commands that stand for what flanneld does by netlink when it starts and when it learns of our node. */
function asFlanneld({ theirs, annotations }: Bed): void {
  const range = podCidr(0).replace('/24', '');
  const range6 = podCidr6(0).replace('/64', '');
  const ip = (line: string): void => void theirs.run('ip', ...line.split(' '));
  ip(
    `link add flannel.1 address ${flannelMac} type vxlan id 1 local ${nodeAddress(1)} dev eth0 dstport 8472 nolearning`,
  );
  ip('link set flannel.1 mtu 1450 up');
  ip(`address add ${podCidr(1).replace('/24', '/32')} dev flannel.1`);
  ip(
    `link add flannel-v6.1 address ${flannelMac6} type vxlan id 1 local ${nodeAddress6(1)} dev eth0 dstport 8472 nolearning`,
  );
  ip('link set flannel-v6.1 mtu 1430 up');
  ip(`address add ${podCidr6(1).replace('/64', '/128')} dev flannel-v6.1 nodad`);
  const mac = macIn(annotations[`${prefix}backend-data`]);
  ip(`neighbour add ${range} lladdr ${mac} dev flannel.1 nud permanent`);
  theirs.run('bridge', 'fdb', 'add', mac, 'dev', 'flannel.1', 'dst', annotations[`${prefix}public-ip`] ?? '', 'self');
  ip(`route add ${podCidr(0)} via ${range} dev flannel.1 onlink`);
  const mac6 = macIn(annotations[`${prefix}backend-v6-data`]);
  ip(`neighbour add ${range6} lladdr ${mac6} dev flannel-v6.1 nud permanent`);
  theirs.run(
    'bridge',
    'fdb',
    'add',
    mac6,
    'dev',
    'flannel-v6.1',
    'dst',
    annotations[`${prefix}public-ipv6`] ?? '',
    'self',
  );
  ip(`-6 route add ${podCidr6(0)} via ${range6} dev flannel-v6.1 onlink`);
}

test('a node that runs flanneld and one of ours carry packets to each other, IPv4 and IPv6', async (t) => {
  const made = await bed(t);
  const { overlay, ourPod, theirPod, annotations } = made;
  t.deepEqual(Object.keys(annotations).sort(), [
    `${prefix}backend-data`,
    `${prefix}backend-type`,
    `${prefix}backend-v6-data`,
    `${prefix}kube-subnet-manager`,
    `${prefix}public-ip`,
    `${prefix}public-ipv6`,
  ]);
  asFlanneld(made);
  await overlay.sync([peerOf(flannelNode)]);
  t.deepEqual(overlay.status().peers, [{ name: 'flannel-node', ready: true, reason: undefined }]);
  const large = { bytes: 1_000_000 };
  t.deepEqual(await ourPod.pod.tcp(theirPod.ip, 80, large), { answer: `node-1 ${ourPod.ip} 1000000` });
  t.deepEqual(await theirPod.pod.tcp(ourPod.ip, 80, large), { answer: `node-0 ${theirPod.ip} 1000000` });
  t.deepEqual(await ourPod.pod.udp(theirPod.ip, 80), { answer: `node-1 ${ourPod.ip}` });
  t.deepEqual(await ourPod.pod.tcp('fd44:0:0:2::2', 80, large), { answer: 'node-1 fd44:0:0:1::2 1000000' });
  t.deepEqual(await theirPod.pod.tcp('fd44:0:0:1::2', 80, large), { answer: 'node-0 fd44:0:0:2::2 1000000' });
});

test('flanneld that starts anew with another MAC and address is followed', async (t) => {
  const made = await bed(t);
  const { overlay, theirs, ourPod, theirPod } = made;
  asFlanneld(made);
  await overlay.sync([peerOf(flannelNode)]);
  t.deepEqual(await ourPod.pod.tcp(theirPod.ip, 80), { answer: `node-1 ${ourPod.ip} 0` });
  theirs.run('ip', 'link', 'del', 'flannel.1');
  theirs.run('ip', 'link', 'del', 'flannel-v6.1');
  theirs.run('ip', 'address', 'add', '192.168.99.22/24', 'dev', 'eth0');
  asFlanneld(made);
  const mac = '4a:17:3b:0c:9d:77';
  theirs.run('ip', 'link', 'set', 'flannel.1', 'down');
  theirs.run('ip', 'link', 'set', 'flannel.1', 'address', mac, 'up');
  const range = podCidr(0).replace('/24', '');
  const ourMac = macIn(made.annotations[`${prefix}backend-data`]);
  theirs.run('ip', 'neighbour', 'replace', range, 'lladdr', ourMac, 'dev', 'flannel.1', 'nud', 'permanent');
  theirs.run('ip', 'route', 'replace', podCidr(0), 'via', range, 'dev', 'flannel.1', 'onlink');
  const annotations = {
    ...flannelNode.metadata.annotations,
    [`${prefix}backend-data`]: `{"VNI":1,"VtepMAC":"${mac}"}`,
    [`${prefix}public-ip`]: '192.168.99.22',
    [`${prefix}public-ip-overwrite`]: '192.168.99.22',
  };
  await overlay.sync([peerOf({ ...flannelNode, metadata: { ...flannelNode.metadata, annotations } })]);
  t.is(made.ours.run('bridge', 'fdb', 'show', 'dev', 'flannel.1').trim(), `${mac} dst 192.168.99.22 self permanent`);
  await until(
    'they talk again',
    async () => (await ourPod.pod.tcp(theirPod.ip, 80)).answer === `node-1 ${ourPod.ip} 0`,
  );
});

test('on the wire: RFC 7348 with VNI 1 on port 8472, byte by byte, both ways', async (t) => {
  const { ours, theirs, overlay, annotations, ourPod } = await bed(t);
  // As on a wire: nothing is left to a device that would fill it in.
  setTxChecksumOffload('eth0', false, ours);
  const flannel = new FlannelPeer(t, theirs, nodeAddress(1), { port: 8472 });
  await overlay.sync([peerOf(flannelNode)]);
  const ourMac = macIn(annotations[`${prefix}backend-data`]);
  //  flags (I)      reserved          VNI 1             reserved
  const vxlan = [0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x00];
  const frame = (to: string, from: string, packet: Buffer): Buffer =>
    Buffer.concat([Buffer.from(vxlan), parseMac(to), parseMac(from), Buffer.from([0x08, 0x00]), packet]);

  const asked = { source: '10.244.2.7', sourcePort: 5_353, destination: ourPod.ip, destinationPort: 80, ttl: 63 };
  flannel.send(frame(ourMac, flannelMac, udpPacket({ ...asked, payload: 'query' })), nodeAddress(0));
  const { packet, address } = await flannel.packet('the answer comes', (one) => one[31] === 17);
  t.is(address, nodeAddress(0));
  const inner = packet.subarray(22);
  t.is(onesSum(inner.subarray(0, 20)), 0xffff, 'the checksum of the inner header');
  t.is(udpSum(inner), 0xffff, 'and of the datagram');
  // 64, less one by our node's forwarding.
  const answer = { source: ourPod.ip, sourcePort: 80, destination: '10.244.2.7', destinationPort: 5_353, ttl: 63 };
  const known = udpPacket({ ...answer, payload: 'node-0 10.244.2.7' });
  // The number of the packet is the pod's kernel's own.
  known.writeUInt16BE(inner.readUInt16BE(4), 4);
  known.writeUInt16BE(0, 10);
  known.writeUInt16BE(~onesSum(known.subarray(0, 20)) & 0xffff, 10);
  t.is(packet.toString('hex'), frame(flannelMac, ourMac, known).toString('hex'));
});
