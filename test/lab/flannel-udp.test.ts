/** Overlay flannel-udp on real packets: what is on the wire, beside flannel's own form, and what survives what. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import test, { type ExecutionContext } from 'ava';
import type { Overlay, Peer } from '../../kernel/contract/index.ts';
import { setSegmentationOffload, setTxChecksumOffload } from '../../netplugins/linux/ethtool.ts';
import { runInNetns } from '../../netplugins/linux/namespaces.ts';
import { openRawSocket } from '../../netplugins/linux/raw-ip.ts';
import { DataPathProcess } from '../../netplugins/overlays/flannel-udp/data-path-process.ts';
import type { FlannelUdpOptions } from '../../netplugins/overlays/flannel-udp/flannel-udp-overlay.ts';
import { onesSum } from '../../netplugins/overlays/flannel-udp/inner-packet.ts';
import { clusterCidrs, createPods, flannelUdpOptions, openFlannelUdp, podCidr6 } from './support/cluster.ts';
import { FlannelPeer, udpPacket, udpSum } from './support/flannel-peer.ts';
import { createTopology, nodeAddress, podCidr, snapshot, until, type Place } from './support/topology.ts';
import type { StreamsResult } from './support/streams.ts';
import type { UdpAgentWork } from './support/udp-agent.ts';

interface Node {
  readonly place: Place;
  readonly pod: Place;
  readonly ip: string;
  readonly peer: Peer;
  readonly stateDir: string;
  overlay: Overlay & AsyncDisposable;
}

const paths = ['dgram', 'offload'] as const;
const streams = fileURLToPath(new URL('./support/streams.js', import.meta.url));

/** Nodes of which each runs the overlay with the options of its place. */
async function network(t: ExecutionContext, each: readonly Partial<FlannelUdpOptions>[], dual = false) {
  const topology = createTopology(t, each.length);
  const pods = await createPods(t, topology, { overlay: 'flannel-udp', dual });
  const nodes: Node[] = [];
  for (const [index, place] of topology.nodes.entries()) {
    const overlay = openFlannelUdp(place, topology.folder, each[index]);
    const base = {
      name: `node-${index}`,
      podCidrs: [podCidr(index), ...(dual ? [podCidr6(index)] : [])],
      addresses: [nodeAddress(index)],
    };
    const { stateDir } = flannelUdpOptions(place, topology.folder);
    t.teardown(() => cleanUp(nodes[index]?.overlay ?? overlay, place, topology.folder));
    const { annotations } = await overlay.join({ ...base, clusterCidrs });
    const { pod, ip } = pods[index]!;
    nodes.push({ place, pod, ip, overlay, stateDir, peer: { ...base, annotations } });
  }
  const sync = async (): Promise<void> => {
    for (const node of nodes) await node.overlay.sync(othersOf(node, nodes));
  };
  await sync();
  return { nodes, topology, sync };
}

/** The data path goes on until somebody leaves. */
async function cleanUp(overlay: AsyncDisposable, place: Place, folder: string): Promise<void> {
  await overlay[Symbol.asyncDispose]();
  const last = openFlannelUdp(place, folder);
  await last.leave();
  await last[Symbol.asyncDispose]();
}

const othersOf = (node: Node, nodes: readonly Node[]): Peer[] =>
  nodes.filter((other) => other !== node).map(({ peer }) => peer);

/** A node of ours and beside it one that runs flannel. */
async function besideFlannel(t: ExecutionContext, options: Partial<FlannelUdpOptions>, takesAll = false) {
  const topology = createTopology(t, 2);
  const [pod] = await createPods(t, { ...topology, nodes: topology.nodes.slice(0, 1) }, { overlay: 'flannel-udp' });
  const [place, other] = topology.nodes as [Place, Place];
  const overlay = openFlannelUdp(place, topology.folder, options);
  t.teardown(() => cleanUp(overlay, place, topology.folder));
  await overlay.join({ name: 'ours', podCidrs: [podCidr(0)], clusterCidrs, addresses: [nodeAddress(0)] });
  const annotations = {
    'flannel.alpha.coreos.com/backend-type': 'udp',
    'flannel.alpha.coreos.com/backend-data': 'null',
    'flannel.alpha.coreos.com/public-ip': nodeAddress(1),
    'flannel.alpha.coreos.com/kube-subnet-manager': 'true',
    ...(takesAll
      ? { 'pintle.dev/flannel-udp': JSON.stringify({ ipv6: true, framings: ['plain', 'partial', 'super', 'kernel'] }) }
      : {}),
  };
  const peer = { name: 'flannel', podCidrs: [podCidr(1)], addresses: [nodeAddress(1)], annotations };
  await overlay.sync([peer]);
  const flannel = new FlannelPeer(t, other, nodeAddress(1), { checksums: !takesAll });
  return { overlay, flannel, pod: pod!.pod, ip: pod!.ip, place, peer, folder: topology.folder };
}

async function dataPath({ stateDir }: { readonly stateDir: string }) {
  const found = await DataPathProcess.find(stateDir);
  if (found === undefined) throw new Error('no data path');
  const { hello } = found;
  const counters = await found.ask({ verb: 'counters' });
  found.disconnect();
  return { ...hello, counters };
}

/** A process that nobody has waited for is none any more. */
function isAlive(pid: number): boolean {
  try {
    return !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, 'latin1'));
  } catch {
    return false;
  }
}

for (const path of paths) {
  test(`${path}: a datagram is the bare inner packet, port 8285 both ways, counted down once, all checksums right`, async (t) => {
    const { flannel, pod, ip } = await besideFlannel(t, { path });
    const asked = pod.udp('10.244.2.7', 5_353, { localPort: 40_000, timeoutMs: 10_000 });
    const { packet, address, port } = await flannel.packet('the query arrives', (one) => one[9] === 17);
    t.is(`${address}:${port}`, `${nodeAddress(0)}:8285`);
    // 64, less one by the node's forwarding, less one by the tunnel. The rest of the header is the pod's kernel's own.
    const expected = { source: ip, sourcePort: 40_000, destination: '10.244.2.7', destinationPort: 5_353, ttl: 62 };
    const known = udpPacket({ ...expected, payload: '?' });
    known.writeUInt16BE(packet.readUInt16BE(4), 4);
    known.writeUInt16BE(0, 10);
    known.writeUInt16BE(~onesSum(known.subarray(0, 20)) & 0xffff, 10);
    t.is(packet.toString('hex'), known.toString('hex'));
    const answer = { source: '10.244.2.7', sourcePort: 5_353, destination: ip, destinationPort: 40_000, ttl: 64 };
    flannel.send(udpPacket({ ...answer, payload: 'hello' }), nodeAddress(0));
    t.deepEqual(await asked, { answer: 'hello' });
  });

  test(`${path}: TCP packets for flannel are plain, of the MTU at most, with all checksums right`, async (t) => {
    const { flannel, pod, ip, place } = await besideFlannel(t, { path });
    // Any node behind flannel's end: a second one of ours would hide what is wrong on both sides.
    const attempt = pod.tcp('10.244.2.7', 80, { timeoutMs: 500 });
    const { packet } = await flannel.packet('the SYN arrives', (one) => one[9] === 6);
    t.is(packet[0], 0x45);
    t.is(packet[32]! & 15, 0, 'reserved bits');
    t.is(onesSum(packet.subarray(0, 20)), 0xffff);
    t.is(onesSum(packet.subarray(20), onesSum(packet.subarray(12, 20), 6 + packet.length - 20)), 0xffff);
    await attempt;
    t.regex(place.run('ip', 'link', 'show', 'flannel0'), / mtu 1472 /);
    t.true(flannel.received.every((one) => one.packet.length <= 1_472));
    t.regex(ip, /^10\.244\.1\./);
  });

  test(`${path}: an inner packet at its end is answered with ICMP time exceeded, through the tunnel`, async (t) => {
    const { flannel, ip } = await besideFlannel(t, { path });
    const query = { source: '10.244.2.7', sourcePort: 9, destination: ip, destinationPort: 9, payload: 'x' };
    flannel.send(udpPacket({ ...query, ttl: 1 }), nodeAddress(0));
    const { packet } = await flannel.packet('the answer arrives', (one) => one[9] === 1);
    t.is(packet.readUInt16BE(20), 0x0b00);
    t.is(packet.subarray(12, 16).join('.'), '10.244.1.0');
    t.is(packet.subarray(16, 20).join('.'), '10.244.2.7');
    t.is(
      packet.subarray(28, 56).toString('hex'),
      udpPacket({ ...query, ttl: 1 })
        .subarray(0, 28)
        .toString('hex'),
    );
  });

  test(`${path}: what no peer has is unreachable at once, in both families`, async (t) => {
    const { nodes } = await network(t, [{ path }, { path }], true);
    const [one] = nodes as [Node, Node];
    t.deepEqual(await one.pod.tcp('10.244.77.5', 80), { error: 'ENETUNREACH' });
    t.deepEqual(await one.pod.tcp('fd44:0:0:77::5', 80), { error: 'ENETUNREACH' });
    t.is((await dataPath(one)).counters.noRoute >= 2, true);
    t.deepEqual(await one.pod.tcp('fd44:0:0:2::2', 80, { bytes: 300_000 }), { answer: 'node-1 fd44:0:0:1::2 300000' });
  });

  test(`${path}: what comes from no peer's address is dropped, unless told otherwise`, async (t) => {
    const { flannel, overlay, pod, ip, place, peer, folder } = await besideFlannel(t, { path });
    const packet = (text: string): Buffer => {
      const ports = { sourcePort: 5_353, destinationPort: 40_001 };
      return udpPacket({ source: '10.244.2.7', destination: ip, ...ports, ttl: 64, payload: text });
    };
    await overlay.sync([]);
    const asked = pod.udp('10.244.2.7', 5_353, { localPort: 40_001, timeoutMs: 500 });
    flannel.send(packet('stranger'), nodeAddress(0));
    const { stateDir } = flannelUdpOptions(place, folder);
    await until('it is counted', async () => (await dataPath({ stateDir })).counters.unknownSource > 0);
    t.not((await asked).answer, 'stranger');
    await overlay[Symbol.asyncDispose]();
    const open = openFlannelUdp(place, folder, { path, checkSource: false });
    t.teardown(() => open[Symbol.asyncDispose]());
    await open.join({ name: 'ours', podCidrs: [podCidr(0)], clusterCidrs, addresses: [nodeAddress(0)] });
    await open.sync([
      {
        ...peer,
        addresses: [nodeAddress(7)],
        annotations: { ...peer.annotations, 'flannel.alpha.coreos.com/public-ip': nodeAddress(7) },
      },
    ]);
    const again = pod.udp('10.244.2.7', 5_353, { localPort: 40_001, timeoutMs: 10_000 });
    const timer = setInterval(() => flannel.send(packet('stranger'), nodeAddress(0)), 20);
    t.deepEqual(await again, { answer: 'stranger' });
    clearInterval(timer);
  });

  test(`${path}: the agent is killed, traffic goes on, a new one takes over the same process`, async (t) => {
    const { nodes, topology } = await network(t, [{ path }, { path }]);
    const [one, two] = nodes as [Node, Node];
    await one.overlay.leave();
    await one.overlay[Symbol.asyncDispose]();
    const options = { ...flannelUdpOptions(one.place, topology.folder), path };
    const local = { name: 'node-0', podCidrs: one.peer.podCidrs, clusterCidrs, addresses: one.peer.addresses };
    const work: UdpAgentWork = { options, local, peers: [two.peer] };
    const program = fileURLToPath(new URL('./support/udp-agent.js', import.meta.url));
    const agent = runInNetns(one.place.netns, () =>
      spawn(process.execPath, [program, JSON.stringify(work)], { stdio: ['ignore', 'pipe', 'inherit'] }),
    );
    t.teardown(() => agent.kill('SIGKILL'));
    await new Promise((resolve) => agent.stdout.once('data', resolve));
    await one.pod.ask({ verb: 'openTcp', id: 'long', host: two.ip, port: 80 });
    const before = await dataPath(one);
    const ended = new Promise((resolve) => agent.once('exit', resolve));
    agent.kill('SIGKILL');
    await ended;
    t.deepEqual(await one.pod.ask({ verb: 'exchange', id: 'long', text: 'hello' }), { answer: `node-1 ${one.ip}` });
    t.deepEqual(await one.pod.tcp(two.ip, 80, { bytes: 500_000 }), { answer: `node-1 ${one.ip} 500000` });
    const kernel = snapshot(one.place);
    one.overlay = openFlannelUdp(one.place, topology.folder, { path });
    await one.overlay.join(local);
    t.deepEqual(await one.overlay.sync([two.peer]), { changed: 0 });
    t.is((await dataPath(one)).pid, before.pid);
    t.is(snapshot(one.place), kernel);
    t.deepEqual(await one.pod.ask({ verb: 'exchange', id: 'long', text: 'hello' }), { answer: `node-1 ${one.ip}` });
    await one.overlay.leave();
    // Its descriptors are closed a moment before it is gone.
    await until('the process is gone', () => !isAlive(before.pid));
    t.false(existsSync(one.stateDir));
    t.false(one.place.run('ip', 'link').includes('flannel0'));
  });

  test(`${path}: a data path that dies is started again, here and at a peer, and connections outlive it`, async (t) => {
    const { nodes } = await network(t, [{ path }, { path }]);
    const [one, two] = nodes as [Node, Node];
    await one.pod.ask({ verb: 'openTcp', id: 'long', host: two.ip, port: 80 });
    for (const node of nodes) {
      const { pid } = await dataPath(node);
      process.kill(pid, 'SIGKILL');
      await until('the repair is counted', () => node.overlay.status().repairs > 0);
      await until('it is ready', () => node.overlay.status().ready);
      t.not((await dataPath(node)).pid, pid);
      t.deepEqual(await one.pod.ask({ verb: 'exchange', id: 'long', text: 'hello', timeoutMs: 20_000 }), {
        answer: `node-1 ${one.ip}`,
      });
    }
  });
}

test('paths of both kinds, with and without the help of the kernel, understand each other', async (t) => {
  const { nodes } = await network(t, [
    { path: 'offload', threads: 1 },
    { path: 'dgram' },
    { path: 'offload', udpSegment: false, udpGro: false, threads: 2 },
    { path: 'offload', framing: 'plain', threads: 4 },
  ]);
  for (const from of nodes)
    for (const to of nodes) {
      if (from === to) continue;
      const what = `${from.peer.name} to ${to.peer.name}`;
      t.deepEqual(
        await from.pod.tcp(to.ip, 80, { bytes: 2_000_000 }),
        { answer: `${to.peer.name} ${from.ip} 2000000` },
        what,
      );
      t.deepEqual(await from.pod.udp(to.ip, 80, { bytes: 1_400 }), { answer: `${to.peer.name} ${from.ip}` }, what);
    }
  const [first, , third] = await Promise.all(nodes.map(dataPath));
  t.like(first!.features, { path: 'offload', threads: '1', udpSegment: 'yes', udpGro: 'yes' });
  t.like(third!.features, { threads: '2', udpSegment: 'no (config says off)', udpGro: 'no (config says off)' });
  // Two megabytes are 1,400 packets: a count far below says that the kernel hands them over as super-packets.
  t.true(first!.counters.sentPackets < 4_000, `${first!.counters.sentPackets} packets`);
});

test('several threads: eight streams arrive as sent and in order, and more than one thread carries them', async (t) => {
  const options = { framing: 'super', mtu: 1_452, threads: 4 } as const;
  const { nodes, topology } = await network(t, [options, { ...options, threads: 2 }]);
  const [one, two] = nodes as [Node, Node];
  for (const node of nodes) node.pod.run('ip', 'link', 'set', 'eth0', 'mtu', '1452');
  // A queue has a source port of its own, as the port modulo eight.
  const residues = [5, 6, 7, 0];
  topology.nodes[1]!.run(
    'nft',
    `table netdev seen { chain in { type filter hook ingress device eth0 priority 0; udp dport 8285 jump each; }; chain each { ${residues
      .map((residue) => `udp sport & 7 == ${residue} counter;`)
      .join(' ')} }; }`,
  );
  const run = (pod: Place, ...args: readonly string[]) => {
    const child = runInNetns(pod.netns, () =>
      spawn(process.execPath, [streams, ...args], { stdio: ['ignore', 'pipe', 'inherit'] }),
    );
    t.teardown(() => child.kill('SIGKILL'));
    return once(child.stdout, 'data').then(([line]) => JSON.parse(String(line)) as unknown);
  };
  await run(two.pod, 'serve', '7000');
  const result = (await run(one.pod, 'send', two.ip, '7000', '8', '4000000')) as StreamsResult;
  t.deepEqual(result, { equal: 8, rows: 8, overtaken: 0 });
  const { features, counters } = await dataPath(one);
  t.is(features['threads'], '4');
  t.true(counters.sentSupers > 10, 'as super-packets');
  const seen = topology.nodes[1]!.run('nft', 'list table netdev seen');
  const busy = [...seen.matchAll(/packets (\d+)/g)].filter(([, packets]) => Number(packets) > 0);
  t.true(busy.length > 1, seen);
});

test('where the MTU leaves room, super-packets travel as such, also with losses', async (t) => {
  const { nodes, topology } = await network(t, [
    { mtu: 1_452, framing: 'super' },
    { mtu: 1_452, framing: 'super' },
  ]);
  const [one, two] = nodes as [Node, Node];
  for (const node of nodes) node.pod.run('ip', 'link', 'set', 'eth0', 'mtu', '1452');
  topology.nodes[1]!.run(
    'nft',
    'table netdev loss { chain in { type filter hook ingress device eth0 priority 0; udp dport 8285 numgen random mod 200 < 1 drop; }; }',
  );
  t.deepEqual(await one.pod.tcp(two.ip, 80, { bytes: 8_000_000, timeoutMs: 60_000 }), {
    answer: `node-1 ${one.ip} 8000000`,
  });
  t.is(one.overlay.status().mtuBytes, 1_452);
  t.true((await dataPath(one)).counters.sentSupers > 10, 'as super-packets');
  const { uses, framings } = JSON.parse(one.peer.annotations['pintle.dev/flannel-udp'] ?? '') as Record<
    string,
    unknown
  >;
  t.like(uses, { path: 'offload', udpSegment: 'yes', kernel: 'no (config says off)' });
  t.deepEqual(framings, ['plain', 'partial', 'super']);
});

/** Root of a user namespace may not load BPF programs. */
const mayBpf = readFileSync('/proc/self/uid_map', 'latin1').includes('4294967295');
const withBpf = mayBpf ? test : test.skip;

withBpf(
  'between nodes that can, packets of both families stay in the kernel; whoever cannot goes the long way',
  async (t) => {
    const { nodes, sync } = await network(t, [{}, {}, { framing: 'plain' }], true);
    const [one, two, three] = nodes as [Node, Node, Node];
    t.is(one.overlay.status().uses?.['kernel'], 'yes');
    t.like(JSON.parse(one.peer.annotations['pintle.dev/flannel-udp'] ?? ''), {
      framings: ['plain', 'partial', 'super', 'kernel'],
    });
    t.deepEqual(await one.pod.tcp(two.ip, 80, { bytes: 20_000_000, timeoutMs: 60_000 }), {
      answer: `node-1 ${one.ip} 20000000`,
    });
    t.deepEqual(await two.pod.udp(one.ip, 80, { bytes: 1_400 }), { answer: `node-0 ${two.ip}` });
    const { sentByKernel, sentPackets, receivedByKernel } = (await dataPath(one)).counters;
    t.true(sentByKernel > 300 && receivedByKernel > 10, `${sentByKernel} sent, ${receivedByKernel} received`);
    t.true(sentPackets - sentByKernel < 20, `${sentPackets} sent, ${sentByKernel} of them by the kernel`);

    // A peer without: its datagrams go by way of the socket, in both directions.
    t.deepEqual(await one.pod.tcp(three.ip, 80, { bytes: 300_000 }), { answer: `node-2 ${one.ip} 300000` });
    t.deepEqual(await three.pod.tcp(one.ip, 80, { bytes: 300_000 }), { answer: `node-0 ${three.ip} 300000` });
    t.is((await dataPath(three)).counters.sentByKernel, 0);

    const before = (await dataPath(one)).counters;
    t.deepEqual(await one.pod.tcp('fd44:0:0:2::2', 80, { bytes: 20_000_000, timeoutMs: 60_000 }), {
      answer: 'node-1 fd44:0:0:1::2 20000000',
    });
    const after = (await dataPath(one)).counters;
    t.true(after.sentByKernel - before.sentByKernel > 300, JSON.stringify(after));
    t.true(after.sentPackets - after.sentByKernel - (before.sentPackets - before.sentByKernel) < 20);
    t.deepEqual(await three.pod.tcp('fd44:0:0:1::2', 80, { bytes: 300_000 }), {
      answer: 'node-0 fd44:0:0:3::2 300000',
    });

    // Taken off its device by somebody, the program is there again.
    one.place.run('tc', 'qdisc', 'del', 'dev', 'flannel0', 'clsact');
    await until('the kernel sends again', async () => {
      t.deepEqual(await one.pod.udp(two.ip, 80, { bytes: 100 }), { answer: `node-1 ${one.ip}` });
      return (await dataPath(one)).counters.sentByKernel > after.sentByKernel;
    });

    // Who is no peer any more is not carried, and is again when it is one.
    await one.overlay.sync([three.peer]);
    t.truthy((await one.pod.tcp(two.ip, 80, { timeoutMs: 1_000 })).error);
    await sync();
    t.deepEqual(await one.pod.tcp(two.ip, 80), { answer: `node-1 ${one.ip} 0` });
  },
);

withBpf('the kernel makes and takes the same datagrams as user space does', async (t) => {
  const { flannel, pod, ip, overlay, peer, place, folder } = await besideFlannel(t, {}, true);
  // Else the last of the work is left to the other end of the cable.
  setTxChecksumOffload('eth0', false, { netns: place.netns });
  const asked = pod.udp('10.244.2.7', 5_353, { localPort: 40_000, timeoutMs: 10_000 });
  const { packet, address, port } = await flannel.packet('the query arrives', (one) => one[9] === 17);
  t.is(address, nodeAddress(0));
  // A port of the flow's own; the one that it goes to is the socket's.
  t.true(port >= 49_152, String(port));
  const expected = { source: ip, sourcePort: 40_000, destination: '10.244.2.7', destinationPort: 5_353, ttl: 62 };
  const known = udpPacket({ ...expected, payload: '?' });
  known.writeUInt16BE(packet.readUInt16BE(4), 4);
  known.writeUInt16BE(0, 10);
  known.writeUInt16BE(~onesSum(known.subarray(0, 20)) & 0xffff, 10);
  t.is(packet.toString('hex'), known.toString('hex'));
  const back = { source: '10.244.2.7', sourcePort: 5_353, destination: ip, destinationPort: 40_000 };
  flannel.send(udpPacket({ ...back, ttl: 64, payload: 'hello' }), nodeAddress(0));
  t.deepEqual(await asked, { answer: 'hello' });
  const { stateDir } = flannelUdpOptions(place, folder);
  t.like((await dataPath({ stateDir })).counters, { sentByKernel: 1, receivedByKernel: 1, sentPackets: 1 });

  // At its end, and from a stranger: as ever.
  flannel.send(udpPacket({ ...back, ttl: 1, payload: 'x' }), nodeAddress(0));
  const { packet: error } = await flannel.packet('the answer arrives', (one) => one[9] === 1);
  t.is(error.readUInt16BE(20), 0x0b00);
  await overlay.sync([]);
  flannel.send(udpPacket({ ...back, ttl: 64, payload: 'stranger' }), nodeAddress(0));
  await until('it is counted', async () => (await dataPath({ stateDir })).counters.unknownSource > 0);

  // The underlay's link is replaced: the programs follow.
  await overlay.sync([peer]);
  place.run('ip', 'address', 'del', `${nodeAddress(0)}/24`, 'dev', 'eth0');
  place.run('ip', 'link', 'add', 'spare0', 'type', 'veth', 'peer', 'name', 'spare1');
  place.run('ip', 'address', 'add', `${nodeAddress(0)}/24`, 'dev', 'spare0');
  place.run('ip', 'address', 'del', `${nodeAddress(0)}/24`, 'dev', 'spare0');
  place.run('ip', 'address', 'add', `${nodeAddress(0)}/24`, 'dev', 'eth0');
  const answered = async (): Promise<boolean> => {
    const again = pod.udp('10.244.2.7', 5_353, { localPort: 40_000, timeoutMs: 500 });
    const timer = setInterval(
      () => flannel.send(udpPacket({ ...back, ttl: 64, payload: 'again' }), nodeAddress(0)),
      20,
    );
    const { answer } = await again;
    clearInterval(timer);
    return answer === 'again' && (await dataPath({ stateDir })).counters.receivedByKernel > 1;
  };
  await until('the programs are back on the link', answered);
});

/** By TCP: how many packets the pod at the end got, and how many of them went through which link before. */
async function send20MB(t: ExecutionContext, one: Node, two: Node, address = two.ip, from = one.ip) {
  const look = async () => {
    const [link] = JSON.parse(two.pod.run('ip', '-j', '-s', 'link', 'show', 'eth0')) as [
      { readonly stats64: { readonly rx: { readonly packets: number } } },
    ];
    const { gatheredByKernel, unmarkedByKernel } = (await dataPath(two)).counters;
    return { packets: link.stats64.rx.packets, gathered: gatheredByKernel, unmarked: unmarkedByKernel };
  };
  const before = await look();
  t.deepEqual(await one.pod.tcp(address, 80, { bytes: 20_000_000, timeoutMs: 60_000 }), {
    answer: `node-1 ${from} 20000000`,
  });
  const after = await look();
  return {
    packets: after.packets - before.packets,
    gathered: after.gathered - before.gathered,
    unmarked: after.unmarked - before.unmarked,
  };
}

withBpf('what passes the underlay whole comes whole to a pod on a bridge', async (t) => {
  const { nodes } = await network(t, [{}, {}], true);
  const [one, two] = nodes as [Node, Node];
  for (const [address, from] of [
    [two.ip, one.ip],
    ['fd44:0:0:2::2', 'fd44:0:0:1::2'],
  ] as const) {
    const { packets, unmarked, gathered } = await send20MB(t, one, two, address, from);
    // Cut they are some 14,000.
    t.true(packets < 4_000, `${packets} packets`);
    t.true(unmarked > 100, `${unmarked} through the tunnel`);
    t.is(gathered, 0);
  }
});

withBpf('where every packet arrives by itself, TCP is gathered before the node sees it', async (t) => {
  const { nodes, topology } = await network(t, [{}, {}], true);
  const [one, two] = nodes as [Node, Node];
  for (const { place } of nodes) {
    place.run('ip', 'link', 'set', 'dev', 'eth0', 'gso_max_segs', '1');
    setSegmentationOffload('eth0', false, { netns: place.netns });
  }
  const bulk = (address?: string, from?: string) => send20MB(t, one, two, address, from);
  await until('it gathers', async () => (await bulk()).gathered > 0);
  for (const [address, from] of [
    [two.ip, one.ip],
    ['fd44:0:0:2::2', 'fd44:0:0:1::2'],
  ] as const) {
    const { gathered, packets } = await bulk(address, from);
    // 20 MB are some 14,000 packets.
    t.true(gathered > 10_000, `${gathered} gathered`);
    t.true(packets < gathered * 0.8, `${packets} of ${gathered} arrived`);
  }
  const queues = Math.min(availableParallelism(), 16);
  t.regex(two.place.run('ip', '-d', 'link', 'show', 'flannel0-gather'), new RegExp(` numrxqueues ${queues} `));
  const { gatheredByKernel } = (await dataPath(two)).counters;
  t.deepEqual(await one.pod.udp(two.ip, 80, { bytes: 1_400 }), { answer: `node-1 ${one.ip}` });
  t.is((await dataPath(two)).counters.gatheredByKernel, gatheredByKernel, 'UDP goes by');
  const steering = 'mount -t sysfs none /sys && cat /sys/class/net/flannel0-gather/queues/rx-*/rps_cpus';
  const processors = two.place.run('unshare', '--mount', 'sh', '-c', steering).trim().split('\n');
  if (queues > 1)
    t.deepEqual(
      processors.map((mask) => BigInt(`0x${mask.replaceAll(',', '')}`)),
      Array.from({ length: queues }, (_, queue) => 1n << BigInt(queue)),
    );

  // Where packets are lost, acknowledgements leave from the processor that the flow's packets come to.
  const steered = async (): Promise<number> => (await dataPath(two)).counters.steeredByKernel;
  if (queues > 1) {
    const losing = 'type filter hook ingress device port0 priority 0; udp dport 8285 numgen random mod 50 < 1 drop;';
    topology.underlay.run('nft', `table netdev loss { chain in { ${losing} }; }`);
    for (const [address, from] of [
      [two.ip, one.ip],
      ['fd44:0:0:2::2', 'fd44:0:0:1::2'],
    ] as const) {
      const before = await steered();
      await until(`those to ${from} do`, async () => {
        await bulk(address, from);
        return (await steered()) > before + 10;
      });
    }
    topology.underlay.run('nft', 'delete', 'table', 'netdev', 'loss');
  }

  // Nothing large any more that they could overtake.
  const connections = async (): Promise<number> => {
    const before = (await dataPath(two)).counters.gatheredByKernel;
    for (let count = 0; count < 20; count += 1)
      t.deepEqual(await one.pod.tcp(two.ip, 80), { answer: `node-1 ${one.ip} 0` });
    return (await dataPath(two)).counters.gatheredByKernel - before;
  };
  await until('small packets go by, too', async () => (await connections()) === 0);
  t.true((await bulk()).gathered > 10_000);

  // What it is done with is the overlay's own: there again, when it is needed, after somebody took it away.
  const { pid } = await dataPath(two);
  two.place.run('ip', 'link', 'set', 'flannel0-gather', 'down');
  await until('the repair is counted', () => two.overlay.status().repairs > 0);
  await until('it is ready', () => two.overlay.status().ready);
  t.not((await dataPath(two)).pid, pid);
  await until('it gathers again', async () => (await bulk()).gathered > 0);

  // Whole again: no more of it.
  for (const { place } of nodes) {
    place.run('ip', 'link', 'set', 'dev', 'eth0', 'gso_max_segs', '65535');
    setSegmentationOffload('eth0', true, { netns: place.netns });
  }
  await until('nothing is gathered', async () => (await bulk()).gathered < 1_000);
  await two.overlay.leave();
  t.notRegex(two.place.run('ip', 'link'), /flannel0/);
});

test('among many peers the right one is found, and a second sync changes nothing', async (t) => {
  const { nodes } = await network(t, [{}, {}]);
  const [one, two] = nodes as [Node, Node];
  const many = Array.from({ length: 500 }, (_, index): Peer => {
    const publicIp = `10.99.${index >> 8}.${index & 255}`;
    const annotations = { ...two.peer.annotations, 'flannel.alpha.coreos.com/public-ip': publicIp };
    const range = `10.244.${10 + (index >> 2)}.${(index & 3) * 64}/26`;
    return { name: `far-${index}`, podCidrs: [range], addresses: [publicIp], annotations };
  });
  t.deepEqual(await one.overlay.sync([...many, two.peer]), { changed: 500 });
  t.deepEqual(await one.overlay.sync([two.peer, ...[...many].reverse()]), { changed: 0 });
  t.deepEqual(await one.pod.tcp(two.ip, 80), { answer: `node-1 ${one.ip} 0` });
  t.is((await one.pod.tcp('10.244.200.1', 80, { timeoutMs: 3_000 })).error, 'ENETUNREACH');
  t.deepEqual(await one.overlay.sync([two.peer]), { changed: 500 });
});

test('the MTU follows the underlay, and a node address that is nowhere is refused', async (t) => {
  const { nodes } = await network(t, [{}]);
  const [one] = nodes as [Node];
  one.place.run('ip', 'link', 'set', 'eth0', 'mtu', '1400');
  await until('the device follows', () => one.place.run('ip', 'link', 'show', 'flannel0').includes(' mtu 1372 '));
  t.is(one.overlay.status().mtuBytes, 1_372);
  const elsewhere = { name: 'node-0', podCidrs: one.peer.podCidrs, clusterCidrs, addresses: ['192.168.98.1'] };
  await t.throwsAsync(one.overlay.join(elsewhere), { code: 'KERNEL_REFUSED' });
  await t.throwsAsync(one.overlay.join({ ...elsewhere, addresses: ['fd99::1'] }), { code: 'UNSUPPORTED' });
});

const rawSocket = openRawSocket();
if (typeof rawSocket !== 'string') rawSocket.close();
const withRawSocket = typeof rawSocket === 'string' ? test.skip : test;
const why = typeof rawSocket === 'string' ? ` (${rawSocket}; it needs g++, make and python3 when npm installs it)` : '';

withRawSocket(`package raw-socket puts packets into the node as the device does${why}`, async (t) => {
  const { nodes } = await network(t, [
    { path: 'dgram', inject: 'raw-socket' },
    { path: 'dgram', inject: 'tun' },
  ]);
  const [one, two] = nodes as [Node, Node];
  t.deepEqual(await one.pod.tcp(two.ip, 80, { bytes: 300_000 }), { answer: `node-1 ${one.ip} 300000` });
  t.deepEqual(await two.pod.tcp(one.ip, 80, { bytes: 300_000 }), { answer: `node-0 ${two.ip} 300000` });
  t.is((await dataPath(one)).features['inject'], 'raw-socket (IPv6: tun)');
  t.is((await dataPath(two)).features['inject'], 'tun (config says tun)');
  t.is(
    udpSum(
      udpPacket({
        source: '10.0.0.1',
        sourcePort: 1,
        destination: '10.0.0.2',
        destinationPort: 2,
        ttl: 9,
        payload: 'ab',
      }),
    ),
    0xffff,
  );
});
