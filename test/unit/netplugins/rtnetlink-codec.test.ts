import test from 'ava';
import { readEntry } from '../../../netplugins/linux/conntrack.ts';
import { readAddress, readLink, readNeighbour, readRoute } from '../../../netplugins/linux/rtnetlink-codec.ts';
import { addressRequest, changeRequest, linkBody, routeRequest } from '../../../netplugins/linux/rtnetlink-requests.ts';
import * as captured from './captured.ts';

const hex = (request: { readonly body: Uint8Array }): string => Buffer.from(request.body).toString('hex');

test('a bridge, its port in hairpin mode, and a vxlan device', (t) => {
  const bridge = readLink(captured.bridge);
  t.like(bridge, {
    index: 2,
    name: 'cni0',
    kind: 'bridge',
    mac: '02:a5:64:c4:42:6d',
    mtu: 1450,
    up: true,
    loopback: false,
  });
  t.like(readLink(captured.bridgePort), {
    index: 4,
    name: 'veth0123456789a',
    kind: 'veth',
    mac: '0a:58:00:00:00:01',
    master: 2,
    peer: 3,
    hairpin: true,
  });
  t.like(readLink(captured.vxlan), {
    name: 'flannel.1',
    mac: '02:00:00:00:00:05',
    mtu: 1400,
    kind: 'vxlan',
    vxlan: { vni: 1, local: '10.244.1.1', link: 2, port: 8472, learning: false },
  });
});

test('an address, a route, a neighbour, an FDB entry', (t) => {
  t.deepEqual(readAddress(captured.address), { index: 2, address: '10.244.1.1', prefixLength: 24, scope: 0 });
  t.like(readRoute(captured.route), {
    destination: '10.244.2.0/24',
    gateway: '10.244.2.0',
    link: 5,
    table: 254,
    protocol: 4,
    type: 1,
    onlink: true,
  });
  t.deepEqual(readNeighbour(captured.neighbour), {
    link: 5,
    address: '10.244.2.0',
    mac: '02:00:00:00:00:06',
    permanent: true,
  });
  t.deepEqual(readNeighbour(captured.fdb), {
    link: 5,
    mac: '02:00:00:00:00:06',
    destination: '192.168.99.2',
    permanent: true,
    self: true,
  });
});

test('a translated UDP flow: the reply comes from the endpoint', (t) => {
  t.like(readEntry(captured.conntrack), {
    family: 2,
    protocol: 17,
    original: { source: '127.0.0.1', sourcePort: 5555, destination: '127.0.0.9', destinationPort: 53 },
    reply: { source: '127.0.0.2', sourcePort: 5353, destination: '127.0.0.1', destinationPort: 5555 },
  });
});

test('requests, byte for byte', (t) => {
  const mac = '02:00:00:00:00:06';
  t.is(
    hex(changeRequest({ verb: 'replaceNeighbour', neighbour: { link: 5, address: '10.244.2.0', mac } })),
    '020000000500000080000000' + '080001000af40200' + '0a0002000200000000060000',
  );
  t.is(
    hex(changeRequest({ verb: 'replaceFdb', fdb: { link: 5, mac, destination: '192.168.99.2' } })),
    '070000000500000080000200' + '08000100c0a86302' + '0a0002000200000000060000',
  );
  t.is(
    hex(routeRequest(24, 0, { destination: '10.244.2.0/24', gateway: '10.244.2.0', link: 5, onlink: true })),
    '02180000fe04000104000000' + '080001000af40200' + '0800040005000000' + '080005000af40200' + '08000f00fe000000',
  );
  t.is(
    hex(addressRequest(20, 0, 2, '10.244.1.1/24', { broadcast: true })),
    '0218000002000000' + '080001000af40101' + '080002000af40101' + '080004000af401ff',
  );
  t.is(linkBody({ index: 7, up: true }).toString('hex'), '00000000070000000100000001000000');
});

test('what is not ours to read is left out, not misread', (t) => {
  const mpls = Buffer.from(captured.route);
  mpls[0] = 28;
  t.is(readRoute(mpls), undefined);
  t.is(readNeighbour(Buffer.alloc(12)), undefined);
});
