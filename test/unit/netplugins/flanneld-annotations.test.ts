/** What the real flanneld wrote on its Node (test/fixtures/flanneld): read as it stands, and written by us in the same form. */
import { readFileSync } from 'node:fs';
import test from 'ava';
import { AF_INET, AF_INET6 } from '../../../netplugins/linux/ip-address.ts';
import { readPeerRange, renderAnnotations } from '../../../netplugins/linux/overlay/flannel-annotations.ts';
import { announcementKey, readUdpPeer } from '../../../netplugins/overlays/flannel-udp/announcement.ts';
import { readVtep, vtepData } from '../../../netplugins/overlays/vxlan/vtep.ts';

type Annotations = Readonly<Record<string, string>>;

interface Fixture {
  readonly vxlan: { readonly annotations: Annotations };
  readonly udp: { readonly annotations: Annotations };
  readonly 'host-gw': { readonly annotations: Annotations };
}
const fixture = JSON.parse(readFileSync('test/fixtures/flanneld/v0.28.10.json', 'utf8')) as Fixture;

/** flanneld's Node is without status.addresses where no kubelet writes them. */
const peerWith = (annotations: Annotations) => ({
  name: 'flannel-node',
  podCidrs: ['10.244.2.0/24'],
  addresses: [],
  annotations: { ...annotations, 'node.alpha.kubernetes.io/ttl': '0' },
});
const publicIp = '192.168.77.50';
const range = { family: AF_INET, podCidr: '10.244.2.0/24', publicIp, addresses: [publicIp] } as const;

test('vxlan: the VTEP of flanneld is read, and ours is written alike', (t) => {
  const { annotations } = fixture.vxlan;
  const mac = '26:c4:f9:03:23:9c';
  t.deepEqual(readVtep(peerWith(annotations), AF_INET, 1), { ...range, vni: 1, mac });
  t.deepEqual(renderAnnotations('vxlan', [{ family: AF_INET, publicIp, data: vtepData(1, mac) }]), annotations);
});

test('host-gw: the range of flanneld is read, and ours is written alike', (t) => {
  const { annotations } = fixture['host-gw'];
  t.deepEqual(readPeerRange(peerWith(annotations), AF_INET, 'host-gw'), range);
  t.deepEqual(renderAnnotations('host-gw', [{ family: AF_INET, publicIp }]), annotations);
});

test('udp: flanneld leaves the name of the backend empty, and is a peer of plain packets', (t) => {
  const { annotations } = fixture.udp;
  const expected = { ...range, name: 'flannel-node', framings: ['plain'] };
  t.deepEqual(readUdpPeer(peerWith(annotations), AF_INET), expected);
  // A node that was ours before: what it could receive then counts no more.
  const taken = {
    ...annotations,
    [announcementKey]: JSON.stringify({ ipv6: true, framings: ['plain', 'super', 'kernel'] }),
  };
  t.deepEqual(readUdpPeer(peerWith(taken), AF_INET), expected);
  t.is(readUdpPeer({ ...peerWith(taken), podCidrs: ['10.244.2.0/24', 'fd44:0:0:2::/64'] }, AF_INET6), undefined);
  t.like(readUdpPeer(peerWith({ ...taken, 'flannel.alpha.coreos.com/backend-type': 'udp' }), AF_INET), {
    framings: ['plain', 'super', 'kernel'],
  });
});

test('other overlays refuse that peer by its right name', (t) => {
  const { annotations } = fixture.udp;
  t.is(readVtep(peerWith(annotations), AF_INET, 1), 'its overlay is "udp", not vxlan');
  t.is(readPeerRange(peerWith(annotations), AF_INET, 'host-gw'), 'its overlay is "udp", not host-gw');
});
