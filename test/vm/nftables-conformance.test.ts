import test from 'ava';
import { proxyConformance } from '../../kernel/conformance/proxy.ts';
import type { ProxyCapability } from '../../kernel/contract/index.ts';
import plugin from '../../netplugins/proxies/nftables/index.ts';
import { openNftablesProxy } from '../lab/support/nftables-place.ts';
import { openProxyBed } from '../lab/support/proxy-bed.ts';
import { snapshot } from '../lab/support/topology.ts';
import { sharedNetwork, slowdown } from './support/shared-network.ts';

const network = sharedNetwork(test);

proxyConformance(test.serial, {
  name: 'nftables',
  capabilities: plugin.capabilities as readonly ProxyCapability[],
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
