import test from 'ava';
import { proxyConformance } from '../../kernel/conformance/proxy.ts';
import type { ProxyCapability } from '../../kernel/contract/index.ts';
import plugin from '../../netplugins/proxies/ipvs/index.ts';
import { ipvsTraces, openIpvsProxy } from '../lab/support/ipvs-place.ts';
import { openProxyBed } from '../lab/support/proxy-bed.ts';

import { sharedNetwork, slowdown } from './support/shared-network.ts';

const network = sharedNetwork(test);

proxyConformance(test.serial, {
  name: 'ipvs',
  capabilities: plugin.capabilities as readonly ProxyCapability[],
  open: async (t) =>
    openProxyBed(
      t,
      {
        open: async (node) => openIpvsProxy(node, 'nft', { families: ['ip'] }),
        damages: [
          'ip link delete kube-ipvs0',
          'ip address flush dev kube-ipvs0',
          'ipset flush',
          'ipvsadm -C',
          'iptables-nft -t nat -F',
          'nft flush ruleset',
        ],
        traces: ipvsTraces,
        slowdown,
      },
      await network(),
    ),
});
