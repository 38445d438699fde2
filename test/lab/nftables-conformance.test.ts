import test from 'ava';
import { proxyConformance } from '../../kernel/conformance/proxy.ts';
import plugin from '../../netplugins/proxies/nftables/index.ts';
import { openNftablesProxy } from './support/nftables-place.ts';
import { askedIn, openProxyBed } from './support/proxy-bed.ts';
import { sharedNetwork } from './support/shared-network.ts';
import { snapshot } from './support/topology.ts';

const network = sharedNetwork(test);

for (const [family, name] of [
  ['ip', 'nftables'],
  ['ip6', 'nftables, IPv6'],
] as const)
  proxyConformance(test.serial, {
    name,
    capabilities: askedIn(family, plugin.capabilities),
    open: async (t) =>
      openProxyBed(
        t,
        {
          family,
          open: async (node) => openNftablesProxy(node),
          damages: [
            'nft flush ruleset',
            `nft delete table ${family} pintle-proxy`,
            `nft flush map ${family} pintle-proxy slots-0LIVE`,
            `nft flush chain ${family} pintle-proxy nat-postrouting`,
          ],
          fillIn: (node, command) => {
            if (!command.includes('LIVE')) return command;
            const dispatch = node.run('nft', 'list', 'chain', family, 'pintle-proxy', 'nat-prerouting');
            return command.replace('LIVE', /goto draw(-[ab])/.exec(dispatch)?.[1] ?? '');
          },
          traces: snapshot,
        },
        await network(family),
      ),
  });
