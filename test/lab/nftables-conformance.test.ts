import test from 'ava';
import { proxyConformance } from '../../kernel/conformance/proxy.ts';
import type { ProxyCapability } from '../../kernel/contract/index.ts';
import plugin from '../../netplugins/proxies/nftables/index.ts';
import { openNftablesProxy } from './support/nftables-place.ts';
import { openProxyBed } from './support/proxy-bed.ts';
import { snapshot } from './support/topology.ts';

proxyConformance(test, {
  name: 'nftables',
  capabilities: plugin.capabilities as readonly ProxyCapability[],
  open: (t) =>
    openProxyBed(t, {
      open: async (node) => openNftablesProxy(node),
      damages: [
        'nft flush ruleset',
        'nft delete table ip pintle-proxy',
        'nft flush map ip pintle-proxy slots-0LIVE',
        'nft flush chain ip pintle-proxy nat-postrouting',
      ],
      fillIn: (node, command) => {
        if (!command.includes('LIVE')) return command;
        const dispatch = node.run('nft', 'list', 'chain', 'ip', 'pintle-proxy', 'nat-prerouting');
        return command.replace('LIVE', /vmap @services(-[ab])/.exec(dispatch)?.[1] ?? '');
      },
      traces: snapshot,
    }),
});
