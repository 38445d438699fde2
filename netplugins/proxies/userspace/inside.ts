import { networkInterfaces } from 'node:os';
import { contains, parseCidr } from '../../linux/ip-address.ts';
import { isOfFamily, type Context } from '../../linux/service-addresses.ts';

/** Whether an address is a pod's or this node's own. */
export function insideOf({ family, clusterCidrs, nodeAddresses }: Context): (address: string) => boolean {
  const ranges = clusterCidrs.map((cidr) => parseCidr(cidr));
  return (address) =>
    nodeAddresses.includes(address) ||
    (isOfFamily(address, family) && ranges.some((range) => contains(range, address))) ||
    Object.values(networkInterfaces()).some((each) => each?.some((own) => own.address === address) === true);
}
