import test from 'ava';
import { proxyConformance } from '../../kernel/conformance/proxy.ts';
import type { ProxyCapability } from '../../kernel/contract/index.ts';
import iptables from '../../netplugins/proxies/iptables/index.ts';
import nftables from '../../netplugins/proxies/nftables/index.ts';
import { iptablesTraces, lockFile, openIptablesProxy } from '../lab/support/iptables-place.ts';
import { openNftablesProxy } from '../lab/support/nftables-place.ts';
import { openProxyBed } from '../lab/support/proxy-bed.ts';
import { snapshot } from '../lab/support/topology.ts';
import { sharedNetwork, slowdown } from './support/shared-network.ts';

const network = sharedNetwork(test);

proxyConformance(test.serial, {
  name: 'nftables',
  capabilities: nftables.capabilities as readonly ProxyCapability[],
  open: async (t) =>
    openProxyBed(
      t,
      {
        open: async (node) => openNftablesProxy(node, ['ip']),
        damages: ['nft flush ruleset', 'nft delete table ip pintle-proxy'],
        traces: snapshot,
        slowdown,
      },
      await network(),
    ),
});

proxyConformance(test.serial, {
  name: 'iptables',
  capabilities: iptables.capabilities as readonly ProxyCapability[],
  open: async (t) =>
    openProxyBed(
      t,
      {
        open: async (node) => openIptablesProxy(node, 'legacy', ['ip']),
        damages: [`env XTABLES_LOCKFILE=${lockFile} iptables-legacy -t nat -F`],
        traces: iptablesTraces,
        slowdown,
      },
      await network(),
    ),
});
