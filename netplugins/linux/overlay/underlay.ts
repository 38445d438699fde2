/** The link that carries a node's underlay address: its MTU is what an overlay's packets must fit into. */
import { PintleError } from '../../../kernel/contract/index.ts';
import { canonicalIp, familyOf, parseCidr } from '../ip-address.ts';
import type { Link, Rtnetlink } from '../rtnetlink.ts';
import type { LocalNode } from '../../../kernel/contract/index.ts';
import type { Family } from './flannel-annotations.ts';

export function underlayOf(links: Rtnetlink, address: string, overlay: string): Link {
  const index = links.listAddresses().find((one) => one.address === address)?.index;
  const link = index === undefined ? undefined : links.getLink(index);
  if (link !== undefined) return link;
  throw new PintleError(
    'KERNEL_REFUSED',
    `Overlay ${overlay}: the node's address ${address} is on none of its interfaces; expected it on the underlay's. ` +
      'Check the node address that the agent was given',
    { details: { errno: 'EADDRNOTAVAIL', extack: '' } },
  );
}

export interface LocalRange {
  readonly family: Family;
  readonly podCidr: string;
  /** Underlay address of this node. */
  readonly local: string;
}

/** The node's pod ranges, each with the node's underlay address of its family. Throws INVALID or UNSUPPORTED. */
export function localRanges(node: LocalNode, overlay: string): LocalRange[] {
  if (node.podCidrs.length === 0)
    throw new PintleError(
      'INVALID',
      `Node ${node.name} joins overlay ${overlay} without a pod range; expected one a family`,
    );
  return node.podCidrs.map((podCidr) => {
    const { family } = parseCidr(podCidr);
    const address = node.addresses.find((one) => familyOf(one) === family);
    if (address !== undefined) return { family, podCidr, local: canonicalIp(address) };
    throw new PintleError(
      'UNSUPPORTED',
      `Node ${node.name} has pod range ${podCidr} but no underlay address of that family (${node.addresses.join(', ')}); ` +
        'give the node one, or the cluster ranges of one family',
    );
  });
}
