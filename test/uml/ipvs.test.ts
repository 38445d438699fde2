/**
 * What only proxy `ipvs` has, with packets, on User-mode Linux: a kernel with IPVS that is as quick as a process, so that each
 * case can look at much. It has no nftables for IP, hence the older back end of iptables; the kit runs with the newer one (test/vm).
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import type { ProxyPort, ProxyState } from '../../kernel/contract/index.ts';
import { isRefused } from '../../netplugins/linux/libc.ts';
import { openIpvs } from '../../netplugins/linux/ipvs.ts';
import { forwardChains, rivalOwners } from '../../netplugins/linux/trace/firewall.ts';
import { probeIpvs } from '../../netplugins/proxies/ipvs/probe.ts';
import { openHostedProxy } from '../lab/support/hosted-proxy.ts';
import { killUnderLoad } from '../lab/support/kill-under-load.ts';
import { ipvsTraces, openIpvsProxy } from '../lab/support/ipvs-place.ts';
import { endpoint, port as namedPort, proxyState, vip } from '../lab/support/service-ports.ts';
import { sharedNetwork } from '../lab/support/shared-network.ts';
import { nodeAddress, until, type Place } from '../lab/support/topology.ts';
import { createWiredNetwork } from '../lab/support/wired-network.ts';

const network = sharedNetwork(test, createWiredNetwork);

const patienceMs = 30_000;

/** A Service with one port need not name it. */
const port = (change: Partial<ProxyPort> = {}): ProxyPort => namedPort({ name: '', ...change });

const state = (...ports: readonly ProxyPort[]): ProxyState => proxyState([nodeAddress(0)], ports);

async function setUp(t: { teardown(undo: () => unknown): void }, families: readonly ('ip' | 'ip6')[] = ['ip']) {
  const { one, two, underlay } = await network();
  const proxy = openIpvsProxy(one.node, 'legacy', { families });
  t.teardown(async () => {
    await proxy.purge();
    await proxy[Symbol.asyncDispose]();
  });
  return { one, two, underlay, proxy };
}

/** Virtual services as the kernel lists them. */
const listed = (node: Place): string => node.run('ipvsadm', '-Sn');

/** Service addresses whose packets are for the node. */
const routed = (node: Place, ...family: readonly string[]): string =>
  node.run('ip', ...family, 'route', 'show', 'table', 'local', 'dev', 'kube-ipvs0', 'proto', 'static');

test.serial('the probe passes where the proxy works, and names a scheduler that is missing', async (t) => {
  t.is(await probeIpvs(['ip', 'ip6'], ['legacy'], ['rr', 'mh']), undefined);
  t.is(
    (await probeIpvs(['ip'], ['legacy'], ['nosuch']))?.reason,
    'this kernel has no IPVS scheduler nosuch (module ip_vs_nosuch)',
  );
});

test.serial(
  'a connection outlives its endpoint’s time in the Service, and the Service; then nothing is left',
  async (t) => {
    const { one, two, proxy } = await setUp(t);
    const before = port({ endpoints: [endpoint(two.ip)] });
    await proxy.sync(state(before));
    t.deepEqual(await one.pod.ask({ verb: 'openTcp', id: 'long', host: vip, port: 8000 }), { answer: 'open' });
    const talks = async (): Promise<boolean> =>
      (await one.pod.ask({ verb: 'exchange', id: 'long', text: 'x', timeoutMs: 10_000 })).answer?.startsWith(
        'node-1',
      ) === true;
    t.true(await talks());
    await proxy.sync(state(port({ endpoints: [endpoint(one.ip, { local: true })] })));
    t.true(await talks(), 'its endpoint is gone');
    t.regex(listed(one.node), /-r 10\.244\.2\.2:80 -m -w 0/);
    await proxy.sync(state());
    t.true(await talks(), 'the Service is gone');
    t.deepEqual(await one.node.tcp(vip, 8000, { timeoutMs: 10_000 }), { error: 'ECONNREFUSED' });
    // An idle connection ends by its time-out, which counts from its last packet.
    const ipvs = openIpvs({ netns: one.node.netns });
    const kernels = ipvs.getTimeouts();
    t.teardown(() => {
      ipvs.setTimeouts(kernels);
      ipvs.close();
    });
    // Longer than an emulated processor takes from a question to its answer.
    ipvs.setTimeouts({ tcpSeconds: 4, tcpFinSeconds: 4, udpSeconds: 4 });
    t.true(await talks());
    await until('the service is let go', () => !listed(one.node).includes(vip), patienceMs);
    await until('its address too', () => !routed(one.node).includes(vip), patienceMs);
    t.is(proxy.status().repairs, 0);
  },
);

test.serial('a client that uses its port again never meets an endpoint that takes no new connections', async (t) => {
  const { one, two, proxy } = await setUp(t);
  // A port can be used again a second after its connection has ended.
  one.pod.run('sysctl', '-w', 'net.ipv4.tcp_tw_reuse=1');
  const met = async (): Promise<string> => {
    let name = '';
    await until(
      'the port is free',
      async () => {
        const options = { localPort: 41_000, timeoutMs: 10_000 };
        const { answer, error } = await one.pod.tcp(vip, 8000, options);
        name = error ?? answer?.split(' ')[0] ?? '';
        return error !== 'EADDRNOTAVAIL' && error !== 'EADDRINUSE';
      },
      patienceMs,
    );
    return name;
  };
  const [leaves, stays] = [endpoint(two.ip), endpoint(one.ip, { local: true })];
  await proxy.sync(state(port({ endpoints: [leaves] })));
  t.is(await met(), 'node-1');
  await proxy.sync(state(port({ endpoints: [stays, { ...leaves, ready: false, terminating: true }] })));
  // IPVS remembers the connection for two minutes more, and with it the endpoint.
  t.regex(one.node.run('cat', '/proc/net/ip_vs_conn'), /\bA028\b/, 'the connection is remembered');
  t.is(await met(), 'node-0', 'the other only serves what it has');
});

test.serial(
  'a new instance changes nothing that is right, mends what is not, and leaves what is another’s',
  async (t) => {
    const { one, two, proxy } = await setUp(t);
    const web = port({ nodePort: 30080, endpoints: [endpoint(one.ip, { local: true }), endpoint(two.ip)] });
    const foreign = ['-t', '192.168.99.1:9999', '-s', 'wlc'];
    await proxy.sync(state(web));
    one.node.run('ipvsadm', '-A', ...foreign);
    t.teardown(() => one.node.run('ipvsadm', '-D', '-t', '192.168.99.1:9999'));
    const before = ipvsTraces(one.node);
    await proxy[Symbol.asyncDispose]();
    const second = openIpvsProxy(one.node, 'legacy', { families: ['ip'] });
    t.deepEqual(await second.sync(state(web)), { changed: 0 });
    t.is(ipvsTraces(one.node), before);
    await second[Symbol.asyncDispose]();
    one.node.run('ipvsadm', '-d', '-t', `${vip}:8000`, '-r', `${two.ip}:80`);
    one.node.run('ipvsadm', '-E', '-t', `${nodeAddress(0)}:30080`, '-s', 'lc');
    one.node.run('ipset', 'del', 'pintle-vs-4-masquerade', `${nodeAddress(0)},tcp:30080`);
    one.node.run('ip', 'address', 'add', '10.96.0.77/32', 'dev', 'kube-ipvs0');
    const third = openIpvsProxy(one.node, 'legacy', { families: ['ip'] });
    t.deepEqual(await third.sync(state(web)), { changed: 4 });
    t.is(ipvsTraces(one.node), before);
    await third.purge();
    await third[Symbol.asyncDispose]();
    t.is(listed(one.node).trim(), `-A ${foreign.join(' ')}`);
  },
);

test.serial('a Service is one route and no address: whose number would make each one more dear', async (t) => {
  const { one, proxy } = await setUp(t, ['ip', 'ip6']);
  const many = Array.from({ length: 40 }, (_, index) =>
    port({ service: `s${index}`, clusterIps: [`10.96.1.${index}`, `fd96::1:${index}`] }),
  );
  for (const count of [40, 20]) {
    await proxy.sync(state(...many.slice(0, count)));
    const addresses = one.node.run('ip', '-o', 'address', 'show', 'dev', 'kube-ipvs0').trim().split('\n');
    t.is(addresses.length, 1, addresses.join('\n'));
    t.regex(addresses[0] ?? '', /inet 127\.0\.0\.96\/32 scope host/);
    for (const family of ['-4', '-6'])
      t.is(routed(one.node, family).trim().split('\n').length, count, `${count} Services, ${family}`);
  }
  await proxy[Symbol.asyncDispose]();
  const second = openIpvsProxy(one.node, 'legacy', { families: ['ip', 'ip6'] });
  t.teardown(() => second[Symbol.asyncDispose]());
  t.deepEqual(await second.sync(state(...many.slice(0, 20))), { changed: 0 });
});

test.serial('addresses of a Pintle that gave each Service one become routes, and connections go on', async (t) => {
  const { one, two, proxy } = await setUp(t, ['ip', 'ip6']);
  const web = port({ clusterIps: [vip, 'fd96::1'], endpoints: [endpoint(two.ip)] });
  await proxy.sync(state(web));
  const before = ipvsTraces(one.node);
  await proxy[Symbol.asyncDispose]();
  const link = ['dev', 'kube-ipvs0'];
  for (const address of [`${vip}/32`, 'fd96::1/128', '10.96.0.66/32'])
    one.node.run('ip', 'address', 'add', address, ...link);
  one.node.run('ip', 'address', 'del', '127.0.0.96/32', ...link);
  one.node.run('ip', '-4', 'route', 'del', 'local', vip, 'table', 'local', ...link, 'metric', '1024');
  one.node.run('ip', '-6', 'route', 'del', 'local', 'fd96::1', 'table', 'local', ...link, 'metric', '1024');
  for (const from of [one.pod, one.node])
    t.deepEqual(await from.ask({ verb: 'openTcp', id: 'old', host: vip, port: 8000 }), { answer: 'open' });
  const second = openIpvsProxy(one.node, 'legacy', { families: ['ip', 'ip6'] });
  t.teardown(() => second[Symbol.asyncDispose]());
  // Two routes and the link's own address come, three addresses go.
  t.deepEqual(await second.sync(state(web)), { changed: 6 });
  t.is(ipvsTraces(one.node), before);
  for (const from of [one.pod, one.node]) {
    const { answer } = await from.ask({ verb: 'exchange', id: 'old', text: 'x', timeoutMs: 10_000 });
    t.regex(answer ?? '', /^node-1/);
    t.regex((await from.tcp(vip, 8000, { timeoutMs: 10_000 })).answer ?? '', /^node-1 /);
  }
});

test.serial('an address that the node has is served, and stays the node’s; others’ are asked for by ARP', async (t) => {
  const { one, two, underlay, proxy } = await setUp(t);
  const [own, other] = ['198.51.100.9', '192.168.99.77'];
  one.node.run('ip', 'address', 'add', `${own}/32`, 'dev', 'lo');
  t.teardown(() => one.node.run('ip', 'address', 'del', `${own}/32`, 'dev', 'lo'));
  await one.node.serve(9101, 'itself');
  t.teardown(() => one.node.ask({ verb: 'close', port: 9101 }));
  const answerOf = async (address: string, to: number): Promise<string> => {
    const { answer, error } = await underlay.tcp(address, to, { timeoutMs: 10_000 });
    return error ?? answer?.split(' ')[0] ?? '';
  };
  const way = (): string => one.node.run('ip', 'route', 'get', own);
  const before = way();
  t.is(await answerOf(own, 9101), 'itself');
  await proxy.sync(state(port({ externalIps: [own, other], endpoints: [endpoint(two.ip)] })));
  t.is(await answerOf(own, 8000), 'node-1');
  t.is(way(), before, 'the node’s own route comes first');
  t.is(await answerOf(other, 8000), 'node-1', 'the kernel answers ARP for whatever is local');
  one.node.run('sysctl', '-qw', 'net.ipv4.conf.all.arp_ignore=1');
  t.teardown(() => one.node.run('sysctl', '-qw', 'net.ipv4.conf.all.arp_ignore=0'));
  underlay.run('ip', 'neighbour', 'flush', 'to', other);
  t.is(await answerOf(other, 8000), 'EHOSTUNREACH', 'with arp_ignore only for a link’s own addresses');
  await proxy.purge();
  t.is(way(), before);
  t.is(await answerOf(own, 9101), 'itself');
});

test.serial('kill -9 under load fails no connection, and UDP flows keep their endpoints', async (t) => {
  const places = await network();
  const stateDir = mkdtempSync(join(tmpdir(), 'pintle-ipvs-'));
  t.teardown(() => rmSync(stateDir, { recursive: true, force: true }));
  await killUnderLoad(t, places, {
    open: () => openHostedProxy(places.one.node, { mode: 'ipvs', backend: 'legacy', stateDir }),
    // As many as an emulated processor opens, besides.
    perSecond: 50,
    between: 10,
    rounds: [false],
    purge: async () => {
      const last = openIpvsProxy(places.one.node, 'legacy', { families: ['ip'], stateDir });
      await last.purge();
      await last[Symbol.asyncDispose]();
    },
  });
});

test.serial('a packet is explained: virtual service, destinations, and why it ends', async (t) => {
  const { one, two } = await network();
  const stateDir = mkdtempSync(join(tmpdir(), 'pintle-ipvs-'));
  t.teardown(() => rmSync(stateDir, { recursive: true, force: true }));
  const proxy = openHostedProxy(one.node, { mode: 'ipvs', backend: 'legacy', stateDir });
  t.teardown(async () => {
    await proxy.purge();
    await proxy[Symbol.asyncDispose]();
  });
  const ask = (number: number) =>
    proxy.trace({
      pods: [{ id: 'one', ip: one.ip, netns: one.pod.netns }],
      ...{ peers: [two.peer], podCidrs: one.peer.podCidrs },
      question: {
        ask: 'trace',
        from: { kind: 'pod', address: one.ip },
        flow: { protocol: 'TCP', destination: vip, port: number },
      },
    });
  await proxy.sync(
    state(
      port({ endpoints: [endpoint(one.ip, { local: true }), endpoint(two.ip)] }),
      port({ service: 'empty', port: 9000 }),
    ),
  );
  const { onNode, paths } = await ask(8000);
  const shown = onNode.map(({ what, shown: text }) => `${what} ${text}`);
  for (const expected of [
    `service ipvs tcp ${vip} 8000 rr`,
    `service ipvs tcp ${vip} 8000 -> ${one.ip} 80`,
    `service ipvs tcp ${vip} 8000 -> ${two.ip} 80`,
  ])
    t.true(shown.includes(expected), `${expected} in ${shown.join('\n')}`);
  t.deepEqual(
    onNode.filter(({ problem }) => problem !== undefined),
    [],
  );
  t.deepEqual(
    paths.map(({ end }) => end.kind),
    ['pod', 'leaves'],
  );
  t.like(paths[1]?.end, { kind: 'leaves', node: 'node-1' });
  const refused = await ask(9000);
  t.regex(
    refused.onNode.flatMap(({ problem }) => problem?.text ?? []).join(),
    /rejected: the Service has no endpoints/,
  );
  t.deepEqual(refused.paths, []);
});

test.serial('a link of the same name that is another’s is left alone', async (t) => {
  const { one, proxy } = await setUp(t);
  one.node.run('ip', 'link', 'add', 'kube-ipvs0', 'type', 'dummy');
  one.node.run('ip', 'address', 'add', '10.96.0.9/32', 'dev', 'kube-ipvs0');
  let isTheirs = true;
  t.teardown(() => isTheirs && one.node.run('ip', 'link', 'delete', 'kube-ipvs0'));
  const error = await t.throwsAsync(proxy.sync(state(port())), { message: /is there already, and not ours/ });
  t.true(isRefused(error, 'EEXIST'));
  t.like(proxy.status(), { ready: false, reason: error?.message }, 'what pintle doctor says');
  t.regex((await rivalOwners(one.node)).map(({ text }) => text).join(), /^kube-proxy has rules .*\(link kube-ipvs0\)/);
  await proxy.purge();
  t.regex(one.node.run('ip', 'address', 'show', 'dev', 'kube-ipvs0'), /10\.96\.0\.9/);
  // When what made it is gone.
  one.node.run('ip', 'link', 'delete', 'kube-ipvs0');
  isTheirs = false;
  await proxy.sync(state(port()));
  t.true(proxy.status().ready);
  t.deepEqual(await rivalOwners(one.node), [], 'our own is nobody else’s');
  t.deepEqual(
    (await forwardChains(one.node)).flatMap(({ problem }) => problem ?? []),
    [],
  );
});

test.serial('an endpoint that IPVS never takes keeps no other from its Service', async (t) => {
  const { one, two, proxy } = await setUp(t);
  const web = port({ endpoints: [endpoint('239.1.2.3'), endpoint(two.ip)] });
  await proxy.sync(state(web));
  t.true(proxy.status().ready);
  t.regex((await one.pod.tcp(vip, 8000, { timeoutMs: 10_000 })).answer ?? '', /^node-1 /);
  t.deepEqual(await proxy.sync(state({ ...web })), { changed: 0 });
});

test.serial('a port of a service address that is no Service’s is refused, whatever listens on the node', async (t) => {
  const { one, two, proxy } = await setUp(t);
  await one.node.serve(9100, 'the node');
  t.teardown(() => one.node.ask({ verb: 'close', port: 9100 }));
  await proxy.sync(state(port({ endpoints: [endpoint(two.ip)] })));
  for (const from of [one.pod, one.node])
    t.deepEqual(await from.tcp(vip, 9100, { timeoutMs: 10_000 }), { error: 'ECONNREFUSED' });
  t.regex((await one.node.tcp(nodeAddress(0), 9100, { timeoutMs: 10_000 })).answer ?? '', /^the node/);
});

test.serial('IPv6: a node’s own listener as endpoint, refusal without endpoints, purge', async (t) => {
  const { one, underlay, proxy } = await setUp(t, ['ip', 'ip6']);
  const before = ipvsTraces(one.node);
  await one.node.serve(9200, 'v6', '::');
  t.teardown(() => one.node.ask({ verb: 'close', port: 9200 }));
  await underlay.serve(9200, 'beyond', '::');
  t.teardown(() => underlay.ask({ verb: 'close', port: 9200 }));
  const local = { ...endpoint('fd99::1', { local: true }), port: 9200 };
  await proxy.sync(
    state(
      port({ clusterIps: ['fd96::1'], endpoints: [local] }),
      port({ service: 'empty', clusterIps: ['fd96::2'] }),
      port({ service: 'remote', clusterIps: ['fd96::3'], endpoints: [{ ...endpoint('fd99::ffff'), port: 9200 }] }),
    ),
  );
  t.regex((await one.node.tcp('fd96::1', 8000, { timeoutMs: 10_000 })).answer ?? '', /^v6/);
  t.regex(
    (await one.node.tcp('fd96::3', 8000, { timeoutMs: 10_000 })).answer ?? '',
    /^beyond fd99::1 /,
    'elsewhere the node is met by its own address',
  );
  t.deepEqual(await one.node.tcp('fd96::2', 8000, { timeoutMs: 10_000 }), { error: 'ECONNREFUSED' });
  await proxy.purge();
  t.is(ipvsTraces(one.node), before);
});
