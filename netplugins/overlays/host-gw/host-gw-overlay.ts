/**
 * Overlay without encapsulation: one route a peer, its pod range by its node address, for nodes on one link. Owns on the
 * node: the unicast routes of protocol 80 in the main table, and there whatever leads to a peer's pod range. Listens to
 * netlink, and puts right within moments what somebody else deletes or changes. The data path is the kernel's.
 */
import {
  isPintleError,
  PintleError,
  type Joined,
  type LocalNode,
  type Logger,
  type Overlay,
  type OverlayStatus,
  type Peer,
} from '../../../kernel/contract/index.ts';
import { HeldSettings } from '../../linux/held-settings.ts';
import { canonicalCidr } from '../../linux/ip-address.ts';
import { Audit } from '../../linux/overlay/audit.ts';
import {
  overwrittenIp,
  readPeerRange,
  renderAnnotations,
  type Family,
  type PeerRange,
} from '../../linux/overlay/flannel-annotations.ts';
import { noPeers, peerStatus, selectPeers } from '../../linux/overlay/peers.ts';
import { applyChanges, identityOf, isAtHome, planRoutes, unicast } from '../../linux/overlay/planned-routes.ts';
import type { WantedRoute } from '../../linux/overlay/planned-routes.ts';
import {
  findLocalEnd,
  isOnLink,
  localRanges,
  mayMoveWays,
  wayTo,
  type LocalEnd,
  type LocalRange,
  type PeerWay,
  type UnderlayChoice,
} from '../../linux/overlay/underlay.ts';
import { openRtnetlink, type Route, type RtEvent, type Rtnetlink } from '../../linux/rtnetlink.ts';

export interface HostGwOptions {
  readonly underlay: UnderlayChoice;
  /** Where the former value of a kernel setting is kept. */
  readonly stateFile: string;
  readonly bootId: string;
  readonly log: Logger;
  readonly netns?: string | undefined;
}

interface GatewayPeer extends PeerRange {
  readonly name: string;
}

interface OwnRange extends LocalRange {
  /** What peers are told instead of the address of this end. */
  readonly overwrite: string | undefined;
}

/** RTPROT_*: marks our routes for the next instance, and for `ip route show proto 80`. */
export const routeProtocol = 80;

export class HostGwOverlay implements Overlay, AsyncDisposable {
  readonly #options: HostGwOptions;
  readonly #links: Rtnetlink;
  readonly #settings: HeldSettings;
  readonly #audit: Audit;
  #ranges: readonly OwnRange[] = [];
  /** By family, as of the last look. */
  #ends: ReadonlyMap<Family, LocalEnd> = new Map();
  /** Before the first sync what leads to peers is a predecessor's, and right. */
  #isSynced = false;
  #peers = noPeers<GatewayPeer>();
  /** Peers that are not on the same link, as of the last look, with the reason. */
  #distant: ReadonlyMap<string, string> = new Map();
  /** By index of each link that leads to peers, as of the last look: its MTU. */
  #underlays: ReadonlyMap<number, number> = new Map();
  #trouble: string | undefined = 'not joined yet';
  #stop: (() => void) | undefined;
  #closed = false;

  constructor(options: HostGwOptions) {
    this.#options = options;
    this.#links = openRtnetlink({ netns: options.netns });
    this.#settings = new HeldSettings(options.stateFile, options.bootId, options);
    this.#audit = new Audit({
      reconcile: () => this.#reconcile(),
      failed: (reason) => (this.#trouble = reason),
      log: options.log,
    });
  }

  async join(local: LocalNode): Promise<Joined> {
    this.#ranges = localRanges(local, this.#options.underlay, 'host-gw').map((range) => ({
      ...range,
      overwrite: overwrittenIp(local.annotations, range.family),
    }));
    this.#stop ??= this.#links.subscribe((event) => this.#onEvent(event));
    this.#reconcile();
    return { mtuBytes: this.#mtuBytes(), annotations: this.#annotations() };
  }

  async sync(peers: readonly Peer[]): Promise<{ readonly changed: number }> {
    if (this.#ranges.length === 0)
      throw new PintleError('UNAVAILABLE', 'Overlay host-gw has not joined: expected join before sync');
    this.#peers = selectPeers<GatewayPeer>(peers, {
      families: this.#ranges.map(({ family }) => family),
      own: this.#ranges.flatMap(({ podCidr, family }) => [
        claimOf(podCidr),
        `address ${this.#ends.get(family)?.address ?? ''}`,
      ]),
      read: (peer, family) => {
        const range = readPeerRange(peer, family, 'host-gw');
        return typeof range === 'object' ? { ...range, name: peer.name } : range;
      },
      claims: ({ podCidr, publicIp }) => [claimOf(podCidr), `address ${publicIp}`],
    });
    this.#isSynced = true;
    return { changed: this.#reconcile() };
  }

  status(): OverlayStatus {
    const { names, refused, chosen } = this.#peers;
    const all = new Map(refused);
    for (const { name, publicIp } of chosen) {
      const reason = this.#distant.get(publicIp);
      if (reason !== undefined) all.set(name, reason);
    }
    return {
      ready: this.#trouble === undefined,
      reason: this.#trouble,
      mtuBytes: this.#mtuBytes(),
      peers: peerStatus({ names, chosen, refused: all }),
      repairs: this.#audit.repairs,
      annotations: this.#trouble === undefined ? this.#annotations() : undefined,
    };
  }

  async leave(): Promise<void> {
    this.#unsubscribe();
    this.#ranges = [];
    this.#ends = new Map();
    this.#underlays = new Map();
    this.#peers = noPeers();
    this.#isSynced = false;
    this.#distant = new Map();
    this.#trouble = 'has left';
    // Also what a predecessor made.
    const ours = this.#links.listRoutes().filter(isOurs);
    applyChanges(
      this.#links,
      ours.map((route) => ({ verb: 'deleteRoute', route: identityOf(route) })),
    );
    this.#settings.restore();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#unsubscribe();
    this.#links.close();
  }

  #mtuBytes(): number {
    const known = [...this.#underlays.values()];
    return known.length === 0 ? 0 : Math.min(...known);
  }

  #unsubscribe(): void {
    this.#audit.stop();
    this.#stop?.();
    this.#stop = undefined;
  }

  #annotations(): Readonly<Record<string, string>> {
    const announced = this.#ranges.map(({ family, overwrite }) => ({
      family,
      publicIp: overwrite ?? this.#ends.get(family)?.address ?? '',
    }));
    return renderAnnotations('host-gw', announced);
  }

  /** Brings the kernel to the inventory. Returns the number of changes that were needed. */
  #reconcile(): number {
    try {
      const { underlay } = this.#options;
      this.#ends = new Map(
        this.#ranges.map((range) => [range.family, findLocalEnd(this.#links, range, underlay, 'host-gw')]),
      );
      const wanted = this.#wantedRoutes();
      this.#look(wanted);
      const changed = this.#isSynced ? this.#applyRoutes(wanted) : 0;
      this.#trouble = undefined;
      return changed;
    } catch (error) {
      this.#trouble = isPintleError(error) ? error.message : String(error);
      throw error;
    }
  }

  #applyRoutes(wanted: readonly WantedRoute[]): number {
    const destinations = new Set(wanted.map(({ destination }) => destination));
    const found = this.#links
      .listRoutes()
      .filter((route) => isOurs(route) || (destinations.has(route.destination) && isAtHome(route)));
    const { removals, additions } = planRoutes(wanted, found);
    return applyChanges(this.#links, [...removals, ...additions]);
  }

  /** The links of this node's ends, and of the routes: the smallest MTU is the pods'. */
  #look(wanted: readonly WantedRoute[]): void {
    const found = new Map([...this.#ends.values()].map(({ link }) => [link.index, link]));
    for (const { link } of wanted) {
      const more = found.has(link) ? undefined : this.#links.getLink(link);
      if (more !== undefined) found.set(link, more);
    }
    this.#underlays = new Map([...found.values()].map(({ index, mtu }) => [index, mtu]));
    // A packet for a pod elsewhere may come in by the link that it goes out by: to tell its sender to ask the other node
    // itself would lead it past this node's translation.
    for (const { name } of found.values())
      this.#settings.hold(`net.ipv4.conf.${name.replaceAll('.', '/')}.send_redirects`, 0);
  }

  #wantedRoutes(): WantedRoute[] {
    const distant = new Map<string, string>();
    const wanted: WantedRoute[] = [];
    for (const peer of this.#peers.chosen) {
      const end = this.#ends.get(peer.family);
      if (end === undefined) continue;
      const way = wayTo(this.#links, peer, end, this.#options.underlay);
      const reason = distanceOf(way, end, (index) => this.#links.getLink(index)?.name ?? `link ${index}`);
      const link = way.route?.link;
      if (reason === undefined && link !== undefined)
        wanted.push({ destination: peer.podCidr, gateway: way.address, link, protocol: routeProtocol });
      else distant.set(peer.publicIp, reason ?? 'the kernel has no route to it');
    }
    for (const [address, reason] of distant)
      if (this.#distant.get(address) !== reason)
        this.#options.log.warn('Peer left out by overlay host-gw', { address, reason });
    this.#distant = distant;
    return wanted;
  }

  #onEvent(event: RtEvent): void {
    if (!this.#closed && this.#ranges.length > 0 && this.#concerns(event)) this.#audit.schedule();
  }

  #concerns(event: RtEvent): boolean {
    const moves = mayMoveWays(event, {
      isUnderlay: (index) => this.#underlays.has(index),
      isAddress: (address) => this.#hasAddress(address),
    });
    // Any address may be the one that is missing.
    return moves || (event.kind === 'address' && this.#trouble !== undefined);
  }

  #hasAddress(address: string): boolean {
    return (
      this.#ranges.some(({ addresses }) => addresses.includes(address)) ||
      this.#peers.chosen.some(({ addresses }) => addresses.includes(address))
    );
  }
}

function isOurs({ protocol, type }: Route): boolean {
  return protocol === routeProtocol && type === unicast;
}

function claimOf(podCidr: string): string {
  return `pod range ${canonicalCidr(podCidr)}`;
}

/** Why a peer's address is not on the same link; undefined: it is. */
function distanceOf(way: PeerWay, end: LocalEnd, nameOf: (index: number) => string): string | undefined {
  const { address, route } = way;
  const advice = 'host-gw needs all nodes on one link; use an overlay that encapsulates (vxlan)';
  if (isOnLink(way, end)) return undefined;
  if (route === undefined) return `the kernel has no route to its address ${address}; ${advice}`;
  if (route.type !== unicast)
    return `its address ${address} is not another node's: the kernel has it as this node's own`;
  if (route.gateway === undefined)
    return `the kernel reaches its address ${address} on ${nameOf(route.link ?? 0)}, not on ${end.link.name}, which option underlay chooses`;
  const by = route.link === undefined ? '' : ` on ${nameOf(route.link)}`;
  return `it is not on the same link: the kernel reaches ${address} through router ${route.gateway}${by}; ${advice}`;
}
