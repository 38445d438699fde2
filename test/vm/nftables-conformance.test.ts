import test from 'ava';
import { proxyConformance } from '../../kernel/conformance/proxy.ts';
import { NftablesProxy } from '../../netplugins/proxies/nftables/nftables-proxy.ts';
import { openProxyBed } from '../lab/support/proxy-bed.ts';
import { quiet, snapshot } from '../lab/support/topology.ts';
import { sharedNetwork, slowdown } from './support/shared-network.ts';

const network = sharedNetwork(test);

proxyConformance(test.serial, {
  name: 'nftables',
  capabilities: [
    'ipv4',
    'ipv6',
    'tcp',
    'udp',
    'sctp',
    'node-port',
    'affinity',
    'affinity-time-out',
    'source-ranges',
    'client-address',
    'outlives-agent',
  ],
  open: async (t) =>
    openProxyBed(
      t,
      {
        open: async (node) =>
          new NftablesProxy({
            families: ['ip'],
            log: quiet,
            clock: { now: () => Date.now() },
            netns: node.netns,
          }),
        damages: ['nft flush ruleset', 'nft delete table ip pintle-proxy'],
        traces: snapshot,
        slowdown,
      },
      await network(),
    ),
});
