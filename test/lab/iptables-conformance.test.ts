import test from 'ava';
import { proxyConformance } from '../../kernel/conformance/proxy.ts';
import type { ProxyCapability } from '../../kernel/contract/index.ts';
import plugin from '../../netplugins/proxies/iptables/index.ts';
import { iptablesTraces, lockFile, openIptablesProxy } from './support/iptables-place.ts';
import { openProxyBed } from './support/proxy-bed.ts';

for (const backend of ['nft', 'legacy'] as const) {
  const iptables = `env XTABLES_LOCKFILE=${lockFile} iptables-${backend} -t`;
  proxyConformance(test, {
    name: `iptables (${backend})`,
    capabilities: plugin.capabilities as readonly ProxyCapability[],
    open: (t) =>
      openProxyBed(t, {
        open: async (node) => openIptablesProxy(node, backend),
        damages: [
          `${iptables} nat -F`,
          `${iptables} nat -F; ${iptables} filter -F; ${iptables} nat -X; ${iptables} filter -X`,
          `${iptables} nat -F PINTLE-SERVICES`,
          `${iptables} nat -D OUTPUT 1`,
          `${iptables} nat -F PINTLE-POSTROUTING`,
          ...(backend === 'nft' ? ['nft flush ruleset', 'nft delete table ip nat'] : []),
        ],
        traces: iptablesTraces,
      }),
  });
}
