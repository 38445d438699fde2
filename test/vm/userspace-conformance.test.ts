import test from 'ava';
import { proxyConformance } from '../../kernel/conformance/proxy.ts';
import { iptablesTraces } from '../lab/support/iptables-place.ts';
import { openProxyBed } from '../lab/support/proxy-bed.ts';
import { openUserspaceProxy } from '../lab/support/userspace-place.ts';
import { sharedNetwork, slowdown } from './support/shared-network.ts';

const network = sharedNetwork(test);

proxyConformance(test.serial, {
  name: 'userspace',
  capabilities: ['ipv4', 'ipv6', 'tcp', 'udp', 'node-port', 'affinity', 'affinity-time-out', 'source-ranges'],
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
