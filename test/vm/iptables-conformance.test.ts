import test from 'ava';
import { proxyConformance } from '../../kernel/conformance/proxy.ts';
import { iptablesTraces, lockFile, openIptablesProxy } from '../lab/support/iptables-place.ts';
import { openProxyBed } from '../lab/support/proxy-bed.ts';
import { sharedNetwork, slowdown } from './support/shared-network.ts';

const network = sharedNetwork(test);

proxyConformance(test.serial, {
  name: 'iptables',
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
        open: async (node) => openIptablesProxy(node, 'legacy', ['ip']),
        damages: [`env XTABLES_LOCKFILE=${lockFile} iptables-legacy -t nat -F`],
        traces: iptablesTraces,
        slowdown,
      },
      await network(),
    ),
});
