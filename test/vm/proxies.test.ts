/** All four modes of kind proxy on one kernel, which has what each needs: the kit for each, and from one to another. */
import test from 'ava';
import { proxyConformance } from '../../kernel/conformance/proxy.ts';
import type { Proxy, ProxyCapability, ProxyPort, ProxyState } from '../../kernel/contract/index.ts';
import iptables from '../../netplugins/proxies/iptables/index.ts';
import ipvs from '../../netplugins/proxies/ipvs/index.ts';
import nftables from '../../netplugins/proxies/nftables/index.ts';
import { probeIpvs } from '../../netplugins/proxies/ipvs/probe.ts';
import userspace from '../../netplugins/proxies/userspace/index.ts';
import { openUserspaceProxy } from '../lab/support/hosted-proxy.ts';
import { iptablesTraces, lockFile, openIptablesProxy } from '../lab/support/iptables-place.ts';
import { ipvsTraces, openIpvsProxy } from '../lab/support/ipvs-place.ts';
import { openNftablesProxy } from '../lab/support/nftables-place.ts';
import { openProxyBed, type ProxyBedOptions } from '../lab/support/proxy-bed.ts';
import { endpoint, port as namedPort, proxyState, vip } from '../lab/support/service-ports.ts';
import { checkServiceRange } from '../lab/support/service-range.ts';
import { sharedNetwork } from '../lab/support/shared-network.ts';
import { nodeAddress, snapshot } from '../lab/support/topology.ts';
import { slowdown } from './support/slowdown.ts';

const network = sharedNetwork(test);

const proxies: Readonly<Record<string, { readonly capabilities: readonly string[] | undefined } & ProxyBedOptions>> = {
  nftables: {
    capabilities: nftables.capabilities,
    open: async (node) => openNftablesProxy(node, ['ip']),
    damages: ['nft flush ruleset', 'nft delete table ip pintle-proxy'],
    traces: snapshot,
  },
  iptables: {
    capabilities: iptables.capabilities,
    open: async (node) => openIptablesProxy(node, 'legacy', ['ip']),
    damages: [`env XTABLES_LOCKFILE=${lockFile} iptables-legacy -t nat -F`],
    traces: iptablesTraces,
  },
  ipvs: {
    capabilities: ipvs.capabilities,
    open: async (node) => openIpvsProxy(node, 'nft', { families: ['ip'] }),
    damages: [
      'ip link delete kube-ipvs0',
      'ip route flush table local dev kube-ipvs0',
      'ip address flush dev kube-ipvs0',
      'ipset flush',
      'ipvsadm -C',
      'iptables-nft -t nat -F',
      'nft flush ruleset',
    ],
    traces: ipvsTraces,
  },
  userspace: {
    capabilities: userspace.capabilities,
    open: async (node) => openUserspaceProxy(node, 'nft'),
    damages: ['nft flush ruleset'],
    traces: iptablesTraces,
  },
};

for (const [name, { capabilities, ...options }] of Object.entries(proxies))
  proxyConformance(test.serial, {
    name,
    capabilities: capabilities as readonly ProxyCapability[],
    open: async (t) => openProxyBed(t, { ...options, slowdown }, await network()),
  });

/** A Service with one port need not name it. */
const port = (change: Partial<ProxyPort> = {}): ProxyPort => namedPort({ name: '', ...change });

const state = (...ports: readonly ProxyPort[]): ProxyState => proxyState([nodeAddress(0)], ports);

test.serial(
  'nftables to ipvs to iptables on one node: each works, leaves nothing, and takes nothing foreign along',
  async (t) => {
    const { one, two } = await network();
    const { node, pod } = one;
    t.is(await probeIpvs(['ip', 'ip6'], ['nft', 'legacy'], ['rr', 'mh']), undefined);
    const foreign = ['-t', '192.168.99.1:9999', '-s', 'wlc'];
    node.run('ipvsadm', '-A', ...foreign);
    node.run('ipset', 'create', 'theirs', 'hash:ip');
    node.run('nft', 'add table inet theirs; add chain inet theirs c { type filter hook input priority 5; }');
    t.teardown(() => {
      node.run('ipvsadm', '-D', '-t', '192.168.99.1:9999');
      node.run('ipset', 'destroy', 'theirs');
      node.run('nft', 'delete', 'table', 'inet', 'theirs');
    });
    const services = state(
      port({ nodePort: 30080, endpoints: [endpoint(one.ip, { local: true }), endpoint(two.ip)] }),
      port({ service: 'empty', port: 9000 }),
    );
    const before = ipvsTraces(node);
    // Each begins where the one before has gone, as with an agent whose config names another.
    const modes: readonly (readonly [string, () => Proxy & AsyncDisposable])[] = [
      ['nftables', () => openNftablesProxy(node, ['ip'])],
      ['ipvs', () => openIpvsProxy(node, 'nft', { families: ['ip'] })],
      ['iptables', () => openIptablesProxy(node, 'nft', ['ip'])],
    ];
    for (const [mode, open] of modes) {
      const proxy = open();
      t.teardown(() => proxy[Symbol.asyncDispose]());
      await proxy.sync(services);
      for (const [host, to] of [
        [vip, 8000],
        [nodeAddress(0), 30080],
      ] as const)
        t.regex((await pod.tcp(host, to, { timeoutMs: 10_000 })).answer ?? '', /^node-/, `${mode}: ${host}`);
      t.is((await pod.tcp(vip, 9000, { timeoutMs: 10_000 })).error, 'ECONNREFUSED', mode);
      await proxy.purge();
      // What nftables leaves would be there after the next, too.
      if (mode !== 'nftables') t.is(ipvsTraces(node), before, `${mode} is gone`);
    }
  },
);

test.serial('ipvs: the service range is refused but for what Services, the node and others have in it', async (t) => {
  const { one, two, underlay } = await network();
  const proxy = openIpvsProxy(one.node, 'nft', { families: ['ip', 'ip6'] });
  t.teardown(async () => {
    await proxy.purge();
    await proxy[Symbol.asyncDispose]();
  });
  const sync = () => proxy.sync(state(port({ endpoints: [endpoint(two.ip)] })));
  await checkServiceRange(t, { one, two, underlay, isDual: false, sync });
});
