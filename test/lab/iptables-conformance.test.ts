import test from 'ava';
import { proxyConformance } from '../../kernel/conformance/proxy.ts';
import plugin from '../../netplugins/proxies/iptables/index.ts';
import { iptablesTraces, lockFile, openIptablesProxy } from './support/iptables-place.ts';
import { askedIn, openProxyBed } from './support/proxy-bed.ts';
import { sharedNetwork } from './support/shared-network.ts';

const network = sharedNetwork(test);

for (const [backend, family] of [
  ['nft', 'ip'],
  ['legacy', 'ip'],
  ['nft', 'ip6'],
] as const) {
  const isSix = family === 'ip6';
  const iptables = `env XTABLES_LOCKFILE=${lockFile} ip${isSix ? '6' : ''}tables-${backend} -t`;
  proxyConformance(test.serial, {
    name: `iptables (${backend}${isSix ? ', IPv6' : ''})`,
    capabilities: askedIn(family, plugin.capabilities),
    open: async (t) =>
      openProxyBed(
        t,
        {
          family,
          open: async (node) => openIptablesProxy(node, backend),
          damages: [
            `${iptables} nat -F`,
            `${iptables} nat -F; ${iptables} filter -F; ${iptables} nat -X; ${iptables} filter -X`,
            `${iptables} nat -F PINTLE-SERVICES`,
            `${iptables} nat -D OUTPUT 1`,
            `${iptables} nat -F PINTLE-POSTROUTING`,
            ...(backend === 'nft' ? ['nft flush ruleset', `nft delete table ${family} nat`] : []),
          ],
          traces: iptablesTraces,
        },
        await network(family),
      ),
  });
}
