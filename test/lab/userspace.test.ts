import test from 'ava';
import type { ProxyEndpoint, ProxyPort, ProxyState } from '../../kernel/contract/index.ts';
import { createCluster, type Member } from './support/cluster.ts';
import { endpoint as endpointAt, port, proxyState, vip } from './support/service-ports.ts';
import { checkServiceRange } from './support/service-range.ts';
import { nodeAddress, until, type Place } from './support/topology.ts';
import { openHostedProxy, openUserspaceProxy } from './support/hosted-proxy.ts';

const endpoint = (at: Member, member: Member, to = 80): ProxyEndpoint =>
  endpointAt(member.ip, { port: to, local: member === at });

const state = (...ports: readonly ProxyPort[]): ProxyState => proxyState([nodeAddress(0)], ports);

async function setUp(
  t: { teardown(undo: () => unknown): void },
  redirect: 'nft' | 'iptables' | 'auto' | 'none' = 'nft',
): Promise<{ one: Member; two: Member; outside: Place; proxy: ReturnType<typeof openUserspaceProxy> }> {
  const { members, topology } = await createCluster(t, 2);
  const [one, two] = members as [Member, Member];
  const proxy = openUserspaceProxy(one.node, redirect);
  t.teardown(() => proxy[Symbol.asyncDispose]());
  return { one, two, outside: topology.underlay, proxy };
}

test('a client that ends its side first still gets its answer, after megabytes', async (t) => {
  const { one, two, proxy } = await setUp(t);
  await proxy.sync(state(port({ endpoints: [endpoint(one, two)] })));
  const { answer } = await one.pod.tcp(vip, 8000, { bytes: 8_000_000, timeoutMs: 60_000 });
  t.regex(answer ?? '', /^node-1 \S+ 8000000$/);
});

test('endpoints take turns; one that refuses is passed over; ports that this mode cannot serve are named', async (t) => {
  const { one, two, proxy } = await setUp(t);
  await proxy.sync(state(port({ endpoints: [endpoint(one, one), endpoint(one, two)] })));
  const met: string[] = [];
  for (let index = 0; index < 6; index += 1) met.push((await one.pod.tcp(vip, 8000)).answer?.split(' ')[0] ?? '');
  t.is(met.filter((name) => name === 'node-0').length, 3);
  t.is(met.filter((name) => name === 'node-1').length, 3);
  await proxy.sync(state(port({ endpoints: [endpoint(one, one, 9), endpoint(one, two)] })));
  for (let index = 0; index < 4; index += 1) t.regex((await one.pod.tcp(vip, 8000)).answer ?? '', /^node-1 /);
  t.notRegex(proxy.status().reason ?? '', /SCTP/);
  await proxy.sync(state(port({ protocol: 'SCTP', endpoints: [endpoint(one, two)] })));
  t.regex(proxy.status().reason ?? '', /SCTP ports of default\/web are not served: mode userspace/);
});

test('when every endpoint refuses, the connection is reset', async (t) => {
  const { one, two, proxy } = await setUp(t);
  await proxy.sync(state(port({ endpoints: [endpoint(one, two, 9)] })));
  t.is((await one.pod.tcp(vip, 8000)).error, 'ECONNRESET');
});

test('a connection outlives its endpoint in the list, and its Service', async (t) => {
  const { one, two, proxy } = await setUp(t);
  await proxy.sync(state(port({ endpoints: [endpoint(one, two)] })));
  await one.pod.ask({ verb: 'openTcp', id: 'long', host: vip, port: 8000 });
  const talk = async (): Promise<string | undefined> =>
    (await one.pod.ask({ verb: 'exchange', id: 'long', text: 'hello' })).answer;
  t.regex((await talk()) ?? '', /^node-1/);
  await proxy.sync(state(port({ endpoints: [endpoint(one, one)] })));
  t.regex((await talk()) ?? '', /^node-1/);
  await proxy.sync(state());
  t.regex((await talk()) ?? '', /^node-1/);
});

for (const redirect of ['nft', 'iptables'] as const)
  test(`${redirect}: a listener answers only what comes by way of a service address`, async (t) => {
    const { one, two, outside, proxy } = await setUp(t, redirect);
    await proxy.sync(state(port({ nodePort: 30080, endpoints: [endpoint(one, two)] })));
    t.regex((await outside.tcp(nodeAddress(0), 30080)).answer ?? '', /^node-1/);
    const listeners = [...one.node.run('ss', '-Hltn').matchAll(/192\.168\.99\.1:(\d+)/g)].map(([, found]) =>
      Number(found),
    );
    t.is(listeners.length, 1);
    t.deepEqual(await outside.tcp(nodeAddress(0), listeners[0]!), { error: 'ECONNREFUSED' });
    t.deepEqual(await one.pod.tcp(nodeAddress(0), listeners[0]!), { error: 'ECONNREFUSED' });
  });

for (const redirect of ['nft', 'iptables'] as const)
  test(`${redirect}: the service range is refused but for what Services, the node and others have in it`, async (t) => {
    const { members, topology } = await createCluster(t, 2, { dual: true });
    const [one, two] = members as [Member, Member];
    const proxy = openHostedProxy(one.node, { mode: 'userspace', redirect, families: ['ip', 'ip6'] });
    t.teardown(() => proxy[Symbol.asyncDispose]());
    const sync = () => proxy.sync(state(port({ endpoints: [endpoint(one, two)] })));
    await checkServiceRange(t, { one, two, underlay: topology.underlay, isDual: true, sync });
  });

test('without a means of redirection NodePorts answer, and it says so', async (t) => {
  const { one, two, outside, proxy } = await setUp(t, 'none');
  const both = [endpoint(one, one), endpoint(one, two)];
  const web = port({ nodePort: 30080, endpoints: both });
  const udp = port({ protocol: 'UDP', nodePort: 30080, endpoints: [endpoint(one, two)] });
  t.true((await proxy.sync(state(web, udp))).changed > 0);
  t.deepEqual(await proxy.sync(state(web, udp)), { changed: 0 });
  t.regex(proxy.status().reason ?? '', /only NodePorts answer/);
  const met = new Set<string>();
  for (let index = 0; index < 4; index += 1)
    met.add((await outside.tcp(nodeAddress(0), 30080)).answer?.split(' ')[0] ?? '');
  t.deepEqual([...met].sort(), ['node-0', 'node-1']);
  t.regex((await outside.udp(nodeAddress(0), 30080)).answer ?? '', /^node-1/);
  await proxy.sync(state({ ...web, externalPolicy: 'Local' }));
  for (let index = 0; index < 3; index += 1)
    t.regex((await outside.tcp(nodeAddress(0), 30080)).answer ?? '', /^node-0/, 'outside: of this node');
  await proxy.sync(state({ ...web, externalPolicy: 'Local', endpoints: [endpoint(one, two)] }));
  t.is((await outside.tcp(nodeAddress(0), 30080)).error, 'ECONNRESET');
  t.regex((await one.pod.tcp(nodeAddress(0), 30080)).answer ?? '', /^node-1/, 'a pod');
  await proxy.sync(state());
  t.deepEqual(await outside.tcp(nodeAddress(0), 30080), { error: 'ECONNREFUSED' });
});

test('a NodePort that somebody else listens on is an error that names it, and is taken when free', async (t) => {
  const { one, two, outside, proxy } = await setUp(t, 'none');
  await one.node.ask({ verb: 'listenTcp', port: 30081, name: 'somebody', address: nodeAddress(0) });
  const web = port({ nodePort: 30081, endpoints: [endpoint(one, two)] });
  await t.throwsAsync(proxy.sync(state(web)), { message: /192\.168\.99\.1 port 30081 \(tcp\).*EADDRINUSE/ });
  t.false(proxy.status().ready);
  await one.node.ask({ verb: 'close', port: 30081 });
  await until('it is free', async () => {
    try {
      await proxy.sync(state(web));
      return true;
    } catch {
      return false;
    }
  });
  t.regex((await outside.tcp(nodeAddress(0), 30081)).answer ?? '', /^node-1/);
});
