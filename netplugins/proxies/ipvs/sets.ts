/**
 * The ipsets of the proxy. Their names carry the address family, as a set holds one. The fixed iptables rules look packets
 * up in them, so that Services change elements and never rules.
 *
 *   served      an address and port that IPVS serves for us: also the record of which virtual services are ours
 *   inside      what pods and the node reach by another virtual service than others do: the mark that selects it
 *   cluster     cluster addresses: clients from outside the cluster are masqueraded
 *   masquerade  external addresses with policy Cluster: all clients are
 *   refuse      no endpoints; drop, drop-outside: none by the traffic policy, for all clients or for those from outside
 *   restricted, allowed   balancer addresses with source ranges, and the ranges
 *   hairpin     a local endpoint and its own address
 *   addresses   what has a local route to the dummy link
 */
import type { SetDefinition, SetType } from '../../linux/ipset.ts';
import { AF_INET, AF_INET6 } from '../../linux/ip-address.ts';
import type { IpFamily } from '../../linux/service-addresses.ts';

const types = {
  served: 'hash:ip,port',
  inside: 'hash:ip,port',
  cluster: 'hash:ip,port',
  masquerade: 'hash:ip,port',
  refuse: 'hash:ip,port',
  drop: 'hash:ip,port',
  'drop-outside': 'hash:ip,port',
  allowed: 'hash:ip,port,net',
  restricted: 'hash:ip,port',
  hairpin: 'hash:ip,port,ip',
  addresses: 'hash:ip',
} as const satisfies Record<string, SetType>;

export type SetName = keyof typeof types;

/** In the order in which elements are added: what a restriction allows comes before it. Removals go the other way. */
export const setNames = Object.keys(types) as readonly SetName[];

export const setPrefix = 'pintle-vs-';

export function kernelSetName(family: IpFamily, set: SetName): string {
  return `${setPrefix}${family === 'ip' ? '4' : '6'}-${set}`;
}

export function definitionOf(family: IpFamily, set: SetName): SetDefinition {
  return {
    name: kernelSetName(family, set),
    type: types[set],
    family: family === 'ip' ? AF_INET : AF_INET6,
    hasMarks: set === 'inside',
  };
}
