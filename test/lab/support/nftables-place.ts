/** nftables on a test's node: the proxy under test. */
import type { IpFamily } from '../../../netplugins/linux/service-addresses.ts';
import { NftablesProxy } from '../../../netplugins/proxies/nftables/nftables-proxy.ts';
import { quiet, type Place } from './topology.ts';

export function openNftablesProxy(node: Place, families: readonly IpFamily[] = ['ip', 'ip6']): NftablesProxy {
  return new NftablesProxy({ families, log: quiet, clock: { now: () => Date.now() }, netns: node.netns });
}
