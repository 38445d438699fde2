import test from 'ava';
import type { Peer } from '../../../kernel/contract/index.ts';
import { readPeerRange, renderAnnotations } from '../../../netplugins/linux/overlay/flannel-annotations.ts';
import { peerStatus, selectPeers } from '../../../netplugins/linux/overlay/peers.ts';
import { planRoutes } from '../../../netplugins/linux/overlay/planned-routes.ts';
import type { Route } from '../../../netplugins/linux/rtnetlink.ts';

const wanted = { destination: '10.244.2.0/24', gateway: '192.168.0.2', link: 3, protocol: 80 };
const right: Route = {
  ...wanted,
  scope: 0,
  type: 1,
  table: 254,
  metric: 0,
  source: undefined,
  onlink: false,
  mtu: undefined,
};
const verbs = (found: readonly Route[], want = [wanted]): string[] => {
  const { removals, additions } = planRoutes(want, found);
  return [...removals, ...additions].map(({ verb }) => verb);
};

test('a route that is right is left alone, one that is missing is made', (t) => {
  t.deepEqual(verbs([right]), []);
  t.deepEqual(planRoutes([wanted], []).additions, [{ verb: 'replaceRoute', route: wanted }]);
  const six = { ...wanted, destination: 'fd44::/64', gateway: 'fd99::2' };
  t.deepEqual(verbs([{ ...right, ...six, metric: 1024 }], [six]), [], "IPv6 has another metric by the kernel's choice");
});

for (const [what, change] of [
  ['another gateway', { gateway: '192.168.0.9' }],
  ['another link', { link: 4 }],
  ['another maker', { protocol: 4 }],
  ['a dead end', { type: 6, gateway: undefined, link: undefined }],
  ['on-link', { onlink: true }],
] as const)
  test(`a route with ${what} is replaced in one step`, (t) =>
    t.deepEqual(verbs([{ ...right, ...change }]), ['replaceRoute']));

test('an on-link gateway of IPv6 that another link leads to: the wrong route goes first', (t) => {
  const six = { destination: 'fd44::/64', gateway: 'fd44::', link: 3, onlink: true };
  const wrong = { ...right, ...six, onlink: false, gateway: 'fd99::2', link: 4, metric: 1024 };
  const { removals, additions } = planRoutes([six], [wrong]);
  t.deepEqual(
    [...removals, ...additions].map(({ verb }) => verb),
    ['deleteRoute', 'replaceRoute'],
  );
  const four = { ...six, destination: '10.244.2.0/24', gateway: '10.244.2.0' };
  t.deepEqual(planRoutes([four], [{ ...wrong, ...four, link: 4, metric: 0 }]).removals, []);
});

test('what is not wanted, or stands beside the right one, is deleted', (t) => {
  t.deepEqual(verbs([right], []), ['deleteRoute']);
  t.deepEqual(verbs([right, { ...right, metric: 7 }]), ['deleteRoute']);
  t.deepEqual(verbs([{ ...right, metric: 7 }]), ['deleteRoute', 'replaceRoute']);
});

const annotations = renderAnnotations('host-gw', [{ family: 2, publicIp: '192.168.0.2' }]);
const peer = (name: string, change: Partial<Peer> = {}): Peer => ({
  name,
  podCidrs: ['10.244.2.0/24'],
  addresses: ['192.168.0.2'],
  annotations,
  ...change,
});
const select = (...peers: readonly Peer[]) =>
  selectPeers(peers, {
    families: [2],
    own: ['range 10.244.1.0/24'],
    read: (one, family) => readPeerRange(one, family, 'host-gw'),
    claims: ({ podCidr }) => [`range ${podCidr}`],
  });

test('a range belongs to one: to this node, then to the first peer by name', (t) => {
  const status = peerStatus(select(peer('b'), peer('a'), peer('c', { podCidrs: ['10.244.1.0/24'] })));
  t.deepEqual(status, [
    { name: 'b', ready: false, reason: 'its range 10.244.2.0/24 is that of a' },
    { name: 'a', ready: true, reason: undefined },
    { name: 'c', ready: false, reason: 'its range 10.244.1.0/24 is that of this node' },
  ]);
});

test('the published address counts before the node address; without both the peer is refused', (t) => {
  t.is(select(peer('a', { addresses: ['10.0.0.9'] })).chosen[0]?.publicIp, '192.168.0.2');
  const type = { 'flannel.alpha.coreos.com/backend-type': 'host-gw' };
  t.is(select(peer('a', { annotations: type, addresses: ['10.0.0.9'] })).chosen[0]?.publicIp, '10.0.0.9');
  t.regex(select(peer('a', { annotations: type, addresses: [] })).refused.get('a')!, /no underlay address/);
});
