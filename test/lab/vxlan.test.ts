import test from 'ava';
import { vtepMacOf } from '../../netplugins/overlays/vxlan/vxlan-overlay.ts';
import { clusterCidrs, createCluster, openOverlay, syncAll, type Member } from './support/cluster.ts';
import { createTopology, nodeAddress, patience, podCidr, snapshot, until } from './support/topology.ts';

test('pods of three nodes reach each other with their own addresses, small and large', async (t) => {
  const { members } = await createCluster(t, 3);
  for (const from of members)
    for (const to of members) {
      if (from === to) continue;
      t.deepEqual(await from.pod.tcp(to.ip, 80), { answer: `${to.peer.name} ${from.ip} 0` });
      t.deepEqual(await from.pod.udp(to.ip, 80), { answer: `${to.peer.name} ${from.ip}` });
    }
  const [one, two] = members as [Member, Member];
  t.deepEqual(await one.pod.tcp(two.ip, 80, { bytes: 3_000_000 }), { answer: `node-1 ${one.ip} 3000000` });
  t.deepEqual(await one.node.tcp(two.ip, 80), { answer: 'node-1 10.244.1.0 0' }, "the node's own packets come from .0");
  t.is(one.overlay.status().mtuBytes, 1450);
  t.regex(one.pod.run('ip', 'link', 'show', 'eth0'), / mtu 1450 /);
});

test('IPv6 pods reach each other over an IPv6 underlay', async (t) => {
  const { members } = await createCluster(t, 2, { dual: true });
  const [one, two] = members as [Member, Member];
  t.is(one.overlay.status().mtuBytes, 1430);
  t.deepEqual(await one.pod.tcp('fd44:0:0:2::2', 80, { bytes: 100_000 }), { answer: 'node-1 fd44:0:0:1::2 100000' });
  t.deepEqual(await two.pod.tcp('10.244.1.2', 80), { answer: 'node-0 10.244.2.2 0' });
});

test('the kernel has exactly one route, one ARP and one FDB entry a peer; a second sync changes nothing', async (t) => {
  const { members } = await createCluster(t, 3);
  const [one] = members as [Member];
  const lines = (text: string): string[] =>
    text
      .trim()
      .split('\n')
      .map((line) => line.trim())
      .sort();
  t.deepEqual(lines(one.node.run('ip', 'route', 'show', 'dev', 'flannel.1')), [
    '10.244.2.0/24 via 10.244.2.0 proto static onlink',
    '10.244.3.0/24 via 10.244.3.0 proto static onlink',
  ]);
  t.deepEqual(lines(one.node.run('ip', 'neighbour', 'show', 'dev', 'flannel.1', 'nud', 'permanent')), [
    `10.244.2.0 lladdr ${vtepMacOf('node-1', 2)} PERMANENT`,
    `10.244.3.0 lladdr ${vtepMacOf('node-2', 2)} PERMANENT`,
  ]);
  t.deepEqual(
    lines(one.node.run('bridge', 'fdb', 'show', 'dev', 'flannel.1')),
    [
      `${vtepMacOf('node-1', 2)} dst 192.168.99.2 self permanent`,
      `${vtepMacOf('node-2', 2)} dst 192.168.99.3 self permanent`,
    ].sort(),
  );
  t.deepEqual(await syncAll(one, members), { changed: 0 });
  t.deepEqual(await one.overlay.sync([members[1]!.peer]), { changed: 3 });
  t.deepEqual(lines(one.node.run('ip', 'route', 'show', 'dev', 'flannel.1')), [
    '10.244.2.0/24 via 10.244.2.0 proto static onlink',
  ]);
  t.is((await one.pod.tcp('10.244.3.2', 80, { timeoutMs: patience(300) })).answer, undefined);
});

test('annotations are those of flannel, and peers without usable ones are left out and reported', async (t) => {
  const { members } = await createCluster(t, 2);
  const [one, two] = members as [Member, Member];
  t.deepEqual(two.peer.annotations, {
    'flannel.alpha.coreos.com/backend-type': 'vxlan',
    'flannel.alpha.coreos.com/kube-subnet-manager': 'true',
    'flannel.alpha.coreos.com/backend-data': `{"VNI":1,"VtepMAC":"${vtepMacOf('node-1', 2)}"}`,
    'flannel.alpha.coreos.com/public-ip': '192.168.99.2',
  });
  const stranger = { ...two.peer, name: 'stranger', podCidrs: ['10.244.9.0/24'], annotations: {} };
  t.deepEqual(await one.overlay.sync([two.peer, stranger]), { changed: 0 });
  const [known, unknown] = one.overlay.status().peers;
  t.deepEqual(known, { name: 'node-1', ready: true, reason: undefined });
  t.false(unknown?.ready);
  t.regex(unknown?.reason ?? '', /backend-type is missing/);
});

test('whatever somebody deletes or changes is repaired and counted', async (t) => {
  const { members } = await createCluster(t, 2);
  const [one, two] = members as [Member, Member];
  const works = async (): Promise<boolean> =>
    (await one.pod.tcp(two.ip, 80, { timeoutMs: patience(300) })).answer === `node-1 ${one.ip} 0` &&
    (await syncAll(one, members)).changed === 0;
  await until('the pods reach what they should', works);
  t.is(one.overlay.status().repairs, 0, 'its own changes are no repairs');
  const mac = vtepMacOf('node-1', 2);
  for (const [command, ...args] of [
    ['ip', 'link', 'del', 'flannel.1'],
    ['ip', 'link', 'set', 'flannel.1', 'down'],
    ['ip', 'link', 'set', 'flannel.1', 'address', '02:00:00:00:00:99'],
    ['ip', 'link', 'set', 'flannel.1', 'mtu', '1200'],
    ['ip', 'link', 'set', 'flannel.1', 'name', 'other0'],
    ['ip', 'address', 'flush', 'dev', 'flannel.1'],
    ['ip', 'route', 'del', '10.244.2.0/24'],
    ['ip', 'route', 'replace', '10.244.2.0/24', 'via', '192.168.99.254'],
    ['ip', 'neighbour', 'del', '10.244.2.0', 'dev', 'flannel.1'],
    ['ip', 'neighbour', 'replace', '10.244.2.0', 'lladdr', '02:00:00:00:00:98', 'dev', 'flannel.1', 'nud', 'permanent'],
    ['bridge', 'fdb', 'del', mac, 'dev', 'flannel.1', 'self'],
    ['bridge', 'fdb', 'replace', mac, 'dev', 'flannel.1', 'dst', '192.168.99.77', 'self', 'permanent'],
    ['ip', 'route', 'add', '10.244.77.0/24', 'via', '10.244.2.0', 'dev', 'flannel.1', 'onlink'],
  ] as const) {
    const before = one.overlay.status().repairs;
    one.node.run(command, ...args);
    const what = `${command} ${args.join(' ')}`;
    await until(`the repair of ${what} is counted`, () => one.overlay.status().repairs > before);
    await until(`pods talk again after ${what}`, works);
  }
});

test('the MTU follows the underlay', async (t) => {
  const { members } = await createCluster(t, 2);
  const [one] = members as [Member];
  one.node.run('ip', 'link', 'set', 'eth0', 'mtu', '1400');
  await until('the device follows', () => one.node.run('ip', 'link', 'show', 'flannel.1').includes(' mtu 1350 '));
  t.is(one.overlay.status().mtuBytes, 1350);
});

test('the data path works while no agent runs, and a new instance takes it over unchanged', async (t) => {
  const { members, topology } = await createCluster(t, 2);
  const [one, two] = members as [Member, Member];
  await one.pod.ask({ verb: 'openTcp', id: 'long', host: two.ip, port: 80 });
  const before = snapshot(one.node);
  await one.overlay[Symbol.asyncDispose]();
  t.deepEqual(await one.pod.ask({ verb: 'exchange', id: 'long', text: 'hello' }), { answer: `node-1 ${one.ip}` });
  one.overlay = openOverlay(one.node, topology.folder);
  await one.overlay.join({ name: 'node-0', podCidrs: one.peer.podCidrs, clusterCidrs, addresses: one.peer.addresses });
  t.deepEqual(await syncAll(one, members), { changed: 0 });
  t.is(snapshot(one.node), before);
  t.deepEqual(await one.pod.ask({ verb: 'exchange', id: 'long', text: 'hello' }), { answer: `node-1 ${one.ip}` });
});

test('a device of other parameters, as another version may have left, is replaced', async (t) => {
  const { nodes, folder } = createTopology(t, 1);
  const node = nodes[0]!;
  node.run('ip', 'link', 'add', 'flannel.1', 'type', 'vxlan', 'id', '7', 'dstport', '4789', 'dev', 'eth0');
  const overlay = openOverlay(node, folder);
  t.teardown(() => overlay[Symbol.asyncDispose]());
  await overlay.join({ name: 'a', podCidrs: [podCidr(0)], clusterCidrs, addresses: [nodeAddress(0)] });
  t.regex(
    node.run('ip', '-d', 'link', 'show', 'flannel.1'),
    /vxlan id 1 local 192\.168\.99\.1 srcport .*dstport 8472 nolearning/,
  );
});

test('leave removes every trace, twice', async (t) => {
  const { nodes, folder } = createTopology(t, 1);
  const node = nodes[0]!;
  const before = snapshot(node);
  const overlay = openOverlay(node, folder);
  t.teardown(() => overlay[Symbol.asyncDispose]());
  const { annotations } = await overlay.join({
    name: 'a',
    podCidrs: [podCidr(0)],
    clusterCidrs,
    addresses: [nodeAddress(0)],
  });
  const peer = { name: 'b', podCidrs: [podCidr(1)], addresses: [nodeAddress(1)] };
  const other = JSON.stringify({ VNI: 1, VtepMAC: '02:00:00:00:00:02' });
  await overlay.sync([
    {
      ...peer,
      annotations: {
        ...annotations,
        'flannel.alpha.coreos.com/backend-data': other,
        'flannel.alpha.coreos.com/public-ip': nodeAddress(1),
      },
    },
  ]);
  t.not(snapshot(node), before);
  await overlay.leave();
  await overlay.leave();
  t.is(snapshot(node), before);
  t.false(overlay.status().ready);
});

test('an address that is on no interface is refused, with what to do', async (t) => {
  const { nodes, folder } = createTopology(t, 1);
  const overlay = openOverlay(nodes[0]!, folder);
  t.teardown(() => overlay[Symbol.asyncDispose]());
  const error = await t.throwsAsync(
    overlay.join({ name: 'a', podCidrs: [podCidr(0)], clusterCidrs, addresses: ['192.168.98.1'] }),
    { code: 'KERNEL_REFUSED' },
  );
  t.regex(error.message, /192\.168\.98\.1 is on none of its interfaces/);
});
