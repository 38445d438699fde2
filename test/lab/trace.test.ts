/** The way of a packet as `pintle trace` reads it from a kernel, on a tunnel made by hand and broken piece by piece. */
import test, { type ExecutionContext } from 'ava';
import type { Peer } from '../../kernel/contract/index.ts';
import { forwardChains } from '../../netplugins/linux/trace/firewall.ts';
import { wayFrom, type Way } from '../../netplugins/linux/trace/walk.ts';
import { openRtnetlink } from '../../netplugins/linux/rtnetlink.ts';
import { DataPathProcess } from '../../netplugins/overlays/flannel-udp/data-path-process.ts';
import { createCluster, flannelUdpOptions, overlayNames, type Member, type OverlayName } from './support/cluster.ts';
import { createTopology, nodeAddress, nodeAddress6, podCidr, until, type Place } from './support/topology.ts';

const mac = '02:00:00:00:00:02';
const peer: Peer = { name: 'node-1', podCidrs: [podCidr(1)], addresses: [nodeAddress(1)], annotations: {} };

interface Bed {
  readonly node: Place;
  readonly other: Place;
  way(destination?: string, peers?: readonly Peer[]): Way;
  /** What the last step of a way that ended is, and says. */
  death(): string;
}

/** Node 0 with a pod, and a vxlan to node 1 as `ip` makes it. */
function byHand(t: ExecutionContext): Bed {
  const { nodes } = createTopology(t, 2);
  const [node, other] = nodes as [Place, Place];
  const script = [
    `link add tunnel type vxlan id 9 dstport 4789 local ${nodeAddress(0)} dev eth0 nolearning`,
    'link set tunnel mtu 1450 up',
    `route add ${podCidr(1)} via 10.244.2.0 dev tunnel onlink`,
    `neighbour add 10.244.2.0 lladdr ${mac} dev tunnel nud permanent`,
  ];
  for (const line of script) node.run('ip', ...line.split(' '));
  node.run('bridge', 'fdb', 'add', mac, 'dev', 'tunnel', 'dst', nodeAddress(1), 'self', 'permanent');
  const rt = openRtnetlink({ netns: node.netns });
  t.teardown(() => rt.close());
  const podAddresses = new Set(['10.244.1.2']);
  const way = (destination = '10.244.2.2', peers: readonly Peer[] = [peer]): Way =>
    wayFrom({ name: 'node-0', rt, peers, podAddresses, podCidrs: [podCidr(0)] }, destination);
  const death = (): string => {
    const { steps, end } = way();
    const last = steps.at(-1);
    return end.kind === 'dies' && last?.problem?.isFatal === true
      ? `${last.what}: ${last.problem.text}`
      : `it did not die: ${JSON.stringify({ steps, end })}`;
  };
  return { node, other, way, death };
}

test('every object of a whole way, in the order in which the packet meets it', (t) => {
  const { way } = byHand(t);
  const { steps, end } = way();
  t.deepEqual(end, { kind: 'leaves', to: nodeAddress(1), node: 'node-1', mtuBytes: 1450 });
  t.deepEqual(steps.map(({ what }) => what).slice(0, 7), [
    'route',
    'link',
    'neighbour',
    'fdb',
    'tunnel',
    'route',
    'link',
  ]);
  t.true(steps.every(({ problem }) => problem === undefined));
  t.is(steps[0]?.shown, '10.244.2.0/24 via 10.244.2.0 dev tunnel onlink');
  t.is(steps[2]?.shown, `10.244.2.0 dev tunnel lladdr ${mac} PERMANENT`);
  t.is(steps[3]?.shown, `${mac} dev tunnel dst 192.168.99.2 permanent`);
  t.is(steps[4]?.shown, 'UDP 192.168.99.1 -> 192.168.99.2:4789, VXLAN 9');
});

test('a tunnel without the neighbour, without the forwarding entry, or with one to another node', (t) => {
  const { node, way, death } = byHand(t);
  node.run('ip', 'neighbour', 'del', '10.244.2.0', 'dev', 'tunnel');
  t.is(death(), 'neighbour: tunnel does not know who 10.244.2.0 is: no neighbour entry');
  node.run('ip', 'neighbour', 'add', '10.244.2.0', 'lladdr', mac, 'dev', 'tunnel', 'nud', 'permanent');
  node.run('bridge', 'fdb', 'del', mac, 'dev', 'tunnel', 'self');
  t.is(death(), `fdb: tunnel does not know behind which node ${mac} is: no forwarding entry`);
  node.run('bridge', 'fdb', 'add', mac, 'dev', 'tunnel', 'dst', '192.168.99.77', 'self', 'permanent');
  t.is(death(), 'tunnel: the pod is on node-1, whose address is 192.168.99.2');
  const published = { 'flannel.alpha.coreos.com/public-ip': '192.168.99.77' };
  t.like(way('10.244.2.2', [{ ...peer, annotations: published }]).end, { kind: 'leaves', node: 'node-1' });
});

test('a tunnel that is down, a range without a route, an underlay without one', (t) => {
  const { node, way, death } = byHand(t);
  node.run('ip', 'route', 'add', 'unreachable', `${nodeAddress(1)}/32`);
  t.is(death(), 'route: node node-0 has no route to 192.168.99.2, the node that the tunnel ends at');
  node.run('ip', 'route', 'del', 'unreachable', `${nodeAddress(1)}/32`);
  t.is(way().end.kind, 'leaves');
  node.run('ip', 'link', 'set', 'tunnel', 'down');
  const stray = way();
  t.like(stray.end, { kind: 'leaves', to: '192.168.99.254', node: undefined });
  t.regex(stray.steps[0]?.problem?.text ?? '', /^node node-0 has no route of its own to the pods of node-1/);
  node.run('ip', 'route', 'del', 'default');
  t.is(death(), 'route: node node-0 has no route to 10.244.2.2 (a pod of node-1)');
  node.run('ip', 'link', 'set', 'tunnel', 'up');
});

test('an underlay that is too small, and one on which the other node does not answer', (t) => {
  const { node, way, death } = byHand(t);
  node.run('ip', 'link', 'set', 'eth0', 'mtu', '1400');
  const { steps, end } = way();
  t.is(end.kind, 'leaves', 'small packets pass');
  t.deepEqual(
    steps.flatMap(({ problem }) => (problem === undefined ? [] : [problem.text])),
    ['eth0 carries 1400 bytes and the tunnel above it 1450: full packets are lost'],
  );
  node.run('ip', 'neighbour', 'replace', nodeAddress(1), 'dev', 'eth0', 'nud', 'failed');
  t.is(death(), 'neighbour: nobody on eth0 answers for 192.168.99.2: is that node up?');
});

test('without a tunnel: a neighbour, an address of the node itself, a pod that is not there', (t) => {
  const { node, way } = byHand(t);
  node.run('ip', 'route', 'replace', podCidr(1), 'via', nodeAddress(1));
  t.like(way().end, { kind: 'leaves', to: nodeAddress(1), node: 'node-1', mtuBytes: 1500 });
  t.like(way('198.51.100.9').end, { kind: 'leaves', to: '192.168.99.254', node: undefined });
  t.deepEqual(way(nodeAddress(0)).end, { kind: 'node' });
  t.deepEqual(way(nodeAddress6(0)).end, { kind: 'node' });
  node.run('ip', 'neighbour', 'replace', nodeAddress(1), 'dev', 'eth0', 'nud', 'failed');
  const { end, steps } = way();
  t.is(end.kind, 'dies');
  t.is(steps.at(-1)?.problem?.text, 'nobody on eth0 answers for 192.168.99.2');
  node.run('ip', 'route', 'add', podCidr(0), 'dev', 'eth0');
  t.like(way('10.244.1.9').steps.at(-1)?.problem, { text: 'no pod of node node-0 has the address 10.244.1.9' });
});

test("another program's chain is shown with its policy, and that its rules are not followed", async (t) => {
  const { nodes } = createTopology(t, 1);
  const [node] = nodes as [Place];
  const nft = (...lines: readonly string[]): void => {
    for (const line of lines) node.run('nft', line);
  };
  t.deepEqual(await forwardChains({ netns: node.netns }), []);
  nft('add table ip other', 'add chain ip other fw { type filter hook forward priority 0; policy accept; }');
  t.deepEqual(await forwardChains({ netns: node.netns }), [{ shown: 'nft chain ip other fw policy accept' }]);
  nft('add rule ip other fw tcp dport 81 drop');
  const [accepting] = await forwardChains({ netns: node.netns });
  t.is(accepting?.shown, 'nft chain ip other fw policy accept; its rule is not followed: nft list chain ip other fw');
  nft('add rule ip other fw tcp dport 82 drop', 'chain ip other fw { policy drop; }');
  const [dropping] = await forwardChains({ netns: node.netns });
  t.regex(dropping?.shown ?? '', /policy drop; its 2 rules are not followed/);
  t.regex(dropping?.problem?.text ?? '', /chain other fw drops every forwarded packet that none of its rules accepts/);
});

/** From node 0 to a pod of node 1, over an overlay whose agent has died: so nothing is repaired while the test looks. */
async function overReal(t: ExecutionContext, overlay: OverlayName) {
  const { members, topology } = await createCluster(t, 2, { overlay });
  const [one, two] = members as [Member, Member];
  await one.overlay[Symbol.asyncDispose]();
  // A neighbour that is known is shown, too.
  t.deepEqual(await one.pod.tcp(two.ip, 80), { answer: `node-1 ${one.ip} 0` });
  const rt = openRtnetlink({ netns: one.node.netns });
  t.teardown(() => rt.close());
  const view = { name: 'node-0', rt, podAddresses: new Set([one.ip]), podCidrs: one.peer.podCidrs };
  const way = (peer: Peer = two.peer): Way => wayFrom({ ...view, peers: [peer] }, two.ip);
  const shown = (): string =>
    way()
      .steps.map(({ what, shown: text }) => `${what} ${text}`)
      .join('\n');
  return { node: one.node, folder: topology.folder, peer: two.peer, way, shown };
}

const mtus: Readonly<Record<OverlayName, number>> = { vxlan: 1450, 'host-gw': 1500, 'flannel-udp': 1472 };
for (const overlay of overlayNames)
  test(`${overlay}: the way that the overlay made is whole, and dies where a piece is missing`, async (t) => {
    const { node, folder, peer, way, shown } = await overReal(t, overlay);
    t.deepEqual(way().end, { kind: 'leaves', to: nodeAddress(1), node: 'node-1', mtuBytes: mtus[overlay] });
    t.true(way().steps.every(({ problem }) => problem === undefined));
    const expected = {
      vxlan: [
        /^route 10\.244\.2\.0\/24 via 10\.244\.2\.0 dev flannel\.1 onlink/,
        /^neighbour 10\.244\.2\.0 dev flannel\.1 /m,
        /^fdb \S+ dev flannel\.1 dst 192\.168\.99\.2 permanent/m,
        /^tunnel UDP 192\.168\.99\.1 -> 192\.168\.99\.2:8472, VXLAN 1$/m,
        /^neighbour 192\.168\.99\.2 dev eth0 /m,
      ],
      'host-gw': [/^route 10\.244\.2\.0\/24 via 192\.168\.99\.2 dev eth0/, /^neighbour 192\.168\.99\.2 dev eth0 /m],
      'flannel-udp': [
        /^route 10\.244\.0\.0\/16 dev flannel0/,
        /^tunnel flannel0: a process sends it on to 192\.168\.99\.2$/m,
        /^neighbour 192\.168\.99\.2 dev eth0 /m,
      ],
    }[overlay];
    for (const step of expected) t.regex(shown(), step);
    const death = (): string => {
      const { steps, end } = way();
      return `${end.kind}: ${steps.at(-1)?.problem?.text ?? 'no problem'}`;
    };
    if (overlay === 'flannel-udp') {
      const published = { ...peer.annotations, 'flannel.alpha.coreos.com/public-ip': '192.168.99.77' };
      t.like(way({ ...peer, annotations: published }).end, { kind: 'leaves', to: '192.168.99.77', node: 'node-1' });
      const dataPath = await DataPathProcess.find(flannelUdpOptions(node, folder).stateDir);
      process.kill(dataPath!.hello.pid, 'SIGKILL');
      await dataPath!.ended;
      await until('its device is gone', () => !node.run('ip', '-br', 'link').includes('flannel0'));
      t.like(way().end, { kind: 'leaves', node: undefined });
      t.regex(way().steps[0]?.problem?.text ?? '', /node node-0 has no route of its own to the pods of node-1/);
    } else if (overlay === 'vxlan') {
      node.run('ip', 'neighbour', 'flush', 'dev', 'flannel.1', 'nud', 'permanent');
      t.is(death(), 'dies: flannel.1 does not know who 10.244.2.0 is: no neighbour entry');
    } else {
      node.run('ip', 'neighbour', 'replace', nodeAddress(1), 'dev', 'eth0', 'nud', 'failed');
      t.is(death(), 'dies: nobody on eth0 answers for 192.168.99.2');
      node.run('ip', 'route', 'replace', 'unreachable', podCidr(1));
      t.is(death(), 'dies: node node-0 has no route to 10.244.2.2 (a pod of node-1)');
    }
  });
