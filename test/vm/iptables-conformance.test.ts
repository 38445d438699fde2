import test from 'ava';
import { proxyConformance } from '../../kernel/conformance/proxy.ts';
import type { ProxyCapability } from '../../kernel/contract/index.ts';
import plugin from '../../netplugins/proxies/iptables/index.ts';
import { iptablesTraces, lockFile, openIptablesProxy } from '../lab/support/iptables-place.ts';
import { openProxyBed } from '../lab/support/proxy-bed.ts';
import { sharedNetwork, slowdown } from './support/shared-network.ts';

const network = sharedNetwork(test);

proxyConformance(test.serial, {
  name: 'iptables',
  capabilities: plugin.capabilities as readonly ProxyCapability[],
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
