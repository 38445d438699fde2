import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import type { ProxyEndpoint, ProxyPort, ProxyState } from '../../kernel/contract/index.ts';
import type { NftablesProxy } from '../../netplugins/proxies/nftables/nftables-proxy.ts';
import { openConntrack } from '../../netplugins/linux/conntrack.ts';
import { readSysctl, writeSysctl } from '../../netplugins/linux/sysctl.ts';
import { createCluster, type Member } from './support/cluster.ts';
import { openNftablesProxy } from './support/nftables-place.ts';
import { endpoints, port, proxyState, vip } from './support/service-ports.ts';
import { checkServiceRange } from './support/service-range.ts';
import { answerMs, nodeAddress, patience, snapshot, underlayAddress, until, type Place } from './support/topology.ts';

interface Scope {
  teardown(undo: () => unknown): void;
}

const state = (index: number, ...ports: readonly ProxyPort[]): ProxyState => proxyState([nodeAddress(index)], ports);

async function setUp(
  t: Scope,
  count = 2,
): Promise<{ members: Member[]; proxy: NftablesProxy; outside: Place; pod: (name: string) => Place }> {
  const { members, topology } = await createCluster(t, count);
  const proxy = openNftablesProxy(topology.nodes[0]!);
  t.teardown(() => proxy[Symbol.asyncDispose]());
  return { members, proxy, outside: topology.underlay, pod: (name) => topology.pod(name) };
}

/** The names that answer `count` connections. */
async function answers(from: Place, host: string, to: number, count = 24): Promise<string[]> {
  const all: string[] = [];
  for (let index = 0; index < count; index += 1) {
    const { answer, error } = await from.tcp(host, to);
    all.push(error ?? answer?.split(' ')[0] ?? '');
  }
  return [...new Set(all)].sort();
}

test('a pod and the node reach every endpoint of a Service over TCP and UDP; a pod keeps its address', async (t) => {
  const { members, proxy } = await setUp(t);
  const [one, two] = members as [Member, Member];
  const tcp = port({ endpoints: endpoints(one, one, two) });
  const udp = port({ protocol: 'UDP', name: 'dns', endpoints: endpoints(one, one, two) });
  const { changed } = await proxy.sync(state(0, tcp, udp));
  t.true(changed > 0);
  t.deepEqual(await answers(one.pod, vip, 8000), ['node-0', 'node-1']);
  t.deepEqual(await answers(one.node, vip, 8000), ['node-0', 'node-1']);
  const remote = port({ service: 'remote', clusterIps: ['10.96.0.2'], endpoints: endpoints(one, two) });
  await proxy.sync(state(0, tcp, udp, remote));
  t.deepEqual(await one.pod.tcp('10.96.0.2', 8000), { answer: `node-1 ${one.ip} 0` });
  t.deepEqual(await one.pod.tcp('10.96.0.2', 8000, { bytes: 500_000 }), { answer: `node-1 ${one.ip} 500000` });
  t.deepEqual(await one.node.tcp('10.96.0.2', 8000), { answer: 'node-1 10.244.1.0 0' }, 'the node is masqueraded');
  t.regex((await one.pod.udp(vip, 8000)).answer ?? '', /^node-[01] 10\.244\.1\.[12]$/);
});

test('a second identical sync changes nothing, from equal objects too', async (t) => {
  const { members, proxy } = await setUp(t);
  const [one, two] = members as [Member, Member];
  const make = (): ProxyState =>
    state(
      0,
      port({ endpoints: endpoints(one, one, two), nodePort: 30080 }),
      port({ service: 'sticky', clusterIps: ['10.96.0.3'], affinitySeconds: 60, endpoints: endpoints(one, one, two) }),
      port({ service: 'empty', clusterIps: ['10.96.0.4'] }),
    );
  const first = make();
  t.true((await proxy.sync(first)).changed > 0);
  const before = snapshot(one.node);
  t.deepEqual(await proxy.sync(first), { changed: 0 });
  t.deepEqual(await proxy.sync(make()), { changed: 0 });
  t.is(snapshot(one.node), before);
});

for (const bridgeNetfilter of ['0', '1']) {
  test(`a pod reaches itself and its neighbour through a Service, bridge-nf-call-iptables=${bridgeNetfilter}`, async (t) => {
    const { members, proxy, pod } = await setUp(t);
    const [one] = members as [Member];
    for (const name of ['net.bridge.bridge-nf-call-iptables', 'net.bridge.bridge-nf-call-ip6tables'])
      if (readSysctl(name, one.node) !== undefined) writeSysctl(name, bridgeNetfilter, one.node);
    const neighbour = pod('neighbour');
    const request = { sandboxId: 'n', podNamespace: 'default', podName: 'n', netns: neighbour.netns, hostPorts: [] };
    const { ips } = await one.attachment.add(request);
    await neighbour.serve(80, 'neighbour');
    const both = [one.ip, ips[0] ?? ''].map((address) => ({ ...endpoints(one, one)[0]!, address }));
    await proxy.sync(state(0, port({ endpoints: both }), port({ protocol: 'UDP', endpoints: both })));
    t.deepEqual(await answers(one.pod, vip, 8000), ['neighbour', 'node-0']);
    t.deepEqual(await answers(neighbour, vip, 8000), ['neighbour', 'node-0']);
    await proxy.sync(
      state(0, port({ endpoints: both.slice(1) }), port({ protocol: 'UDP', endpoints: both.slice(0, 1) })),
    );
    t.deepEqual(await one.pod.tcp(vip, 8000), { answer: 'neighbour 10.244.1.2 0' }, 'the client keeps its address');
    t.deepEqual(await neighbour.tcp(vip, 8000), { answer: 'neighbour 10.244.1.1 0' });
    t.deepEqual(await one.pod.udp(vip, 8000), { answer: 'node-0 10.244.1.1' });
    t.deepEqual(await one.pod.tcp('10.244.1.3', 80), { answer: 'neighbour 10.244.1.2 0' });
  });
}

test('a pod reaches itself through its Service', async (t) => {
  const { members, proxy } = await setUp(t);
  const [one] = members as [Member];
  await proxy.sync(
    state(0, port({ endpoints: endpoints(one, one) }), port({ protocol: 'UDP', endpoints: endpoints(one, one) })),
  );
  t.deepEqual(await one.pod.tcp(vip, 8000), { answer: 'node-0 10.244.1.1 0' });
  t.deepEqual(await one.pod.udp(vip, 8000), { answer: 'node-0 10.244.1.1' });
});

test('a Service without endpoints refuses at once, TCP and UDP, from pods, the node and outside', async (t) => {
  const { members, proxy, outside } = await setUp(t);
  const [one] = members as [Member];
  await proxy.sync(state(0, port({ nodePort: 30080 }), port({ protocol: 'UDP', nodePort: 30080 })));
  for (const from of [one.pod, one.node]) {
    t.deepEqual(await from.tcp(vip, 8000), { error: 'ECONNREFUSED' });
    t.deepEqual(await from.udp(vip, 8000), { error: 'ECONNREFUSED' });
  }
  t.deepEqual(await outside.tcp(nodeAddress(0), 30080), { error: 'ECONNREFUSED' });
  t.deepEqual(await outside.udp(nodeAddress(0), 30080), { error: 'ECONNREFUSED' });
  t.deepEqual(await one.pod.tcp(vip, 8001), { error: 'ECONNREFUSED' }, 'a port that the Service does not have');
  t.deepEqual(await one.node.tcp(vip, 8001), { error: 'ECONNREFUSED' });
});

test('a NodePort answers at the node addresses, from outside, pods and the node itself', async (t) => {
  const { members, proxy, outside } = await setUp(t);
  const [one, two] = members as [Member, Member];
  await proxy.sync(state(0, port({ nodePort: 30080, endpoints: endpoints(one, one, two) })));
  t.deepEqual(await answers(outside, nodeAddress(0), 30080), ['node-0', 'node-1']);
  t.deepEqual(await answers(one.pod, nodeAddress(0), 30080), ['node-0', 'node-1']);
  t.deepEqual(await answers(one.node, nodeAddress(0), 30080), ['node-0', 'node-1']);
  t.deepEqual(await outside.tcp('10.244.1.1', 30080, { timeoutMs: 300 }).then(({ answer }) => answer), undefined);
});

test('external and load-balancer addresses are served, the latter to its source ranges only', async (t) => {
  const { members, proxy, outside } = await setUp(t);
  const [one, two] = members as [Member, Member];
  outside.run('ip', 'route', 'add', '198.51.100.0/24', 'via', nodeAddress(0));
  const open = port({
    externalIps: ['198.51.100.1'],
    loadBalancerIps: ['198.51.100.2'],
    endpoints: endpoints(one, one, two),
  });
  await proxy.sync(state(0, open));
  t.deepEqual(await answers(outside, '198.51.100.1', 8000), ['node-0', 'node-1']);
  t.deepEqual(await answers(outside, '198.51.100.2', 8000), ['node-0', 'node-1']);
  await proxy.sync(
    state(0, { ...open, loadBalancerSourceRanges: ['203.0.113.0/24', '203.0.113.128/25', '10.244.0.0/16'] }),
  );
  t.deepEqual(await outside.tcp('198.51.100.2', 8000, { timeoutMs: 500 }), { error: 'TIMEOUT' });
  t.deepEqual(await answers(one.pod, '198.51.100.2', 8000), ['node-0', 'node-1'], 'pods are in the range');
  t.deepEqual(await answers(outside, '198.51.100.1', 8000), ['node-0', 'node-1'], 'not restricted');
  await proxy.sync(state(0, { ...open, loadBalancerSourceRanges: [`${underlayAddress}/32`] }));
  t.deepEqual(await answers(outside, '198.51.100.2', 8000), ['node-0', 'node-1']);
});

test('session affinity holds a client at one endpoint; one that went and came back is new to it', async (t) => {
  const { members, proxy } = await setUp(t);
  const [one, two] = members as [Member, Member];
  const numbers = Array.from({ length: 8 }, (_, index) => 8100 + index);
  const sticky = (...list: readonly Member[]): ProxyState =>
    state(
      0,
      ...numbers.map((number) =>
        port({ name: `p${number}`, port: number, affinitySeconds: 600, endpoints: endpoints(one, ...list) }),
      ),
    );
  const held = async (): Promise<string> =>
    (await Promise.all(numbers.map((number) => answers(one.pod, vip, number, 2)))).join();
  await proxy.sync(sticky(one, two));
  const first = await held();
  t.is(await held(), first);
  const [gone, other] = first.startsWith('node-0') ? [one, two] : [two, one];
  await proxy.sync(sticky(other));
  const moved = first.replaceAll(gone.peer.name, other.peer.name);
  t.not(moved, first);
  t.is(await held(), moved, 'its endpoint is gone');
  await proxy[Symbol.asyncDispose]();
  const next = openNftablesProxy(one.node);
  t.teardown(() => next[Symbol.asyncDispose]());
  await next.sync(sticky(gone, other));
  t.is(await held(), moved, 'it stays where it went');
});

test('more endpoints than the rules for all draw from, with affinity: TCP and UDP, every address, no number left', async (t) => {
  const { members, proxy, outside } = await setUp(t);
  const [one, two] = members as [Member, Member];
  one.node.run(
    'nft',
    'add table ip seen; add chain ip seen out { type filter hook postrouting priority 300; };' +
      'add rule ip seen out ct status dnat meta priority != 0 counter; add rule ip seen out ct status dnat counter',
  );
  const all = Array.from({ length: 40 }, (_, index) => ({ ...endpoints(one, one)[0]!, port: 8100 + index }));
  for (const { port: at } of all) await one.pod.serve(at, `at-${at}`);
  for (const [seconds, count] of [
    [600, 40],
    [10_800, 17],
    [10_800, 40],
  ] as const) {
    const list = all.slice(0, count);
    const sticky = { affinitySeconds: seconds, nodePort: 30080, endpoints: list, externalPolicy: 'Local' } as const;
    const ports = [8000, 8001, 8002, 8003].map((number, index) =>
      port({ ...sticky, name: `p${number}`, port: number, nodePort: 30080 + index }),
    );
    await proxy.sync(state(0, ...ports, port({ ...sticky, protocol: 'UDP' })));
    const drawn = new Set<string>();
    for (const { port: number, nodePort } of ports) {
      const held = await answers(one.node, vip, number, 6);
      t.is(held.length, 1);
      t.deepEqual(await answers(one.node, nodeAddress(0), nodePort!, 6), held, `${number} at the NodePort`);
      for (const name of [...held, ...(await answers(outside, nodeAddress(0), nodePort!, 6))]) drawn.add(name);
    }
    t.true(drawn.size > 1 && [...drawn].every((name) => name.startsWith('at-')), [...drawn].join());
    const udp = new Set<string>();
    for (let localPort = 42_000; localPort < 42_008; localPort += 1)
      udp.add((await two.pod.udp(nodeAddress(0), 30080, { localPort })).answer?.split(' ')[0] ?? 'none');
    t.is(udp.size, 1, 'one client, however many flows');
    t.regex([...udp][0] ?? '', /^at-/);
  }
  const seen = one.node.run('nft', 'list', 'chain', 'ip', 'seen', 'out');
  t.regex(seen, /priority != none counter packets 0 bytes 0\n[^\n]* counter packets [1-9]/);
});

test('local policies: only endpoints of the node, else dropped; pods and the node are not external', async (t) => {
  const { members, proxy, outside } = await setUp(t);
  const [one, two] = members as [Member, Member];
  const local = port({
    internalPolicy: 'Local',
    externalPolicy: 'Local',
    nodePort: 30080,
    endpoints: endpoints(one, one, two),
  });
  await proxy.sync(state(0, local));
  t.deepEqual(await answers(one.pod, vip, 8000), ['node-0']);
  t.deepEqual(
    await outside.tcp(nodeAddress(0), 30080),
    { answer: `node-0 ${underlayAddress} 0` },
    "the client's address is kept",
  );
  t.deepEqual(await answers(outside, nodeAddress(0), 30080), ['node-0']);
  t.deepEqual(await answers(one.pod, nodeAddress(0), 30080), ['node-0', 'node-1']);
  t.deepEqual(await answers(one.node, nodeAddress(0), 30080), ['node-0', 'node-1']);
  await proxy.sync(state(0, { ...local, endpoints: endpoints(one, two) }));
  t.deepEqual(await one.pod.tcp(vip, 8000, { timeoutMs: 300 }), { error: 'TIMEOUT' });
  t.deepEqual(await outside.tcp(nodeAddress(0), 30080, { timeoutMs: 300 }), { error: 'TIMEOUT' });
  t.deepEqual(await answers(one.pod, nodeAddress(0), 30080), ['node-1']);
  await proxy.sync(state(0, { ...local, endpoints: [] }));
  t.deepEqual(await one.pod.tcp(vip, 8000), { error: 'ECONNREFUSED' });
  t.deepEqual(await outside.tcp(nodeAddress(0), 30080), { error: 'ECONNREFUSED' });
});

test('terminating endpoints that serve are used only when none is ready', async (t) => {
  const { members, proxy } = await setUp(t);
  const [one, two] = members as [Member, Member];
  const [ready, leaving] = endpoints(one, one, two) as [ProxyEndpoint, ProxyEndpoint];
  const terminating = { ...leaving, ready: false, terminating: true };
  await proxy.sync(state(0, port({ endpoints: [ready, terminating] })));
  t.deepEqual(await answers(one.pod, vip, 8000), ['node-0']);
  await proxy.sync(state(0, port({ endpoints: [{ ...ready, ready: false, serving: false }, terminating] })));
  t.deepEqual(await answers(one.pod, vip, 8000), ['node-1']);
  await proxy.sync(state(0, port({ endpoints: [{ ...terminating, serving: false }] })));
  t.deepEqual(await one.pod.tcp(vip, 8000), { error: 'ECONNREFUSED' });
});

test('one address has several ports and protocols, each with its own endpoints', async (t) => {
  const { members, proxy } = await setUp(t);
  const [one, two] = members as [Member, Member];
  await proxy.sync(
    state(
      0,
      port({ endpoints: endpoints(one, one) }),
      port({ name: 'admin', port: 9000, endpoints: endpoints(one, two) }),
      port({ name: 'udp', protocol: 'UDP', endpoints: endpoints(one, two) }),
    ),
  );
  t.deepEqual(await answers(one.pod, vip, 8000), ['node-0']);
  t.deepEqual(await answers(one.pod, vip, 9000), ['node-1']);
  t.regex((await one.pod.udp(vip, 8000)).answer ?? '', /^node-1 /);
});

test('a packet of an endpoint that is out of its connection is dropped, not passed on untranslated', async (t) => {
  const { members, proxy } = await setUp(t);
  const [one, two] = members as [Member, Member];
  await proxy.sync(state(0, port({ endpoints: endpoints(one, two) })));
  await one.pod.ask({ verb: 'openTcp', id: 'long', host: vip, port: 8000 });
  const exchange = (timeoutMs: number) => one.pod.ask({ verb: 'exchange', id: 'long', text: 'hello', timeoutMs });
  t.deepEqual(await exchange(answerMs), { answer: `node-1 ${one.ip}` });
  const counter = `add table ip seen; add chain ip seen in { type filter hook prerouting priority -300; };
    add rule ip seen in ip saddr ${two.ip} counter`;
  one.pod.run('nft', counter);
  const strangers = (): boolean => !/counter packets 0 /.test(one.pod.run('nft', 'list', 'table', 'ip', 'seen'));
  // The server's packets leave without any flag: no connection has such.
  const wrong = `add table ip wrong; add chain ip wrong out { type filter hook postrouting priority 300; };
    add rule ip wrong out tcp sport 80 tcp flags set 0x0`;
  two.pod.run('nft', wrong);
  t.deepEqual(await exchange(patience(700)), { error: 'TIMEOUT' });
  t.false(strangers());
  two.pod.run('nft', 'delete table ip wrong');
  await until('the connection goes on', async () => (await exchange(patience(700))).answer === `node-1 ${one.ip}`);
  await proxy[Symbol.asyncDispose]();
  two.pod.run('nft', wrong);
  one.node.run('nft', 'flush chain ip pintle-proxy filter-forward');
  await exchange(patience(700));
  await until('what the rule keeps away comes', strangers);
  t.pass();
});

test('IPv6 services', async (t) => {
  const { members } = await createCluster(t, 2, { dual: true });
  const [one, two] = members as [Member, Member];
  const proxy = openNftablesProxy(one.node);
  t.teardown(() => proxy[Symbol.asyncDispose]());
  one.node.run('ip', '-6', 'route', 'add', 'default', 'via', 'fd99::ffff');
  const both = [one, two].map((member, index) => ({
    ...endpoints(one, member)[0]!,
    address: `fd44:0:0:${index + 1}::2`,
  }));
  await proxy.sync(
    state(
      0,
      port({ clusterIps: ['fd96::1'], endpoints: both }),
      port({ service: 'self', clusterIps: ['fd96::2'], endpoints: both.slice(0, 1) }),
      port({ service: 'none', clusterIps: ['fd96::3'] }),
      port({ service: 'sticky', clusterIps: ['fd96::4'], affinitySeconds: 60, endpoints: both }),
    ),
  );
  t.deepEqual(await answers(one.pod, 'fd96::1', 8000), ['node-0', 'node-1']);
  t.deepEqual(await answers(one.node, 'fd96::1', 8000), ['node-0', 'node-1']);
  t.regex((await one.pod.tcp('fd96::2', 8000)).answer ?? '', /^node-0 fd44:0:0:1::1 /);
  t.deepEqual(await one.pod.tcp('fd96::3', 8000), { error: 'ECONNREFUSED' });
  t.is((await answers(one.pod, 'fd96::4', 8000)).length, 1);
});

test('the service range is refused but for what Services, the node and others have in it', async (t) => {
  const { members, topology } = await createCluster(t, 2, { dual: true });
  const [one, two] = members as [Member, Member];
  const proxy = openNftablesProxy(one.node);
  t.teardown(() => proxy[Symbol.asyncDispose]());
  const sync = () => proxy.sync(state(0, port({ endpoints: endpoints(one, two) })));
  await checkServiceRange(t, { one, two, underlay: topology.underlay, isDual: true, sync });
});

test('endpoints come and go one by one, each sync as small as the change', async (t) => {
  const { members, proxy } = await setUp(t, 3);
  const [one, two, three] = members as [Member, Member, Member];
  await proxy.sync(state(0, port({ endpoints: endpoints(one, one, two, three) })));
  t.deepEqual(await answers(one.pod, vip, 8000, 40), ['node-0', 'node-1', 'node-2']);
  const { changed } = await proxy.sync(state(0, port({ endpoints: endpoints(one, two, three) })));
  t.true(changed <= 8, `${changed} objects for one endpoint`);
  t.deepEqual(await answers(one.pod, vip, 8000, 40), ['node-1', 'node-2']);
  await proxy.sync(state(0, port({ endpoints: endpoints(one, three) })));
  t.deepEqual(await answers(one.pod, vip, 8000), ['node-2']);
  await proxy.sync(state(0));
  t.not((await one.pod.tcp(vip, 8000, { timeoutMs: 300 })).error, undefined);
  await proxy.sync(state(0, port({ endpoints: endpoints(one, one, two, three) })));
  t.deepEqual(await answers(one.pod, vip, 8000, 40), ['node-0', 'node-1', 'node-2']);
});

test('one endpoint more than the rules for all draw from, and back: each is met, and no other', async (t) => {
  const { members, proxy } = await setUp(t, 1);
  const [one] = members as [Member];
  const all = Array.from({ length: 17 }, (_, index) => ({ ...endpoints(one, one)[0]!, port: 8100 + index }));
  for (const each of all) await one.pod.serve(each.port, `at-${each.port}`);
  for (const count of [17, 16, 3, 17]) {
    const list = all.slice(0, count);
    await proxy.sync(state(0, port({ endpoints: list, nodePort: 30080, externalPolicy: 'Local' })));
    for (const [host, to] of [
      [vip, 8000],
      [nodeAddress(0), 30080],
    ] as const) {
      const met = new Set<string>();
      for (let draws = 0; draws < 2_000 && met.size < count; draws += 20)
        for (const answer of await answers(one.node, host, to, 20)) met.add(answer);
      t.deepEqual([...met].sort(), list.map((each) => `at-${each.port}`).sort(), `${count} at ${host}`);
    }
  }
});

test('a sticky Service can lose and regain endpoints and affinity without residue', async (t) => {
  const { members, proxy } = await setUp(t);
  const [one, two] = members as [Member, Member];
  const plain = port({ endpoints: endpoints(one, one, two) });
  await proxy.sync(state(0));
  const before = snapshot(one.node);
  for (let round = 0; round < 3; round += 1) {
    await proxy.sync(state(0, { ...plain, affinitySeconds: 30 }));
    t.is((await answers(one.pod, vip, 8000, 8)).length, 1);
    await proxy.sync(state(0, { ...plain, affinitySeconds: 30, endpoints: endpoints(one, one) }));
    await proxy.sync(state(0, { ...plain, affinitySeconds: 40 }));
    await proxy.sync(state(0, plain));
    t.deepEqual(await answers(one.pod, vip, 8000), ['node-0', 'node-1']);
  }
  await proxy.sync(state(0));
  const rules = one.node.run('nft', 'list', 'table', 'ip', 'pintle-proxy');
  t.notRegex(rules, /sticky-[34]0-|10\.96\.0\.1 /);
  t.false(before.includes('sticky-30'));
});

test('UDP flows of an endpoint that is gone move on; the others stay', async (t) => {
  const { members, proxy } = await setUp(t);
  const [one, two] = members as [Member, Member];
  const udp = (...list: readonly Member[]): ProxyPort => port({ protocol: 'UDP', endpoints: endpoints(one, ...list) });
  await proxy.sync(state(0, udp(one, two)));
  const flows = new Map<number, string>();
  for (let localPort = 40_000; localPort < 40_016; localPort += 1)
    flows.set(localPort, (await one.node.udp(vip, 8000, { localPort })).answer?.split(' ')[0] ?? '');
  t.deepEqual([...new Set(flows.values())].sort(), ['node-0', 'node-1']);
  const again = async (localPort: number): Promise<string | undefined> =>
    (await one.node.udp(vip, 8000, { localPort })).answer?.split(' ')[0];
  for (const [localPort, name] of flows) t.is(await again(localPort), name, 'a flow is pinned');
  await proxy.sync(state(0, udp(two)));
  for (const localPort of flows.keys()) t.is(await again(localPort), 'node-1');
  await proxy.sync(state(0, udp()));
  t.deepEqual(await one.node.udp(vip, 8000, { localPort: 40_000 }), { error: 'ECONNREFUSED' });
  await proxy.sync(state(0, udp(one)));
  t.is(await again(40_000), 'node-0');
  await proxy.sync(state(0));
  const conntrack = openConntrack({ netns: one.node.netns });
  t.teardown(() => conntrack.close());
  t.deepEqual(
    conntrack.list(2, 17).filter(({ original }) => original.destination === vip),
    [],
  );
});

test('a restart keeps connections, pinned UDP flows and sticky clients, and no connect fails meanwhile', async (t) => {
  const { members, proxy } = await setUp(t);
  const [one, two] = members as [Member, Member];
  const services = state(
    0,
    port({ endpoints: endpoints(one, one, two) }),
    port({ protocol: 'UDP', endpoints: endpoints(one, one, two) }),
    port({ service: 'sticky', clusterIps: ['10.96.0.9'], affinitySeconds: 600, endpoints: endpoints(one, one, two) }),
  );
  await proxy.sync(services);
  await one.pod.ask({ verb: 'openTcp', id: 'long', host: vip, port: 8000 });
  const [held] = await answers(one.pod, '10.96.0.9', 8000);
  const flow = async (): Promise<string | undefined> => (await one.node.udp(vip, 8000, { localPort: 41_000 })).answer;
  const pinned = await flow();
  await proxy[Symbol.asyncDispose]();
  t.deepEqual(await answers(one.pod, vip, 8000), ['node-0', 'node-1'], 'works while no agent runs');
  let running = true;
  const failures: unknown[] = [];
  let connects = 0;
  const client = (async () => {
    while (running) {
      const { error } = await two.pod.tcp(nodeAddress(0), 30080, { timeoutMs: 1_000 });
      const answer = await one.pod.tcp(vip, 8000);
      if (answer.error !== undefined) failures.push(answer.error);
      if (error === undefined) failures.push('a NodePort that does not exist answered');
      connects += 1;
    }
  })();
  for (let round = 0; round < 4; round += 1) {
    const before = connects;
    const next = openNftablesProxy(one.node);
    t.true((await next.sync(services)).changed > 0);
    t.deepEqual(await next.sync(services), { changed: 0 });
    await next[Symbol.asyncDispose]();
    await until('connections are made', () => connects > before + 1);
  }
  running = false;
  await client;
  t.deepEqual(failures, []);
  t.is(await flow(), pinned);
  t.deepEqual(await answers(one.pod, '10.96.0.9', 8000), [held]);
  t.true((await one.pod.ask({ verb: 'exchange', id: 'long', text: 'still there' })).answer?.startsWith('node-'));
});

test('what somebody flushes or deletes is back within moments, and counted; foreign tables are left alone', async (t) => {
  const { members, proxy } = await setUp(t);
  const [one, two] = members as [Member, Member];
  await proxy.sync(state(0, port({ endpoints: endpoints(one, one, two) })));
  t.is(proxy.status().repairs, 0);
  const works = async (): Promise<boolean> => (await answers(one.pod, vip, 8000, 12)).join() === 'node-0,node-1';
  for (const command of [
    'flush ruleset',
    'delete table ip pintle-proxy',
    'flush table ip pintle-proxy',
    'flush chain ip pintle-proxy nat-prerouting',
    'flush map ip pintle-proxy slots-0LIVE',
    'delete element ip pintle-proxy slots-0LIVE { 10.96.0.1 . tcp . 8000 }',
    'insert rule ip pintle-proxy nat-prerouting tcp dport 8000 drop',
  ]) {
    const live =
      /goto draw(-[ab])/.exec(one.node.run('nft', 'list', 'chain', 'ip', 'pintle-proxy', 'nat-prerouting'))?.[1] ?? '';
    const before = proxy.status().repairs;
    one.node.run('nft', command.replace('LIVE', live));
    await until(`the repair of "${command}" is counted`, () => proxy.status().repairs > before);
    await until(`the Service works again after "${command}"`, works);
  }
  const before = proxy.status().repairs;
  one.node.run('nft', 'add table ip somebody; add chain ip somebody c { type filter hook forward priority 0; }');
  await proxy.sync(state(0, port({ endpoints: endpoints(one, two) })));
  await proxy.purge();
  t.regex(one.node.run('nft', 'list', 'ruleset'), /table ip somebody/);
  t.is(proxy.status().repairs, before);
});

test('what somebody breaks while a sync is under way is put right after it', async (t) => {
  const { members, proxy } = await setUp(t);
  const [one, two] = members as [Member, Member];
  const list = endpoints(one, one, two);
  const web = port({ endpoints: list });
  const many = Array.from({ length: 3_000 }, (_, index) =>
    port({ service: `s${index}`, clusterIps: [`10.97.${index >> 8}.${index & 255}`], endpoints: list }),
  );
  await proxy.sync(state(0, web));
  let isOver = false;
  const syncing = proxy.sync(state(0, web, ...many)).then(() => (isOver = true));
  // It is done in parts, between which others have their turn.
  await new Promise((resolve) => setImmediate(resolve));
  one.node.run('nft', 'flush chain ip pintle-proxy nat-prerouting');
  t.false(isOver);
  await syncing;
  await until('the Service works', async () => (await answers(one.pod, vip, 8000)).join() === 'node-0,node-1');
  t.deepEqual(await answers(one.pod, '10.97.11.183', 8000), ['node-0', 'node-1']);
});

test('purge leaves nothing, also of what a predecessor made', async (t) => {
  const { members } = await createCluster(t, 1);
  const [one] = members as [Member];
  const before = snapshot(one.node);
  const first = openNftablesProxy(one.node);
  await first.sync(state(0, port({ nodePort: 30080, affinitySeconds: 5, endpoints: endpoints(one, one) })));
  await first[Symbol.asyncDispose]();
  t.not(snapshot(one.node), before);
  const second = openNftablesProxy(one.node);
  await second.purge();
  await second.purge();
  await second[Symbol.asyncDispose]();
  t.is(snapshot(one.node), before);
});

test('a table that another version left, even one that cannot be built upon, is replaced', async (t) => {
  const { members, proxy } = await setUp(t);
  const [one, two] = members as [Member, Member];
  one.node.run(
    'nft',
    'add table ip pintle-proxy; add chain ip pintle-proxy nat-prerouting { type filter hook input priority 7; };' +
      'add map ip pintle-proxy services-a { type ipv4_addr : verdict; }; add chain ip pintle-proxy old',
  );
  await proxy.sync(state(0, port({ endpoints: endpoints(one, one, two) })));
  t.deepEqual(await answers(one.pod, vip, 8000), ['node-0', 'node-1']);
  t.notRegex(one.node.run('nft', 'list', 'table', 'ip', 'pintle-proxy'), /chain old/);
});

test('an ordinary user replaces a table that cannot be built upon by thousands of Services; no connect fails meanwhile', (t) => {
  const program = fileURLToPath(new URL('support/replaced-table.js', import.meta.url));
  const rootless = ['--user', '--map-root-user', '--net', '--mount', '--pid', '--fork', '--kill-child', '--mount-proc'];
  const { stdout, stderr } = spawnSync('unshare', [...rootless, process.execPath, program, '3000'], {
    encoding: 'utf8',
  });
  if (stdout === '') return t.fail(stderr);
  const { tried, changed, ...rest } = JSON.parse(stdout) as Record<string, unknown>;
  t.true(Number(tried) > 20);
  t.true(Number(changed) > 18_000);
  t.deepEqual(rest, {
    failures: {},
    again: 0,
    tables: ['table ip pintle-proxy', 'table ip6 pintle-proxy'],
    isOldGone: true,
    elements: [3_001, 3_000],
    after: '',
  });
});

test('thousands of services are built in parts, and one more is a small change', async (t) => {
  const { members, proxy } = await setUp(t);
  const [one, two] = members as [Member, Member];
  const list = endpoints(one, one, two);
  const many = Array.from({ length: 3_000 }, (_, index) =>
    port({ service: `s${index}`, clusterIps: [`10.97.${index >> 8}.${index & 255}`], endpoints: list }),
  );
  await proxy.sync(state(0, ...many));
  t.deepEqual(await answers(one.pod, '10.97.11.183', 8000), ['node-0', 'node-1']);
  const { changed } = await proxy.sync(state(0, ...many, port({ endpoints: list })));
  t.is(changed, 4, 'one address: two slots, masquerade, cluster address');
  t.deepEqual(await answers(one.pod, vip, 8000), ['node-0', 'node-1']);
  await new Promise((resolve) => setTimeout(resolve, 300));
  t.is(proxy.status().repairs, 0, 'its own notifications are not taken for damage');
  const next = openNftablesProxy(one.node);
  t.teardown(() => next[Symbol.asyncDispose]());
  await proxy[Symbol.asyncDispose]();
  await next.sync(state(0, ...many.slice(0, 10)));
  t.deepEqual(await answers(one.pod, '10.97.0.9', 8000), ['node-0', 'node-1']);
  await next.sync(state(0, ...many));
  await next.sync(state(0));
  t.not((await one.pod.tcp('10.97.0.9', 8000, { timeoutMs: 300 })).error, undefined);
});
