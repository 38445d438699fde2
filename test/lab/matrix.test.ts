/** Every attachment with every overlay and every proxy that this kernel has: the same on real packets, whatever carries them. */
import test from 'ava';
import type { Proxy, ProxyPort, ProxyState } from '../../kernel/contract/index.ts';
import {
  attachmentNames,
  clusterCidrs,
  serviceCidrs,
  createCluster,
  mtuOf,
  overlayNames,
  podCidr6,
  type ClusterShape,
  type Member,
} from './support/cluster.ts';
import { openHostedProxy } from './support/hosted-proxy.ts';
import { openIptablesProxy } from './support/iptables-place.ts';
import { openNftablesProxy } from './support/nftables-place.ts';
import { nodeAddress, nodeAddress6, snapshot, type Place } from './support/topology.ts';

const vip = '10.96.0.1';
const vip6 = 'fd96::1';
const nodePort = 30_080;
const large = 1_000_000;

interface Scope {
  teardown(undo: () => unknown): void;
}

function portOf(at: Member, members: readonly Member[], change: Partial<ProxyPort> = {}): ProxyPort {
  return {
    ...{ namespace: 'default', service: 'web', name: 'http', protocol: 'TCP', port: 8000 },
    ...{ clusterIps: [vip], externalIps: [], loadBalancerIps: [], loadBalancerSourceRanges: [] },
    ...{ nodePort: undefined, affinitySeconds: undefined, internalPolicy: 'Cluster', externalPolicy: 'Cluster' },
    endpoints: members.map((member) => ({
      ...{
        address: member.ip,
        port: 80,
        local: member.node === at.node,
        ready: true,
        serving: true,
        terminating: false,
      },
    })),
    ...change,
  };
}

const six = (member: Member): Member => ({
  ...member,
  ip: member.ip.replace(/^10\.244\.(\d+)\.(\d+)$/, 'fd44:0:0:$1::$2'),
});

type OpenProxy = (node: Place) => Proxy & AsyncDisposable;
/** `ipvs` is on the second kernel. */
const otherProxies: Readonly<Record<'iptables' | 'userspace', OpenProxy>> = {
  iptables: (node) => openIptablesProxy(node),
  userspace: (node) => openHostedProxy(node, { mode: 'userspace', redirect: 'nft', families: ['ip', 'ip6'] }),
};

async function setUp(t: Scope, shape: ClusterShape, open: OpenProxy = openNftablesProxy) {
  const { members, topology } = await createCluster(t, 2, { ...shape, dual: true });
  const proxies = topology.nodes.map((node) => open(node));
  t.teardown(() => Promise.all(proxies.map((proxy) => proxy[Symbol.asyncDispose]())));

  const sync = async (portsAt: (at: Member, index: number) => readonly ProxyPort[]): Promise<void> => {
    for (const [index, proxy] of proxies.entries()) {
      const nodeAddresses = [nodeAddress(index), nodeAddress6(index)];
      const state: ProxyState = { nodeAddresses, clusterCidrs, serviceCidrs, ports: portsAt(members[index]!, index) };
      await proxy.sync(state);
    }
  };
  const [one, two] = members as [Member, Member];
  const neighbour = topology.pod('neighbour');
  const request = { sandboxId: 'neighbour', podNamespace: 'default', podName: 'neighbour', netns: neighbour.netns };
  const { ips } = await one.attachment.add({ ...request, hostPorts: [] });
  await neighbour.serve(80, 'neighbour');
  return { one, two, members, sync, proxies, outside: topology.underlay, neighbour: { place: neighbour, ips } };
}

/** Who answers, and as whom the client is seen. */
async function ask(from: Place, host: string, port: number, bytes?: number): Promise<string> {
  const { answer, error } = await from.tcp(host, port, {
    timeoutMs: 20_000,
    ...(bytes === undefined ? {} : { bytes }),
  });
  return answer ?? `error ${error}`;
}

for (const attachment of attachmentNames)
  for (const overlay of overlayNames) {
    const name = `${attachment} x ${overlay} x nftables`;
    // The four tests of a combination follow each other on one network.
    const undo: (() => unknown)[] = [];
    const takeDown = async (): Promise<void> => {
      for (const one of undo.splice(0).reverse()) await one();
    };
    let made: ReturnType<typeof setUp> | undefined;
    const network = () => (made ??= setUp({ teardown: (one) => undo.push(one) }, { attachment, overlay }));
    test.after.always(`${name}: nothing is there any more`, takeDown);

    test(`${name}: pods of one node and of two, small and large packets, IPv4 and IPv6`, async (t) => {
      const { one, two, neighbour } = await network();
      const [near, near6] = neighbour.ips as [string, string];
      t.is(await ask(one.pod, near, 80), `neighbour ${one.ip} 0`);
      t.is(await ask(one.pod, two.ip, 80), `node-1 ${one.ip} 0`);
      t.is(await ask(one.pod, two.ip, 80, large), `node-1 ${one.ip} ${large}`);
      t.is(await ask(neighbour.place, two.ip, 80, large), `node-1 ${near} ${large}`);
      t.is(await ask(one.pod, near6, 80), `neighbour ${six(one).ip} 0`);
      t.is(await ask(one.pod, six(two).ip, 80, large), `node-1 ${six(one).ip} ${large}`);
      t.is((await one.pod.udp(two.ip, 80)).answer, `node-1 ${one.ip}`);
      const mtu = mtuOf({ overlay, dual: true });
      t.is(one.overlay.status().mtuBytes, mtu);
      // The largest packet passes whole: Linux forbids fragments of it, and 28 bytes are the headers of IPv4 and UDP.
      t.is((await one.pod.udp(two.ip, 80, { bytes: mtu - 28 })).answer, `node-1 ${one.ip}`);
      const fragments = (): boolean => /^Ip: (\S+ ){18}[1-9]/m.test(one.pod.run('cat', '/proc/net/snmp'));
      t.false(fragments());
      t.is((await one.pod.udp(two.ip, 80, { bytes: mtu - 27 })).answer, `node-1 ${one.ip}`);
      t.true(fragments(), 'one byte more does not fit');
    });

    test(`${name}: a Service from a pod, from the node and from itself; its clients keep their addresses`, async (t) => {
      const { one, two, sync, neighbour, members } = await network();
      await sync((at) => [portOf(at, [two]), portOf(at, [six(two)], { clusterIps: [vip6] })]);
      t.is(await ask(one.pod, vip, 8000), `node-1 ${one.ip} 0`);
      t.is(await ask(one.pod, vip, 8000, large), `node-1 ${one.ip} ${large}`);
      t.is(await ask(one.pod, vip6, 8000, large), `node-1 ${six(one).ip} ${large}`);
      t.regex(await ask(one.node, vip, 8000, large), /^node-1 \S+ 1000000$/);
      await sync((at) => [portOf(at, [{ ...one, ip: neighbour.ips[0]! }])]);
      t.is(await ask(one.pod, vip, 8000), `neighbour ${one.ip} 0`, 'a neighbour, by way of the node');
      await sync((at) => [portOf(at, [one]), portOf(at, [six(one)], { clusterIps: [vip6] })]);
      t.regex(await ask(one.pod, vip, 8000, large), /^node-0 \S+ 1000000$/, 'hairpin');
      t.regex(await ask(one.pod, vip6, 8000, large), /^node-0 \S+ 1000000$/, 'hairpin, IPv6');
      t.is(await ask(two.pod, vip, 8000), `node-0 ${two.ip} 0`, 'from the other node');
      await sync((at) => [portOf(at, members, { endpoints: [] })]);
      t.is(await ask(one.pod, vip, 8000), 'error ECONNREFUSED');
    });

    test(`${name}: a NodePort on either node, to either node's pods, and a host port beside it`, async (t) => {
      const { one, two, sync, outside, neighbour } = await network();
      const bound = { sandboxId: 'bound', podNamespace: 'default', podName: 'bound', netns: neighbour.place.netns };
      await one.attachment.remove({ sandboxId: 'neighbour' });
      const ports = { hostIp: undefined, hostPort: 18_080, containerPort: 80, protocol: 'TCP' as const };
      await one.attachment.add({ ...bound, hostPorts: [ports] });
      for (const target of [one, two]) {
        await sync((at) => [portOf(at, [target], { nodePort })]);
        for (const index of [0, 1]) {
          const [host, server] = [nodeAddress(index), target.peer.name];
          t.regex(
            await ask(outside, host, nodePort, large),
            new RegExp(`^${server} \\S+ 1000000$`),
            `${host} to ${server}`,
          );
          t.regex(await ask(one.pod, host, nodePort), new RegExp(`^${server} `), `a pod by ${host} to ${server}`);
        }
        t.regex(await ask(one.node, nodeAddress(0), nodePort), new RegExp(`^${target.peer.name} `), 'the node itself');
      }
      t.is(await ask(outside, nodeAddress(0), 18_080, large), `neighbour 192.168.99.254 ${large}`);
      t.is(await ask(two.pod, nodeAddress(0), 18_080, large), `neighbour ${nodeAddress(1)} ${large}`);
      t.is(await ask(one.pod, nodeAddress(0), 18_080), `neighbour ${one.ip} 0`);
      await one.attachment.remove({ sandboxId: 'bound' });
      t.is(await ask(outside, nodeAddress(0), 18_080), 'error ECONNREFUSED');
    });

    test(`${name}: taken down, it leaves every node as it was`, async (t) => {
      t.teardown(takeDown);
      const { members, proxies, sync, one, neighbour } = await network();
      const again = { sandboxId: 'again', podNamespace: 'default', podName: 'again', netns: neighbour.place.netns };
      await one.attachment.add({ ...again, hostPorts: [] });
      await sync((at) => [portOf(at, [one], { nodePort })]);
      for (const [index, { overlay: running, attachment: pods, node }] of members.entries()) {
        await proxies[index]!.purge();
        await running.leave();
        await pods.purge();
        const text = snapshot(node);
        t.notRegex(text, /flannel|cni0|veth|ptp|pintle|10\.244|fd44/);
        t.true(text.includes(nodeAddress(index)) && !text.includes(podCidr6(index)));
      }
    });
  }

for (const [proxy, open] of Object.entries(otherProxies))
  for (const attachment of attachmentNames)
    for (const overlay of overlayNames)
      test(`${attachment} x ${overlay} x ${proxy}: Services and NodePorts, near and far, and a pod to itself`, async (t) => {
        const { one, two, sync, outside, neighbour, members } = await setUp(t, { attachment, overlay }, open);
        const answersAs = async (name: string, from: Place, host: string, to: number): Promise<void> =>
          void t.regex(await ask(from, host, to, large), new RegExp(`^${name} \\S+ ${large}$`), `${host}:${to}`);
        await sync((at) => [portOf(at, [two], { nodePort }), portOf(at, [six(two)], { clusterIps: [vip6] })]);
        await answersAs('node-1', one.pod, vip, 8000);
        await answersAs('node-1', one.pod, vip6, 8000);
        await answersAs('node-1', one.node, vip, 8000);
        await answersAs('node-1', outside, nodeAddress(0), nodePort);
        await sync((at) => [portOf(at, [{ ...one, ip: neighbour.ips[0]! }])]);
        await answersAs('neighbour', one.pod, vip, 8000);
        await answersAs('neighbour', two.pod, vip, 8000);
        await sync((at) => [portOf(at, [one], { nodePort })]);
        await answersAs('node-0', one.pod, vip, 8000);
        await answersAs('node-0', two.node, nodeAddress(1), nodePort);
        await sync((at) => [portOf(at, members, { endpoints: [] })]);
        t.is(await ask(one.pod, vip, 8000), 'error ECONNREFUSED');
      });
