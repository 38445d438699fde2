import test from 'ava';
import type { Peer } from '../../../kernel/contract/index.ts';
import { hasChecksumBug } from '../../../netplugins/overlays/vxlan/checksum-bug.ts';
import { renderAnnotations } from '../../../netplugins/linux/overlay/flannel-annotations.ts';
import { planChanges, type Found } from '../../../netplugins/overlays/vxlan/inventory.ts';
import { readVtep, vtepData, type PeerVtep } from '../../../netplugins/overlays/vxlan/vtep.ts';
import { vtepMacOf } from '../../../netplugins/overlays/vxlan/vxlan-overlay.ts';

const link = 5;
const vtep = (podCidr: string, mac: string, publicIp: string): PeerVtep => ({
  family: 2,
  vni: 1,
  podCidr,
  mac,
  publicIp,
  addresses: [publicIp],
});
const one = vtep('10.244.2.0/24', '02:00:00:00:00:02', '192.168.0.2');
const two = vtep('10.244.3.0/24', '02:00:00:00:00:03', '192.168.0.3');
const nothing: Found = { neighbours: [], fdb: [], routes: [] };

const route = {
  scope: 0,
  type: 1,
  table: 254,
  protocol: 4,
  metric: 0,
  source: undefined,
  onlink: true,
  mtu: undefined,
};
const complete = (peer: PeerVtep): Found => {
  const gateway = peer.podCidr.replace('/24', '');
  return {
    neighbours: [{ link, address: gateway, mac: peer.mac, permanent: true }],
    fdb: [{ link, mac: peer.mac, destination: peer.publicIp, permanent: true, self: true }],
    routes: [{ ...route, destination: peer.podCidr, gateway, link }],
  };
};

test('a new peer: ARP, FDB, route, in this order', (t) => {
  t.deepEqual(planChanges(link, [one], nothing), [
    { verb: 'replaceNeighbour', neighbour: { link, address: '10.244.2.0', mac: one.mac } },
    { verb: 'replaceFdb', fdb: { link, mac: one.mac, destination: '192.168.0.2' } },
    { verb: 'replaceRoute', route: { destination: '10.244.2.0/24', gateway: '10.244.2.0', link, onlink: true } },
  ]);
});

test('what is right is left alone', (t) => {
  t.deepEqual(planChanges(link, [one], complete(one)), []);
  const byKernel = { ...route, protocol: 2, destination: 'fe80::/64', gateway: undefined, link };
  const learned = { link, address: '224.0.0.22', mac: '01:00:5e:00:00:16', permanent: false };
  const found = complete(one);
  t.deepEqual(
    planChanges(link, [one], {
      ...found,
      routes: [...found.routes, byKernel],
      neighbours: [...found.neighbours, learned],
    }),
    [],
  );
});

test('a peer that is gone: route first, then FDB and ARP', (t) => {
  t.deepEqual(
    planChanges(link, [], complete(one)).map(({ verb }) => verb),
    ['deleteRoute', 'deleteFdb', 'deleteNeighbour'],
  );
  t.deepEqual(
    planChanges(link, [two], complete(one)).map(({ verb }) => verb),
    ['deleteRoute', 'replaceNeighbour', 'replaceFdb', 'replaceRoute', 'deleteFdb', 'deleteNeighbour'],
  );
});

test('a changed entry is replaced in one step', (t) => {
  const moved = { ...one, publicIp: '192.168.0.9' };
  t.deepEqual(planChanges(link, [moved], complete(one)), [
    { verb: 'replaceFdb', fdb: { link, mac: one.mac, destination: '192.168.0.9' } },
  ]);
  const other = { ...one, mac: '02:00:00:00:00:77' };
  t.deepEqual(
    planChanges(link, [other], complete(one)).map(({ verb }) => verb),
    ['replaceNeighbour', 'replaceFdb', 'deleteFdb'],
  );
  const found = complete(one);
  t.deepEqual(
    planChanges(link, [one], { ...found, routes: [{ ...found.routes[0]!, onlink: false }] }).map(({ verb }) => verb),
    ['replaceRoute'],
  );
});

test('a peer on the same link: its route without the tunnel comes first, and goes last', (t) => {
  const near = { ...one, directLink: 3 };
  const direct = { destination: '10.244.2.0/24', gateway: '192.168.0.2', link: 3, protocol: 81 };
  t.deepEqual(planChanges(link, [near], nothing), [{ verb: 'replaceRoute', route: direct }]);
  t.deepEqual(
    planChanges(link, [near], complete(one)).map(({ verb }) => verb),
    ['replaceRoute', 'deleteFdb', 'deleteNeighbour'],
  );
  const found = { ...nothing, routes: [{ ...route, ...direct, onlink: false }] };
  t.deepEqual(planChanges(link, [near], found), []);
  t.deepEqual(
    planChanges(link, [one], found).map(({ verb }) => verb),
    ['replaceNeighbour', 'replaceFdb', 'replaceRoute'],
  );
  t.deepEqual(
    planChanges(link, [], found).map(({ verb }) => verb),
    ['deleteRoute'],
  );
});

const annotations = renderAnnotations('vxlan', [{ family: 2, publicIp: '192.168.0.2', data: vtepData(1, one.mac) }]);
const peer = (change: Partial<Peer> = {}): Peer => ({
  name: 'b',
  podCidrs: ['10.244.2.0/24'],
  addresses: ['10.0.0.2'],
  annotations,
  ...change,
});

test('annotations as flanneld writes them are read', (t) => {
  const flanneld = {
    'flannel.alpha.coreos.com/backend-data': '{"VNI":1,"VtepMAC":"4A:17:3B:0C:9D:5E"}',
    'flannel.alpha.coreos.com/backend-type': 'vxlan',
    'flannel.alpha.coreos.com/kube-subnet-manager': 'true',
    'flannel.alpha.coreos.com/public-ip': '172.16.0.7',
  };
  t.deepEqual(readVtep(peer({ annotations: flanneld }), 2, 1), {
    family: 2,
    vni: 1,
    mac: '4a:17:3b:0c:9d:5e',
    publicIp: '172.16.0.7',
    addresses: ['172.16.0.7'],
    podCidr: '10.244.2.0/24',
  });
  t.deepEqual(annotations, {
    'flannel.alpha.coreos.com/backend-data': '{"VNI":1,"VtepMAC":"02:00:00:00:00:02"}',
    'flannel.alpha.coreos.com/backend-type': 'vxlan',
    'flannel.alpha.coreos.com/kube-subnet-manager': 'true',
    'flannel.alpha.coreos.com/public-ip': '192.168.0.2',
  });
});

for (const [what, change, reason] of [
  ['no annotations', { annotations: {} }, /backend-type is missing/],
  [
    'another backend',
    { annotations: { ...annotations, 'flannel.alpha.coreos.com/backend-type': 'host-gw' } },
    /"host-gw", not vxlan/,
  ],
  [
    'another VNI',
    {
      annotations: {
        ...annotations,
        'flannel.alpha.coreos.com/backend-data': '{"VNI":2,"VtepMAC":"02:00:00:00:00:02"}',
      },
    },
    /VNI is 2/,
  ],
  [
    'a malformed MAC',
    { annotations: { ...annotations, 'flannel.alpha.coreos.com/backend-data': '{"VNI":1,"VtepMAC":"x"}' } },
    /malformed/,
  ],
  ['no JSON', { annotations: { ...annotations, 'flannel.alpha.coreos.com/backend-data': 'null' } }, /malformed/],
  ['no pod range', { podCidrs: [] }, /no pod range/],
] as const)
  test(`a peer with ${what} is refused with a reason`, (t) => {
    t.regex(String(readVtep(peer(change), 2, 1)), reason);
  });

test('without a published address the node address is used; a range of another family is no error', (t) => {
  const { ['flannel.alpha.coreos.com/public-ip']: _, ...rest } = annotations;
  t.like(readVtep(peer({ annotations: rest }), 2, 1), { publicIp: '10.0.0.2' });
  t.is(readVtep(peer(), 10, 1), undefined);
});

test('the VTEP MAC follows from the node name and is locally administered', (t) => {
  t.is(vtepMacOf('a', 2), vtepMacOf('a', 2));
  t.not(vtepMacOf('a', 2), vtepMacOf('b', 2));
  t.not(vtepMacOf('a', 2), vtepMacOf('a', 10));
  t.regex(vtepMacOf('a', 2), /^02:/);
});

for (const [release, expected] of [
  ['6.18.44', false],
  ['5.10.0-28-amd64', false],
  ['5.7.0', false],
  ['5.6.12', true],
  ['5.6.13', false],
  ['5.5.9', true],
  ['5.4.40', true],
  ['5.4.41-generic', false],
  ['4.19.122', true],
  ['4.19.200', false],
  ['4.18.0-305.el8', true],
  ['nonsense', false],
] as const)
  test(`kernel ${release} ${expected ? 'has' : 'has not'} the checksum bug`, (t) => {
    t.is(hasChecksumBug(release), expected);
  });
