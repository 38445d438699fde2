import test from 'ava';
import type { Attachment, LocalNode, Overlay, Peer } from '../../../kernel/contract/index.ts';
import type { Node } from '../../../kernel/contract/kubernetes.ts';
import { systemClock } from '../../../kernel/machinery/clock.ts';
import { informersFor, type Informer } from '../../../kernel/machinery/informer.ts';
import { NodeAddresses } from '../../../plugins/components/node-agent/node-addresses.ts';
import { isSamePeer, NodeNetwork, peerFields } from '../../../plugins/components/node-agent/node-network.ts';
import { eventually, open, types } from '../clusters-local/harness.ts';

interface Difference {
  readonly podCIDRs?: readonly string[];
  readonly address?: string;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly heartbeat?: string;
}

const node = (change: Difference): Node =>
  ({
    metadata: { name: 'a', annotations: change.annotations ?? { mac: '1' } },
    spec: { podCIDRs: change.podCIDRs ?? ['10.0.0.0/24'] },
    status: {
      addresses: [
        { type: 'InternalIP', address: change.address ?? '192.0.2.1' },
        { type: 'Hostname', address: 'a' },
      ],
      conditions: [{ type: 'Ready', status: 'True', lastHeartbeatTime: change.heartbeat ?? 'then' }],
    },
  }) as unknown as Node;

const ipv4 = ['10.244.0.0/16'];

test('a heartbeat is no change of a peer', (t) => {
  t.true(isSamePeer(node({}), node({ heartbeat: 'now' })));
});

const differences: Readonly<Record<string, Difference>> = {
  'another range': { podCIDRs: ['10.0.1.0/24'] },
  'a further range': { podCIDRs: ['10.0.0.0/24', 'fd00::/64'] },
  'another address': { address: '192.0.2.2' },
  'another annotation': { annotations: { mac: '2' } },
  'a further annotation': { annotations: { mac: '1', port: '8472' } },
  'no annotation': { annotations: {} },
};

for (const [what, change] of Object.entries(differences))
  test(`${what} is a change of a peer, and so is the way back`, (t) => {
    t.false(isSamePeer(node({}), node(change)));
    t.false(isSamePeer(node(change), node({})));
  });

test('a node that gets its first range has become a peer, also where nothing else of its spec is read', (t) => {
  const bare = { metadata: { name: 'a', annotations: { mac: '1' } } } as unknown as Node;
  t.true(isSamePeer(bare, bare));
  t.false(isSamePeer(bare, node({})));
  t.false(isSamePeer(node({}), bare));
});

test('an overlay is told of every change of its peers, of none beside, and of none before all are known', async (t) => {
  const { cluster } = await open(t);
  const nodeOf = (index: number) =>
    ({
      metadata: { name: `n${index}` },
      spec: { podCIDRs: [`10.244.${index}.0/24`] },
      status: { addresses: [{ type: 'InternalIP', address: `192.0.2.${index}` }] },
    }) as unknown as Node;
  for (const index of [1, 2]) await cluster.create(types.nodes, nodeOf(index));
  const merge = (name: string, body: object, subresource?: string) =>
    cluster.patch(types.nodes, { name }, { kind: 'merge', body }, { subresource });

  const syncs: (readonly Peer[])[] = [];
  const overlay = {
    join: async () => ({ mtuBytes: 1450, annotations: { mac: '1' } }),
    sync: async (peers: readonly Peer[]) => {
      syncs.push(peers);
      return { changed: 0 };
    },
    status: () => ({ ready: true, mtuBytes: 1450, peers: [], repairs: 0 }),
  } as unknown as Overlay;
  const attachment = { configure: async () => undefined, status: () => ({ ready: true }) } as unknown as Attachment;
  const quiet = () => undefined;
  const log = { debug: quiet, info: quiet, warn: quiet, error: quiet };
  const self = informersFor(cluster).get(types.nodes, { fieldSelector: 'metadata.name=n1' });
  const all = informersFor(cluster).get(types.nodes, { fields: peerFields });
  let letGo = quiet as () => void;
  const held = new Promise<void>((resolve) => (letGo = resolve));
  const peers: Informer<Node> = Object.create(all, { synced: { value: () => held } }) as Informer<Node>;
  for (const name of ['list', 'onChange'] as const) Object.assign(peers, { [name]: all[name].bind(all) });
  const network = new NodeNetwork(
    { nodeName: 'n1', addresses: new NodeAddresses(['192.0.2.1'], ipv4), clusterCidrs: ['10.244.0.0/16'] },
    { cluster, overlay, attachment, self, peers, clock: systemClock, log, changed: quiet },
  );
  const stop = new AbortController();
  const running = network.run(stop.signal);
  t.teardown(async () => {
    stop.abort();
    await running;
    self.close();
    all.close();
  });
  const shown = () => (syncs.at(-1) ?? []).map(({ name, podCidrs, addresses }) => [name, ...podCidrs, ...addresses]);

  await self.synced(stop.signal);
  await merge('n2', { metadata: { labels: { a: '1' } } });
  await eventually(() => all.isSynced);
  t.is(syncs.length, 0, 'its own node is known, its peers are not');
  letGo();
  await eventually(() => syncs.length > 0 && network.problem() === undefined);
  t.deepEqual(shown(), [['n2', '10.244.2.0/24', '192.0.2.2']]);
  await eventually(() => self.get('n1')?.metadata.annotations?.['mac'] === '1');

  // Nodes come without a range, and get one from a controller.
  await cluster.create(types.nodes, { ...nodeOf(3), spec: {} } as unknown as Node);
  await eventually(() => all.get('n3') !== undefined);
  await merge('n3', { spec: { podCIDRs: ['10.244.3.0/24'], podCIDR: '10.244.3.0/24' } });
  await eventually(() => shown().length === 2);
  // What the node has published of itself may be taken up a turn later.
  for (let told = -1; told !== syncs.length;) {
    told = syncs.length;
    for (let turn = 0; turn < 50; turn++) await new Promise((resolve) => setImmediate(resolve));
  }
  const told = syncs.length;
  const heartbeat = { conditions: [{ type: 'Ready', status: 'True', lastHeartbeatTime: '2030-01-01T00:00:00Z' }] };
  await merge('n2', { status: heartbeat }, 'status');
  await merge('n3', { status: { ...heartbeat, images: [{ names: ['x'] }] } }, 'status');
  await merge('n3', { status: { addresses: [{ type: 'InternalIP', address: '192.0.2.33' }] } }, 'status');
  await eventually(() => shown()[1]?.[2] === '192.0.2.33');
  t.is(syncs.length, told + 1);
  await cluster.delete(types.nodes, { name: 'n2' });
  await eventually(() => shown().length === 1);
  t.deepEqual(shown(), [['n3', '10.244.3.0/24', '192.0.2.33']]);
});

/** Interface `ethN` has the N-th. */
const on = (...addresses: readonly string[]) => addresses.map((address, at) => ({ address, interface: `eth${at}` }));
const noDefault = () => [];

test('addresses of the host are followed, kept while they are there, and those of the config are never left', (t) => {
  let there = on('192.0.2.1', '192.0.2.9');
  const followed = new NodeAddresses([], ipv4, () => there, noDefault);
  t.deepEqual(followed.current, ['192.0.2.1']);
  there = on('198.51.100.1', '192.0.2.1');
  t.false(followed.refresh(), 'it is still there');
  there = [];
  t.false(followed.refresh(), 'there is no other');
  there = on('10.244.1.1');
  t.false(followed.refresh(), "the bridge of the node's own pods is no other");
  there = on('198.51.100.1', '192.0.2.9');
  t.true(followed.refresh());
  t.deepEqual(followed.current, ['198.51.100.1']);
  t.false(followed.refresh());
  const configured = new NodeAddresses(['203.0.113.1'], ipv4, () => there, noDefault);
  t.false(configured.refresh());
  t.deepEqual(configured.current, ['203.0.113.1']);
});

test('of several interfaces that with the default route is taken', (t) => {
  let there = on('192.0.2.1', '198.51.100.1', '2001:db8::1', '203.0.113.1');
  const byRoute = new NodeAddresses(
    [],
    ipv4,
    () => there,
    () => ['eth2', 'eth1', 'eth3'],
  );
  t.deepEqual(byRoute.current, ['198.51.100.1'], 'the first that has an address of the family');
  there = on('192.0.2.1', '198.51.100.2');
  t.true(byRoute.refresh());
  t.deepEqual(byRoute.current, ['198.51.100.2']);
  t.deepEqual(new NodeAddresses([], ipv4, () => there, noDefault).current, ['192.0.2.1']);
});

test("of each family that pods have the host's first address is taken, and each is followed by itself", (t) => {
  let there = on('192.0.2.1', '2001:db8::1', '2001:db8::2');
  const both = new NodeAddresses([], ['2001:db8:1::/48', '10.244.0.0/16'], () => there, noDefault);
  t.deepEqual(both.current, ['2001:db8::1', '192.0.2.1'], "in the order of the cluster's families");
  t.deepEqual(new NodeAddresses([], ipv4, () => there, noDefault).current, ['192.0.2.1']);
  there = on('192.0.2.1', '2001:db8::2');
  t.true(both.refresh());
  t.deepEqual(both.current, ['2001:db8::2', '192.0.2.1']);
  there = on('192.0.2.1');
  t.false(both.refresh(), 'there is no other of that family');
  const late = new NodeAddresses([], ['10.244.0.0/16', '2001:db8:1::/48'], () => there, noDefault);
  t.deepEqual(late.current, ['192.0.2.1']);
  there = on('2001:db8::3', '192.0.2.1');
  t.true(late.refresh());
  t.deepEqual(late.current, ['192.0.2.1', '2001:db8::3']);
  there = on('2001:db8::3');
  t.deepEqual(new NodeAddresses([], ipv4, () => there, noDefault).current, ['2001:db8::3'], 'better than none');
});

test('a node that moves joins again, and what its overlay says of itself then is published', async (t) => {
  const { cluster } = await open(t);
  await cluster.create(types.nodes, {
    metadata: { name: 'n1', annotations: { left: 'behind' } },
    spec: { podCIDRs: ['10.244.1.0/24'] },
  } as unknown as Node);
  const joins: LocalNode[] = [];
  let interfaceAddress = 'of eth1';
  const annotations = () => ({ ip: joins.at(-1)?.annotations?.['overwrite'] ?? interfaceAddress });
  const overlay = {
    join: async (local: LocalNode) => {
      joins.push(local);
      return { mtuBytes: 1450, annotations: annotations() };
    },
    sync: async () => ({ changed: 0 }),
    status: () => ({ ready: true, mtuBytes: 1450, peers: [], repairs: 0, annotations: annotations() }),
  } as unknown as Overlay;
  const attachment = { configure: async () => undefined, status: () => ({ ready: true }) } as unknown as Attachment;
  const quiet = () => undefined;
  const log = { debug: quiet, info: quiet, warn: quiet, error: quiet };
  const self = informersFor(cluster).get(types.nodes, { fieldSelector: 'metadata.name=n1' });
  const peers = informersFor(cluster).get(types.nodes, { fields: peerFields });
  let there = on('192.0.2.1');
  let told = 0;
  const network = new NodeNetwork(
    { nodeName: 'n1', addresses: new NodeAddresses([], ipv4, () => there), clusterCidrs: ['10.244.0.0/16'] },
    { cluster, overlay, attachment, self, peers, clock: systemClock, log, changed: () => (told += 1) },
  );
  const stop = new AbortController();
  const running = network.run(stop.signal);
  t.teardown(async () => {
    stop.abort();
    await running;
    self.close();
    peers.close();
  });
  const published = async () => (await cluster.get(types.nodes, { name: 'n1' })).metadata.annotations?.['ip'];

  await eventually(async () => (await published()) === 'of eth1');
  t.deepEqual(
    joins.map(({ addresses, annotations: others }) => [addresses, others]),
    [[['192.0.2.1'], { left: 'behind' }]],
  );
  interfaceAddress = 'another of eth1';
  await eventually(async () => (await published()) === 'another of eth1');
  t.is(joins.length, 1, 'it moved by itself');
  const before = told;
  there = on('198.51.100.1');
  await eventually(() => joins.length === 2);
  t.deepEqual(joins[1]?.addresses, ['198.51.100.1']);
  t.true(told > before, 'the node registers with it');
  await cluster.patch(
    types.nodes,
    { name: 'n1' },
    { kind: 'merge', body: { metadata: { annotations: { overwrite: '203.0.113.7' } } } },
  );
  await eventually(async () => (await published()) === '203.0.113.7');
  t.is(joins.length, 3);
});
