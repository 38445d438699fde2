import test from 'ava';
import type { HostGwOverlay } from '../../netplugins/overlays/host-gw/host-gw-overlay.ts';
import { readSysctl, writeSysctl } from '../../netplugins/linux/sysctl.ts';
import { clusterCidrs, createCluster, openHostGw, podCidr6, syncAll, type Member } from './support/cluster.ts';
import { createTopology, nodeAddress, nodeAddress6, podCidr, snapshot, until, type Place } from './support/topology.ts';

const lines = (text: string): string[] =>
  text
    .trim()
    .split('\n')
    .map((line) => line.trim())
    .sort();

const shape = { overlay: 'host-gw', dual: true } as const;

test('pods of two nodes reach each other with their own addresses and the full MTU, IPv4 and IPv6', async (t) => {
  const { members } = await createCluster(t, 2, shape);
  const [one, two] = members as [Member, Member];
  t.is(one.overlay.status().mtuBytes, 1500);
  t.regex(one.pod.run('ip', 'link', 'show', 'eth0'), / mtu 1500 /);
  t.deepEqual(await one.pod.tcp(two.ip, 80, { bytes: 3_000_000 }), { answer: `node-1 ${one.ip} 3000000` });
  t.deepEqual(await two.pod.udp(one.ip, 80), { answer: `node-0 ${two.ip}` });
  t.deepEqual(await one.pod.tcp('fd44:0:0:2::2', 80, { bytes: 100_000 }), { answer: 'node-1 fd44:0:0:1::2 100000' });
  t.deepEqual(lines(one.node.run('ip', 'route', 'show', 'proto', '80')), ['10.244.2.0/24 via 192.168.99.2 dev eth0']);
  t.regex(
    one.node.run('ip', '-6', 'route', 'show', 'proto', '80'),
    /^fd44:0:0:2::\/64 via fd99::2 dev eth0 metric 1024/,
  );
  t.deepEqual(await syncAll(one, members), { changed: 0 });
});

test('a peer behind a router, one without a route and one that claims our address are refused with a reason', async (t) => {
  const { members } = await createCluster(t, 2, shape);
  const [one, two] = members as [Member, Member];
  const before = snapshot(one.node);
  const stranger = (name: string, address: string, index: number) => ({
    ...two.peer,
    name,
    podCidrs: [podCidr(index)],
    addresses: [address],
    annotations: { ...two.peer.annotations, 'flannel.alpha.coreos.com/public-ip': address },
  });
  const far = stranger('far', '198.51.100.9', 5);
  const dead = stranger('dead', '203.0.113.9', 6);
  const twin = stranger('twin', nodeAddress(0), 7);
  const other = {
    ...stranger('other', nodeAddress(2), 8),
    annotations: { 'flannel.alpha.coreos.com/backend-type': 'vxlan' },
  };
  one.node.run('ip', 'route', 'add', 'unreachable', '203.0.113.0/24');
  await one.overlay.sync([two.peer, far, dead, twin, other]);
  const reasons = new Map(one.overlay.status().peers.map(({ name, reason }) => [name, reason ?? 'ready']));
  t.is(reasons.get('node-1'), 'ready');
  t.regex(
    reasons.get('far')!,
    /not on the same link: the kernel reaches 198\.51\.100\.9 through router 192\.168\.99\.254 on eth0/,
  );
  t.regex(reasons.get('dead')!, /no route to its address 203\.0\.113\.9/);
  t.regex(reasons.get('twin')!, /address 192\.168\.99\.1 is that of this node/);
  t.regex(reasons.get('other')!, /"vxlan", not host-gw/);
  one.node.run('ip', 'route', 'del', 'unreachable', '203.0.113.0/24');
  t.is(snapshot(one.node), before, 'none of them has a route');
});

test('a peer that moves to the same link is taken in by itself, one that moves away is left out', async (t) => {
  const { members } = await createCluster(t, 2, shape);
  const [one, two] = members as [Member, Member];
  const isReady = (): boolean => one.overlay.status().peers[0]?.ready === true;
  t.true(isReady());
  one.node.run('ip', 'route', 'add', '192.168.99.2/32', 'via', '192.168.99.254');
  await until('the peer is left out', () => !isReady());
  t.is(one.node.run('ip', 'route', 'show', '10.244.2.0/24'), '');
  one.node.run('ip', 'route', 'del', '192.168.99.2/32');
  await until('the peer is back', isReady);
  t.deepEqual(await one.pod.tcp(two.ip, 80), { answer: `node-1 ${one.ip} 0` });
});

test('routes of others are left alone, also by leave; the setting that it changed is back', async (t) => {
  const { nodes, folder } = createTopology(t, 1);
  const [node] = nodes as [Place];
  writeSysctl('net.ipv4.conf.eth0.send_redirects', 1, node);
  node.run('ip', 'route', 'add', '10.244.2.0/24', 'via', '192.168.99.253', 'metric', '50');
  node.run('ip', 'route', 'add', '10.244.3.0/25', 'via', '192.168.99.253');
  node.run('ip', 'route', 'add', 'blackhole', '10.9.0.0/16', 'proto', '80');
  node.run('ip', 'route', 'add', '10.244.2.0/24', 'via', '192.168.99.253', 'table', '77');
  const before = snapshot(node);
  const overlay = openHostGw(node, folder);
  t.teardown(() => overlay[Symbol.asyncDispose]());
  const local = {
    name: 'a',
    podCidrs: [podCidr(0), podCidr6(0)],
    clusterCidrs,
    addresses: [nodeAddress(0), nodeAddress6(0)],
  };
  const { annotations, mtuBytes } = await overlay.join(local);
  t.is(mtuBytes, 1500);
  t.deepEqual(annotations, {
    'flannel.alpha.coreos.com/backend-type': 'host-gw',
    'flannel.alpha.coreos.com/kube-subnet-manager': 'true',
    'flannel.alpha.coreos.com/backend-data': 'null',
    'flannel.alpha.coreos.com/backend-v6-data': 'null',
    'flannel.alpha.coreos.com/public-ip': '192.168.99.1',
    'flannel.alpha.coreos.com/public-ipv6': 'fd99::1',
  });
  t.is(readSysctl('net.ipv4.conf.eth0.send_redirects', node), '0');
  const peers = [1, 2].map((index) => ({
    name: `peer-${index}`,
    podCidrs: [podCidr(index)],
    addresses: [nodeAddress(index)],
    annotations: { 'flannel.alpha.coreos.com/backend-type': 'host-gw' },
  }));
  t.deepEqual(await overlay.sync(peers), { changed: 2 });
  t.deepEqual(await overlay.sync(peers), { changed: 0 });
  const text = node.run('ip', 'route', 'show', 'table', 'all');
  for (const line of before.split('\n').filter((one) => /^(10\.244|blackhole)/.test(one)))
    t.true(text.includes(line), line);
  t.deepEqual(await overlay.sync([]), { changed: 2 });
  t.is(snapshot(node), before);
  await overlay.sync(peers);
  await overlay.leave();
  t.is(snapshot(node), before);
  t.is(readSysctl('net.ipv4.conf.eth0.send_redirects', node), '1');
});

test('the MTU follows the underlay, and a vanished address is said', async (t) => {
  const { members } = await createCluster(t, 2, { overlay: 'host-gw' });
  const [one] = members as [Member];
  one.node.run('ip', 'link', 'set', 'eth0', 'mtu', '1400');
  await until('the MTU is noticed', () => one.overlay.status().mtuBytes === 1400);
  one.node.run('ip', 'address', 'del', '192.168.99.1/24', 'dev', 'eth0');
  await until('the loss is noticed', () => one.overlay.status().reason?.includes('none of its interfaces') === true);
  t.false(one.overlay.status().ready);
  one.node.run('ip', 'address', 'add', '192.168.99.1/24', 'dev', 'eth0');
  await until('all is well again', () => one.overlay.status().ready);
});

test('an address that is on no interface, and a node without a range, are refused', async (t) => {
  const { nodes, folder } = createTopology(t, 1);
  const overlay: HostGwOverlay = openHostGw(nodes[0]!, folder);
  t.teardown(() => overlay[Symbol.asyncDispose]());
  const join = (podCidrs: string[], addresses: string[]) =>
    overlay.join({ name: 'a', podCidrs, clusterCidrs, addresses });
  await t.throwsAsync(overlay.sync([]), { code: 'UNAVAILABLE' });
  await t.throwsAsync(join([podCidr(0)], ['192.168.98.1']), { code: 'KERNEL_REFUSED' });
  await t.throwsAsync(join([podCidr6(0)], [nodeAddress(0)]), { code: 'UNSUPPORTED' });
  await t.throwsAsync(join([], [nodeAddress(0)]), { code: 'INVALID' });
});
