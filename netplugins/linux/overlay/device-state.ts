/** What every overlay's device has beside what is its kind's own: one address a family, the way to it, and forwarding. */
import { AF_INET, parseCidr } from '../ip-address.ts';
import { RT_SCOPE_HOST, RT_TABLE_LOCAL, RTN_LOCAL, type Link, type Rtnetlink } from '../rtnetlink.ts';
import { byKernel } from './planned-routes.ts';
import { writeSysctl, type SysctlOptions } from '../sysctl.ts';

/** Of a family `wanted` alone, or none. Returns the number of changes. */
export function ensureAddress(links: Rtnetlink, index: number, family: number, wanted: string | undefined): number {
  let changed = 0;
  let isThere = wanted === undefined;
  for (const { address, prefixLength, scope } of links.listAddresses({ index, family })) {
    const cidr = `${address}/${prefixLength}`;
    if (cidr === wanted) isThere = true;
    else if (scope === 0 && links.deleteAddress(index, cidr)) changed += 1;
  }
  if (!isThere && wanted !== undefined && links.addAddress(index, wanted)) changed += 1;
  return changed;
}

/**
 * Of a device that is up and has the address: that what is sent to the address is delivered here, and what comes for pods
 * is passed on to them. Both are there by themselves until somebody takes them away. Returns the number of changes.
 */
export function ensureDelivery(links: Rtnetlink, { name, index }: Link, cidr: string, options: SysctlOptions): number {
  const { family, address, prefixLength } = parseCidr(cidr);
  let changed = 0;
  // That of IPv6 the kernel makes in its own time after the address: one that is missing may be on its way.
  if (family === AF_INET && links.routeTo(address)?.type !== RTN_LOCAL) {
    const place = { type: RTN_LOCAL, table: RT_TABLE_LOCAL, scope: RT_SCOPE_HOST, protocol: byKernel, link: index };
    if (links.addRoute({ destination: `${address}/${prefixLength}`, ...place, source: address })) changed += 1;
  }
  const conf = `net.ipv${family === AF_INET ? 4 : 6}.conf.${name.replaceAll('.', '/')}`;
  if (writeSysctl(`${conf}.forwarding`, 1, options)) changed += 1;
  return changed;
}
