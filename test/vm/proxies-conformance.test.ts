import test from 'ava';
import { proxyConformance } from '../../kernel/conformance/proxy.ts';
import type { ProxyCapability } from '../../kernel/contract/index.ts';
import iptables from '../../netplugins/proxies/iptables/index.ts';
import nftables from '../../netplugins/proxies/nftables/index.ts';
import userspace from '../../netplugins/proxies/userspace/index.ts';
import { openUserspaceProxy } from '../lab/support/hosted-proxy.ts';
import { iptablesTraces, lockFile, openIptablesProxy } from '../lab/support/iptables-place.ts';
import { openNftablesProxy } from '../lab/support/nftables-place.ts';
import { openProxyBed, type ProxyBedOptions } from '../lab/support/proxy-bed.ts';
import { sharedNetwork } from '../lab/support/shared-network.ts';
import { snapshot } from '../lab/support/topology.ts';
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
