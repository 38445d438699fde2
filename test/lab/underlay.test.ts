/** Overlays on an underlay that changes: several interfaces, routers that come between, addresses that are replaced. */
import test, { type ExecutionContext } from 'ava';
import type { Overlay, Peer } from '../../kernel/contract/index.ts';
import { hasTxChecksumOffload, setTxChecksumOffload } from '../../netplugins/linux/ethtool.ts';
import type { UnderlayChoice } from '../../netplugins/linux/overlay/underlay.ts';
import { openRtnetlink } from '../../netplugins/linux/rtnetlink.ts';
import { readSysctl, writeSysctl } from '../../netplugins/linux/sysctl.ts';
import {
  clusterCidrs,
  createPods,
  openFlannelUdp,
  openHostGw,
  openOverlay,
  podCidr6,
  type ClusterShape,
  type PodOnNode,
} from './support/cluster.ts';
import {
  createTopology,
  nodeAddress,
  nodeAddress6,
  patience,
  podCidr,
  snapshot,
  until,
  type Place,
} from './support/topology.ts';

type Running = Overlay & AsyncDisposable;
type Open = (node: Place, folder: string) => Running;

interface Node extends PodOnNode {
  readonly node: Place;
  readonly overlay: Running;
  peer: Peer;
  /** Joins, as an agent does whose node has these addresses. */
  join(addresses: readonly string[], annotations?: Readonly<Record<string, string>>): Promise<void>;
}

/** Nodes with one pod each, whose overlays have not joined. */
async function bed(
  t: ExecutionContext,
  count: number,
  shape: ClusterShape,
  open: Open,
): Promise<{ readonly nodes: readonly Node[]; readonly underlay: Place }> {
  const topology = createTopology(t, count);
  const pods = await createPods(t, topology, shape);
  const nodes = topology.nodes.map((node, index): Node => {
    const overlay = open(node, topology.folder);
    t.teardown(async () => {
      await overlay.leave();
      await overlay[Symbol.asyncDispose]();
    });
    const name = `node-${index}`;
    const podCidrs = [podCidr(index), ...(shape.dual === true ? [podCidr6(index)] : [])];
    const made: Node = {
      ...pods[index]!,
      node,
      overlay,
      peer: { name, podCidrs, addresses: [], annotations: {} },
      join: async (addresses, annotations = {}) => {
        const joined = await overlay.join({ name, podCidrs, clusterCidrs, addresses, annotations });
        made.peer = { name, podCidrs, addresses, annotations: joined.annotations };
      },
    };
    return made;
  });
  return { nodes, underlay: topology.underlay };
}

async function syncAll(nodes: readonly Node[]): Promise<void> {
  for (const one of nodes) await one.overlay.sync(nodes.filter((other) => other !== one).map(({ peer }) => peer));
}
const isReached = async (from: Node, to: Node): Promise<boolean> =>
  (await from.pod.tcp(to.ip, 80, { timeoutMs: patience(500) })).answer === `${to.peer.name} ${from.ip} 0`;
const routeTo = (from: Node, to: Node): string =>
  from.node.run('ip', 'route', 'show', to.peer.podCidrs[0] ?? '').trim();

/** A second network between the nodes, on eth1. */
function secondNetwork(nodes: readonly Node[], underlay: Place): void {
  const wire = openRtnetlink({ netns: underlay.netns });
  wire.createBridge({ name: 'wire1' });
  wire.setLink('wire1', { up: true });
  for (const [index, { node }] of nodes.entries()) {
    wire.createVeth({ name: `second${index}`, peer: { name: 'eth1', netns: node.netns } });
    wire.setLink(`second${index}`, { master: wire.getLink('wire1')!.index, up: true });
    node.run('ip', 'link', 'set', 'eth1', 'up');
    node.run('ip', 'address', 'add', `198.51.100.${index + 1}/24`, 'dev', 'eth1');
  }
  wire.close();
}

const overlays = {
  vxlan: (underlay: UnderlayChoice) => (node: Place, folder: string) => openOverlay(node, folder, { underlay }),
  'host-gw': (underlay: UnderlayChoice) => (node: Place, folder: string) => openHostGw(node, folder, { underlay }),
  'flannel-udp': (underlay: UnderlayChoice) => (node: Place, folder: string) =>
    openFlannelUdp(node, folder, { underlay }),
} as const;
const names = Object.keys(overlays) as (keyof typeof overlays)[];
const publicIp = 'flannel.alpha.coreos.com/public-ip';
const second = (index: number): string => `198.51.100.${index + 1}`;

for (const name of names) {
  test(`${name}: by the route to each peer, a node with two interfaces reaches one peer on each`, async (t) => {
    const { nodes, underlay } = await bed(t, 3, { overlay: name }, overlays[name]({}));
    const [both, first, other] = nodes as [Node, Node, Node];
    secondNetwork(nodes, underlay);
    first.node.run('ip', 'link', 'set', 'eth1', 'down');
    other.node.run('ip', 'link', 'set', 'eth0', 'down');
    await both.join([nodeAddress(0), second(0)]);
    await first.join([nodeAddress(1)]);
    await other.join([second(2)]);
    t.is(both.peer.annotations[publicIp], nodeAddress(0), 'it announces the first');
    await syncAll(nodes);
    for (const peer of [first, other]) {
      await until(`the node reaches ${peer.peer.name}`, () => isReached(both, peer));
      await until(`${peer.peer.name} reaches the node`, () => isReached(peer, both));
    }
    t.is((await both.pod.tcp(other.ip, 80, { bytes: 500_000 })).answer, `node-2 ${both.ip} 500000`);
    both.node.run('ip', 'link', 'set', 'eth1', 'mtu', '1300');
    const left = both.overlay.status().mtuBytes;
    await until('the smaller MTU counts', () => both.overlay.status().mtuBytes === left - 200);
  });

  for (const [how, choice] of [
    ['interface', { interface: 'eth1' }],
    ['CIDR', { cidrs: ['203.0.113.0/24', '198.51.100.0/24'] }],
  ] as const)
    test(`${name}: by ${how}, the packets leave by the chosen interface, and its address may be replaced`, async (t) => {
      const { nodes, underlay } = await bed(t, 2, { overlay: name }, overlays[name](choice));
      const [one, two] = nodes as [Node, Node];
      await t.throwsAsync(one.join([nodeAddress(0)]), { code: 'KERNEL_REFUSED', message: /option underlay/ });
      t.false(one.overlay.status().ready);
      secondNetwork(nodes, underlay);
      for (const [index, node] of nodes.entries()) await node.join([nodeAddress(index), second(index)]);
      t.is(one.peer.annotations[publicIp], second(0));
      for (const { node } of nodes) node.run('ip', 'link', 'set', 'eth0', 'down');
      await syncAll(nodes);
      await until('they reach each other', async () => (await isReached(one, two)) && (await isReached(two, one)));

      one.node.run('ip', 'address', 'del', `${second(0)}/24`, 'dev', 'eth1');
      await until('the loss is noticed', () => !one.overlay.status().ready);
      t.regex(one.overlay.status().reason ?? '', /option underlay/);
      one.node.run('ip', 'address', 'add', '198.51.100.77/24', 'dev', 'eth1');
      const announced = () => one.overlay.status().annotations?.[publicIp];
      await until('the new address is announced', () => announced() === '198.51.100.77');
      one.peer = { ...one.peer, addresses: ['198.51.100.77'], annotations: one.overlay.status().annotations! };
      await syncAll(nodes);
      await until('they reach each other', async () => (await isReached(one, two)) && (await isReached(two, one)));
    });

  test(`${name}: a node that its peers reach at another address publishes that`, async (t) => {
    const { nodes } = await bed(t, 2, { overlay: name }, overlays[name]({}));
    const [one, two] = nodes as [Node, Node];
    const overwrite = 'flannel.alpha.coreos.com/public-ip-overwrite';
    await one.join([nodeAddress(0)]);
    await t.throwsAsync(two.join([nodeAddress(1)], { [overwrite]: 'fd99::2' }), {
      code: 'INVALID',
      message: /IPv4 address/,
    });
    // An address that leads to the node and is none of its own: a router translates.
    const rules = [
      'add table ip nat',
      'add chain ip nat in { type nat hook prerouting priority -100; }',
      'add chain ip nat out { type nat hook output priority -100; }',
      `add rule ip nat in ip daddr 192.168.99.202 dnat to ${nodeAddress(1)}`,
    ];
    for (const rule of rules) two.node.run('nft', rule);
    one.node.run(
      'ip',
      'neighbour',
      'add',
      '192.168.99.202',
      'lladdr',
      macOf(two.node),
      'dev',
      'eth0',
      'nud',
      'permanent',
    );
    await two.join([nodeAddress(1)], { [overwrite]: '192.168.99.202' });
    t.is(two.peer.annotations[publicIp], '192.168.99.202');
    await syncAll(nodes);
    if (name === 'vxlan')
      t.regex(one.node.run('bridge', 'fdb', 'show', 'dev', 'flannel.1'), / dst 192\.168\.99\.202 self/);
    if (name === 'host-gw') t.regex(routeTo(one, two), /via 192\.168\.99\.202 dev eth0/);
    await until('they reach each other', () => isReached(one, two));
  });
}

const macOf = (node: Place): string => /link\/ether (\S+)/.exec(node.run('ip', 'link', 'show', 'eth0'))?.[1] ?? '';
const direct: Open = (node, folder) => openOverlay(node, folder, { directRouting: true });

test('vxlan: peers on the same link are reached without the tunnel, and again through it when a router comes between', async (t) => {
  const { nodes, underlay } = await bed(t, 3, { overlay: 'vxlan', dual: true }, direct);
  writeSysctl('net.ipv6.conf.all.forwarding', 1, underlay);
  underlay.run('ip', 'address', 'add', 'fe80::ffff/64', 'dev', 'wire', 'nodad');
  const [one, two, three] = nodes as [Node, Node, Node];
  writeSysctl('net.ipv4.conf.eth0.send_redirects', 1, one.node);
  const before = snapshot(one.node);
  for (const [index, node] of nodes.entries()) await node.join([nodeAddress(index), nodeAddress6(index)]);
  await syncAll(nodes);
  const six = (): string => one.node.run('ip', '-6', 'route', 'show', podCidr6(1)).trim();
  const isDirect = (): boolean =>
    routeTo(one, two) === '10.244.2.0/24 via 192.168.99.2 dev eth0 proto 81' &&
    six().startsWith('fd44:0:0:2::/64 via fd99::2 dev eth0 proto 81');
  t.true(isDirect(), `${routeTo(one, two)}, ${six()}`);
  t.is(one.node.run('bridge', 'fdb', 'show', 'dev', 'flannel.1').trim(), '');
  t.is(readSysctl('net.ipv4.conf.eth0.send_redirects', one.node), '0');
  t.is(one.overlay.status().mtuBytes, 1430, 'it may have to go through the tunnel');
  await one.pod.ask({ verb: 'openTcp', id: 'long', host: two.ip, port: 80 });
  const talks = async (): Promise<void> => {
    t.deepEqual(await one.pod.ask({ verb: 'exchange', id: 'long', text: 'hello' }), { answer: `node-1 ${one.ip}` });
    t.deepEqual(await one.pod.tcp('fd44:0:0:2::2', 80, { bytes: 100_000 }), { answer: 'node-1 fd44:0:0:1::2 100000' });
    t.deepEqual(await one.pod.tcp(three.ip, 80), { answer: `node-2 ${one.ip} 0` });
  };
  await talks();

  one.node.run('ip', 'route', 'add', '192.168.99.2/32', 'via', '192.168.99.254');
  one.node.run('ip', '-6', 'route', 'add', 'fd99::2/128', 'via', 'fd99::ffff');
  await until(
    'the tunnel is used',
    () =>
      routeTo(one, two) === '10.244.2.0/24 via 10.244.2.0 dev flannel.1 proto static onlink' &&
      six().includes('dev flannel-v6.1'),
  );
  t.regex(routeTo(one, three), /via 192\.168\.99\.3 dev eth0/, 'that of the other peer is as it was');
  t.regex(one.node.run('bridge', 'fdb', 'show', 'dev', 'flannel.1'), / dst 192\.168\.99\.2 self permanent/);
  await talks();
  one.node.run('ip', 'route', 'del', '192.168.99.2/32');
  one.node.run('ip', '-6', 'route', 'del', 'fd99::2/128');
  await until('the tunnel is not used', isDirect);
  t.is(one.node.run('bridge', 'fdb', 'show', 'dev', 'flannel.1').trim(), '');
  await talks();

  const { repairs } = one.overlay.status();
  one.node.run('ip', 'route', 'del', '10.244.2.0/24');
  await until('a route is back', isDirect);
  t.true(one.overlay.status().repairs > repairs);
  await one.overlay.leave();
  t.is(snapshot(one.node), before);
  t.is(readSysctl('net.ipv4.conf.eth0.send_redirects', one.node), '1');
});

test('vxlan: an instance without direct routing takes over from one with it, and the other way round', async (t) => {
  const topology = createTopology(t, 2);
  const [node] = topology.nodes as [Place];
  const join = async (overlay: Running): Promise<Readonly<Record<string, string>>> =>
    (await overlay.join({ name: 'node-0', podCidrs: [podCidr(0)], clusterCidrs, addresses: [nodeAddress(0)] }))
      .annotations;
  const route = (): string => node.run('ip', 'route', 'show', podCidr(1)).trim();
  const first = direct(node, topology.folder);
  t.teardown(() => first[Symbol.asyncDispose]());
  const annotations = await join(first);
  const data = JSON.stringify({ VNI: 1, VtepMAC: '02:00:00:00:00:02' });
  const peer: Peer = {
    name: 'node-1',
    podCidrs: [podCidr(1)],
    addresses: [nodeAddress(1)],
    annotations: { ...annotations, [publicIp]: nodeAddress(1), 'flannel.alpha.coreos.com/backend-data': data },
  };
  t.deepEqual(await first.sync([peer]), { changed: 1 });
  await first[Symbol.asyncDispose]();
  const next = openOverlay(node, topology.folder);
  t.teardown(() => next[Symbol.asyncDispose]());
  await join(next);
  t.is(route(), '10.244.2.0/24 via 192.168.99.2 dev eth0 proto 81', 'before it knows the peers it leaves their routes');
  node.run('ip', 'address', 'flush', 'dev', 'flannel.1');
  await until('the device is put right', () => next.status().repairs > 0);
  t.is(route(), '10.244.2.0/24 via 192.168.99.2 dev eth0 proto 81', 'also when something has to be repaired meanwhile');
  t.deepEqual(await next.sync([peer]), { changed: 3 });
  t.is(route(), '10.244.2.0/24 via 10.244.2.0 dev flannel.1 proto static onlink');
});

test('vxlan: transmit checksums that were switched off stay off, whoever switches them on', async (t) => {
  const { nodes, folder } = createTopology(t, 1);
  const [node] = nodes as [Place];
  const overlay = openOverlay(node, folder, { txChecksumOffload: 'off' });
  t.teardown(() => overlay[Symbol.asyncDispose]());
  await overlay.join({ name: 'a', podCidrs: [podCidr(0)], clusterCidrs, addresses: [nodeAddress(0)] });
  await overlay.sync([]);
  const isOn = (): boolean => hasTxChecksumOffload('flannel.1', { netns: node.netns });
  t.false(isOn());
  setTxChecksumOffload('flannel.1', true, { netns: node.netns });
  await until('they are off again', () => !isOn());
  node.run('ip', 'link', 'del', 'flannel.1');
  await until('they are off on the new device', () => node.run('ip', '-br', 'link').includes('flannel.1') && !isOn());
  t.true(overlay.status().repairs >= 2);
});
