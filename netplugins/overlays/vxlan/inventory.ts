/**
 * What one VXLAN device must have in the kernel, and the changes that get it there. Pure.
 *
 * Per peer exactly one ARP entry (its gateway address, the .0 of its pod range, has its VTEP's MAC), one FDB entry (that
 * MAC is at its underlay address) and one route (its pod range is via its gateway). Added in this order, deleted in the
 * reverse: a route never exists before the kernel can resolve it. A peer that is reached without the tunnel has a route by
 * its underlay address, and nothing else.
 */
import { networkAddress, parseCidr } from '../../linux/ip-address.ts';
import { byKernel, planRoutes, unicast, type WantedRoute } from '../../linux/overlay/planned-routes.ts';
import type { FdbEntry, Neighbour, Route, RtChange } from '../../linux/rtnetlink.ts';
import type { PeerVtep } from './vtep.ts';

/** `publicIp`: of its addresses the one to use. */
export interface PlannedPeer extends Pick<PeerVtep, 'podCidr' | 'mac' | 'publicIp'> {
  /** The link that both nodes are on, when the peer is reached without the tunnel. */
  readonly directLink?: number | undefined;
}

export interface Found {
  readonly neighbours: readonly Neighbour[];
  readonly fdb: readonly FdbEntry[];
  /** Those on the device, those of protocol `directProtocol`, and whatever leads to a peer's pod range. */
  readonly routes: readonly Route[];
}

/** RTPROT_*: marks routes without the tunnel for the next instance, and for `ip route show proto 81`. */
export const directProtocol = 81;

export function gatewayOf(podCidr: string): string {
  return networkAddress(parseCidr(podCidr));
}

function routeOf(link: number, { podCidr, publicIp, directLink }: PlannedPeer): WantedRoute {
  if (directLink !== undefined)
    return { destination: podCidr, gateway: publicIp, link: directLink, protocol: directProtocol };
  return { destination: podCidr, gateway: gatewayOf(podCidr), link, onlink: true };
}

/** The changes of device `link` from `found` to exactly `peers`; none when it is so already. */
export function planChanges(link: number, peers: readonly PlannedPeer[], found: Found): RtChange[] {
  const tunnelled = peers.filter(({ directLink }) => directLink === undefined);
  const neighbours = new Map(tunnelled.map((peer) => [gatewayOf(peer.podCidr), peer.mac]));
  const fdb = new Map(tunnelled.map((peer) => [peer.mac, peer.publicIp]));
  const routes = planRoutes(
    peers.map((peer) => routeOf(link, peer)),
    found.routes.filter((route) => route.protocol !== byKernel && route.type === unicast),
  );

  const removals: RtChange[] = [];
  const additions: RtChange[] = [];

  // What is wrong under a key that is wanted is replaced in one step further down, without a moment of nothing.
  const isGoodFdb = (entry: FdbEntry): boolean => fdb.get(entry.mac) === entry.destination && entry.permanent;
  const goodFdb = new Set(found.fdb.filter(isGoodFdb).map(({ mac }) => mac));
  const replacedFdb = new Set<string>();
  for (const entry of found.fdb) {
    if (isGoodFdb(entry)) continue;
    if (fdb.has(entry.mac) && !goodFdb.has(entry.mac) && !replacedFdb.has(entry.mac)) replacedFdb.add(entry.mac);
    // An all-zero MAC is a default destination: ours has none, a foreign one would flood.
    else removals.push({ verb: 'deleteFdb', fdb: { link, mac: entry.mac, destination: entry.destination } });
  }
  const goodNeighbours = new Set<string>();
  for (const entry of found.neighbours) {
    if (neighbours.get(entry.address) === entry.mac && entry.permanent) goodNeighbours.add(entry.address);
    // The kernel's own (multicast) entries are not permanent; a peer's that lost its state is replaced below.
    else if (entry.permanent && !neighbours.has(entry.address))
      removals.push({ verb: 'deleteNeighbour', neighbour: { link, address: entry.address } });
  }

  for (const [address, mac] of neighbours)
    if (!goodNeighbours.has(address)) additions.push({ verb: 'replaceNeighbour', neighbour: { link, address, mac } });
  for (const [mac, destination] of fdb)
    if (!goodFdb.has(mac)) additions.push({ verb: 'replaceFdb', fdb: { link, mac, destination } });
  // Removals last: a peer that changes its way or its MAC has one at every moment.
  return [...routes.removals, ...additions, ...routes.additions, ...removals];
}
