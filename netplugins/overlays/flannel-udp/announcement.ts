/**
 * What a node tells others about its end of the tunnels: flannel's annotations, and one of our own beside them, which flannel
 * ignores. A node without ours is one of flannel's: IPv4 only, plain packets with all their checksums.
 */
import type { Peer } from '../../../kernel/contract/index.ts';
import { AF_INET, AF_INET6, canonicalCidr } from '../../linux/ip-address.ts';
import {
  annotationKeys,
  readPeerRange,
  renderAnnotations,
  underlayAddressesOf,
  type Family,
} from '../../linux/overlay/flannel-annotations.ts';
import type { Framing } from './peer-table.ts';

/** flannel's name of the backend. */
export const backendType = 'udp';
export const announcementKey = 'pintle.dev/flannel-udp';

/** JSON of the annotation: what a node can receive. */
export interface Announcement {
  /** Inner packets of both families. */
  readonly ipv6: boolean;
  readonly framings: readonly Framing[];
  /** For people: what its data path uses of its kernel. */
  readonly uses?: Readonly<Record<string, string>>;
}

export interface UdpPeer {
  readonly name: string;
  readonly family: Family;
  readonly podCidr: string;
  readonly publicIp: string;
  /** All underlay addresses that it may send from: the published one first. */
  readonly addresses: readonly string[];
  readonly framings: readonly Framing[];
}

export function announce(publicIp: string, announcement: Announcement): Record<string, string> {
  return {
    ...renderAnnotations(backendType, [{ family: AF_INET, publicIp }]),
    [announcementKey]: JSON.stringify(announcement),
  };
}

/** A node of another maker, or one that says nothing we understand: what every peer can do. */
const flannel: Announcement = { ipv6: false, framings: ['plain'] };

function readAnnouncement(text: string | undefined): Announcement {
  if (text === undefined) return flannel;
  try {
    const { ipv6, framings } = JSON.parse(text) as Partial<Record<keyof Announcement, unknown>>;
    const known = (['plain', 'partial', 'super', 'kernel'] as const).filter(
      (framing) => Array.isArray(framings) && framings.includes(framing),
    );
    return { ipv6: ipv6 === true, framings: known.includes('plain') ? known : ['plain', ...known] };
  } catch {
    return flannel;
  }
}

/** One peer in one family; undefined when it has nothing of it; a text says why it cannot be used. */
export function readUdpPeer(peer: Peer, family: Family): UdpPeer | undefined | string {
  // flanneld names this backend otherwise than we do, and leaves our annotation where it takes over a node of ours.
  const isOurs = peer.annotations[annotationKeys.type] === backendType;
  const { ipv6, framings } = isOurs ? readAnnouncement(peer.annotations[announcementKey]) : flannel;
  if (family === AF_INET) {
    const range = readPeerRange(peer, AF_INET, backendType);
    return typeof range === 'object' ? { ...range, name: peer.name, framings } : range;
  }
  // IPv6 travels over the IPv4 underlay.
  const podCidr = peer.podCidrs.find((cidr) => cidr.includes(':'));
  const { publicIp, addresses } = underlayAddressesOf(peer, AF_INET);
  if (podCidr === undefined || publicIp === undefined || !isOurs || !ipv6) return undefined;
  return {
    name: peer.name,
    family: AF_INET6,
    podCidr: canonicalCidr(podCidr),
    publicIp,
    addresses,
    framings,
  };
}
