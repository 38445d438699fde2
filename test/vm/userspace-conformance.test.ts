import test from 'ava';
import { proxyConformance } from '../../kernel/conformance/proxy.ts';
import type { ProxyCapability } from '../../kernel/contract/index.ts';
import plugin from '../../netplugins/proxies/userspace/index.ts';
import { iptablesTraces } from '../lab/support/iptables-place.ts';
import { openProxyBed } from '../lab/support/proxy-bed.ts';
import { openUserspaceProxy } from '../lab/support/hosted-proxy.ts';
import { sharedNetwork, slowdown } from './support/shared-network.ts';

const network = sharedNetwork(test);

proxyConformance(test.serial, {
  name: 'userspace',
  capabilities: plugin.capabilities as readonly ProxyCapability[],
  open: async (t) =>
    openProxyBed(
      t,
      {
        open: async (node) => openUserspaceProxy(node, 'nft'),
        damages: ['nft flush ruleset'],
        traces: iptablesTraces,
        slowdown,
      },
      await network(),
    ),
});
