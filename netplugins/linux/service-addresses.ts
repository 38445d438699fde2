/** What every proxy mode derives from a Service's port: addresses and ranges by family, the endpoints to use. Pure. */
import { isIPv4, isIPv6 } from 'node:net';
import type { ProxyEndpoint, ProxyPort, ProxyState } from '../../kernel/contract/index.ts';
import { canonicalCidr, canonicalIp, contains, parseCidr, rangeSize } from './ip-address.ts';

export type IpFamily = 'ip' | 'ip6';

/** What the rules of every port depend on. */
export interface Context {
  readonly family: IpFamily;
  readonly nodeAddresses: readonly string[];
  readonly clusterCidrs: readonly string[];
  readonly serviceCidrs: readonly string[];
}

/** Those that new connections may go to: the ready ones; when there is none, those that terminate but still serve. */
export function usable(endpoints: readonly ProxyEndpoint[]): readonly ProxyEndpoint[] {
  const ready = endpoints.filter((endpoint) => endpoint.ready);
  return ready.length > 0 ? ready : endpoints.filter(({ serving, terminating }) => serving && terminating);
}

export function isOfFamily(address: string, family: IpFamily): boolean {
  return family === 'ip' ? isIPv4(address) : isIPv6(address) && !address.includes('%');
}

/** Valid addresses of the family, canonical, each once. */
export function addressesOf(addresses: readonly string[], family: IpFamily): string[] {
  return [...new Set(addresses.filter((address) => isOfFamily(address, family)).map(canonicalIp))];
}

/** Valid ranges of the family without those that lie in another: an interval set refuses overlaps. */
export function rangesOf(ranges: readonly string[], family: IpFamily): string[] {
  const cidrs = [
    ...new Set(ranges.filter((range) => isOfFamily(range.split('/')[0] ?? '', family)).map(canonicalCidr)),
  ].map((text) => ({ text, cidr: parseCidr(text) }));
  return cidrs
    .filter(({ text, cidr }) =>
      cidrs.every(
        (other) =>
          other.text === text || !contains(other.cidr, cidr.address) || rangeSize(other.cidr) < rangeSize(cidr),
      ),
    )
    .map(({ text }) => text);
}

/**
 * The source ranges of a balancer address `ip`, or undefined when everybody may come. A balancer's address may be bound to
 * the node: then the node's own packets to it come from that very address, and it counts as the node.
 */
export function sourceRangesOf(port: ProxyPort, ip: string, context: Context): string[] | undefined {
  const own = rangesOf(port.loadBalancerSourceRanges, context.family);
  if (port.loadBalancerSourceRanges.length === 0 || own.some((range) => range.endsWith('/0'))) return undefined;
  const cidrs = own.map((range) => parseCidr(range));
  const isNodeAllowed = context.nodeAddresses.some((node) => cidrs.some((cidr) => contains(cidr, node)));
  return isNodeAllowed && !cidrs.some((cidr) => contains(cidr, ip)) ? [...own, ip] : own;
}

export function contextOf(state: ProxyState, family: IpFamily): Context {
  return {
    family,
    nodeAddresses: addressesOf(state.nodeAddresses, family),
    clusterCidrs: rangesOf(state.clusterCidrs, family),
    serviceCidrs: rangesOf(state.serviceCidrs, family),
  };
}

export function portId(port: ProxyPort): string {
  return `${port.namespace}/${port.service}/${port.name}/${port.protocol}/${port.port}`;
}
