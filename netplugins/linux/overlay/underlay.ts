/**
 * Where a node meets the underlay: its own end (address and link that an overlay uses and announces), and its way to each
 * peer. Both are read from the kernel at each look: addresses, links and routes change while an overlay runs.
 */
import { PintleError, type LocalNode } from '../../../kernel/contract/index.ts';
import { AF_INET, canonicalIp, contains, familyOf, parseCidr } from '../ip-address.ts';
import type { Link, Route, RtEvent, Rtnetlink } from '../rtnetlink.ts';
import type { Family, PeerRange } from './flannel-annotations.ts';
import { unicast } from './planned-routes.ts';

/** Neither: by the route to each peer. At most one of the two. */
export interface UnderlayChoice {
  readonly interface?: string | undefined;
  readonly cidrs?: readonly string[] | undefined;
}

export interface LocalRange {
  readonly family: Family;
  readonly podCidr: string;
  /** Underlay addresses that the agent gives this node, of this family. */
  readonly addresses: readonly string[];
}

export interface LocalEnd {
  /** Underlay address of this node, which it announces. */
  readonly address: string;
  /** Where packets come from; undefined: the node has several addresses, and the kernel takes that of the route. */
  readonly source: string | undefined;
  /** The link that has the address. */
  readonly link: Link;
  /** Packets to peers leave by this link only. */
  readonly isBound: boolean;
}

/** How the kernel reaches a peer, as it stands now. */
export interface PeerWay {
  /** Of the peer's underlay addresses the one that is used. */
  readonly address: string;
  readonly route: Route | undefined;
}

const globalScope = 0;
const isChosen = ({ interface: name, cidrs }: UnderlayChoice): boolean => name !== undefined || cidrs !== undefined;
const isIn = (cidrs: readonly string[], address: string): boolean =>
  cidrs.map(parseCidr).some((cidr) => cidr.family === familyOf(address) && contains(cidr, address));

/** The node's pod ranges, each with the node's underlay addresses of its family. Throws INVALID or UNSUPPORTED. */
export function localRanges(node: LocalNode, choice: UnderlayChoice, overlay: string): LocalRange[] {
  if (node.podCidrs.length === 0)
    throw new PintleError(
      'INVALID',
      `Node ${node.name} joins overlay ${overlay} without a pod range; expected one a family`,
    );
  return node.podCidrs.map((podCidr) => {
    const { family } = parseCidr(podCidr);
    const addresses = node.addresses.filter((one) => familyOf(one) === family).map(canonicalIp);
    if (addresses.length > 0 || isChosen(choice)) return { family, podCidr, addresses };
    throw new PintleError(
      'UNSUPPORTED',
      `Node ${node.name} has pod range ${podCidr} but no underlay address of that family (${node.addresses.join(', ')}); ` +
        'give the node one, or the cluster ranges of one family',
    );
  });
}

export function findLocalEnd(
  links: Rtnetlink,
  { family, addresses }: Pick<LocalRange, 'family' | 'addresses'>,
  choice: UnderlayChoice,
  overlay: string,
): LocalEnd {
  const { interface: name, cidrs } = choice;
  const there = links.listAddresses({ family });
  const nowhere = (what: string, advice: string): PintleError =>
    new PintleError('KERNEL_REFUSED', `Overlay ${overlay}: ${what}. ${advice}`, {
      details: { errno: 'EADDRNOTAVAIL', extack: '' },
    });
  if (!isChosen(choice)) {
    for (const address of addresses) {
      const index = there.find((one) => one.address === address)?.index;
      const link = index === undefined ? undefined : links.getLink(index);
      if (link !== undefined)
        return { address, source: addresses.length === 1 ? address : undefined, link, isBound: false };
    }
    const whose = addresses.length === 1 ? "the node's address" : "the node's addresses";
    throw nowhere(
      `${whose} ${addresses.join(', ')} ${addresses.length === 1 ? 'is' : 'are'} on none of its interfaces; expected it on the underlay's`,
      'Check the node address that the agent was given',
    );
  }
  const device = name === undefined ? undefined : links.getLink(name);
  if (name !== undefined && device === undefined)
    throw nowhere(
      `option underlay.interface names ${name}, and the node has no such interface`,
      'Check its name: ip link',
    );
  const usable = there
    .filter(({ index, scope }) => scope === globalScope && (device === undefined || index === device.index))
    .filter(({ address }) => cidrs === undefined || isIn(cidrs, address));
  // One that the node is known by, else the first.
  const found = usable.find(({ address }) => addresses.includes(address)) ?? usable[0];
  const link = device ?? (found === undefined ? undefined : links.getLink(found.index));
  if (found !== undefined && link !== undefined)
    return { address: found.address, source: found.address, link, isBound: true };
  const kind = family === AF_INET ? 'IPv4' : 'IPv6';
  throw nowhere(
    name === undefined
      ? `no interface of the node has an ${kind} address in ${(cidrs ?? []).join(', ')}, as option underlay.cidrs asks for`
      : `interface ${name}, which option underlay.interface names, has no ${kind} address`,
    'Give it one, or correct the option',
  );
}

/** Of a peer's addresses: one on the same link when there is one, else the one that it publishes. */
export function wayTo(
  links: Rtnetlink,
  { publicIp, addresses }: Pick<PeerRange, 'publicIp' | 'addresses'>,
  end: LocalEnd,
  { cidrs }: UnderlayChoice,
): PeerWay {
  const inside = cidrs === undefined ? addresses : addresses.filter((address) => isIn(cidrs, address));
  const candidates = inside.length === 0 ? [publicIp] : inside;
  let first: PeerWay | undefined;
  for (const address of candidates) {
    const way: PeerWay = { address, route: links.routeTo(address) };
    if (isOnLink(way, end)) return way;
    first ??= way;
  }
  return first ?? { address: publicIp, route: links.routeTo(publicIp) };
}

/** Whether the peer is a neighbour: no router between. */
export function isOnLink({ route }: PeerWay, end: LocalEnd): boolean {
  return (
    route?.type === unicast &&
    route.link !== undefined &&
    route.gateway === undefined &&
    (!end.isBound || route.link === end.link.index)
  );
}

/**
 * Whether a change of links, addresses or routes may move this node's end or its way to a peer. Routes to single addresses
 * are mostly pods', links of a kind too.
 */
export function mayMoveWays(
  event: RtEvent,
  known: { readonly isUnderlay: (index: number) => boolean; readonly isAddress: (address: string) => boolean },
): boolean {
  switch (event.kind) {
    case 'overflow':
      return true;
    case 'link':
      return known.isUnderlay(event.link.index) || event.link.kind === undefined;
    case 'address':
      return known.isUnderlay(event.address.index) || known.isAddress(event.address.address);
    case 'route': {
      const { family, address, prefixLength } = parseCidr(event.route.destination);
      return prefixLength < (family === AF_INET ? 32 : 128) || known.isAddress(address);
    }
    case 'neighbour':
    case 'fdb':
    case 'port':
    case 'setting':
      return false;
  }
}
