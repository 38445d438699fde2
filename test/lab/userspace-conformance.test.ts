import test from 'ava';
import { proxyConformance } from '../../kernel/conformance/proxy.ts';
import plugin from '../../netplugins/proxies/userspace/index.ts';
import { iptablesTraces, lockFile } from './support/iptables-place.ts';
import { askedIn, openProxyBed } from './support/proxy-bed.ts';
import { openHostedProxy } from './support/hosted-proxy.ts';
import { sharedNetwork } from './support/shared-network.ts';

const network = sharedNetwork(test);

const iptables = `env XTABLES_LOCKFILE=${lockFile} iptables-nft -t nat`;
const damages = {
  nft: (family: 'ip' | 'ip6') => [
    'nft flush ruleset',
    `nft delete table ${family} pintle-userspace`,
    `nft flush map ${family} pintle-userspace inside`,
    `nft flush chain ${family} pintle-userspace nat-output`,
  ],
  iptables: () => [`${iptables} -F`, `${iptables} -D OUTPUT 1`, 'nft flush ruleset'],
};

for (const [redirect, family] of [
  ['nft', 'ip'],
  ['iptables', 'ip'],
  ['nft', 'ip6'],
] as const)
  proxyConformance(test.serial, {
    name: `userspace (${redirect}${family === 'ip6' ? ', IPv6' : ''})`,
    capabilities: askedIn(family, plugin.capabilities),
    open: async (t) =>
      openProxyBed(
        t,
        {
          family,
          open: async (node) => openHostedProxy(node, { mode: 'userspace', redirect, families: [family] }),
          damages: damages[redirect](family),
          traces: iptablesTraces,
        },
        await network(family),
      ),
  });
