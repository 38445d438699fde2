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
import { AF_INET, canonicalCidr, parseCidr } from '../../linux/ip-address.ts';
import { Audit } from '../../linux/overlay/audit.ts';
import { readPeerRange, renderAnnotations, type PeerRange } from '../../linux/overlay/flannel-annotations.ts';
import { noPeers, peerStatus, selectPeers } from '../../linux/overlay/peers.ts';
import { applyChanges, identityOf, isAtHome, planRoutes, unicast } from '../../linux/overlay/planned-routes.ts';
import type { WantedRoute } from '../../linux/overlay/planned-routes.ts';
import { localRanges, underlayOf, type LocalRange } from '../../linux/overlay/underlay.ts';
import { openRtnetlink, type Route, type RtEvent, type Rtnetlink } from '../../linux/rtnetlink.ts';

export interface HostGwOptions {
  /** Where the former value of a kernel setting is kept. */
  readonly stateFile: string;
  readonly bootId: string;
  readonly log: Logger;
  readonly netns?: string | undefined;
}

interface GatewayPeer extends PeerRange {
  readonly name: string;
}

/** RTPROT_*: marks our routes for the next instance, and for `ip route show proto 80`. */
export const routeProtocol = 80;

export class HostGwOverlay implements Overlay, AsyncDisposable {
  readonly #options: HostGwOptions;
  readonly #links: Rtnetlink;
  readonly #settings: HeldSettings;
  readonly #audit: Audit;
  #ranges: readonly LocalRange[] = [];
  #peers = noPeers<GatewayPeer>();
  /** Peers that are not on the same link, as of the last look, with the reason. */
  #distant: ReadonlyMap<string, string> = new Map();
  /** By index of the underlay link, as of the last look: its MTU. */
  readonly #underlays = new Map<number, number>();
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
    this.#ranges = localRanges(local, 'host-gw');
    this.#stop ??= this.#links.subscribe((event) => this.#onEvent(event));
    this.#look();
    this.#trouble = undefined;
    return {
      mtuBytes: this.#mtuBytes(),
      annotations: renderAnnotations(
        'host-gw',
        this.#ranges.map(({ family, local: publicIp }) => ({ family, publicIp })),
      ),
    };
  }

  async sync(peers: readonly Peer[]): Promise<{ readonly changed: number }> {
    if (this.#ranges.length === 0)
      throw new PintleError('UNAVAILABLE', 'Overlay host-gw has not joined: expected join before sync');
    this.#peers = selectPeers<GatewayPeer>(peers, {
      families: this.#ranges.map(({ family }) => family),
      own: this.#ranges.flatMap(({ podCidr, local }) => [claimOf(podCidr), `address ${local}`]),
      read: (peer, family) => {
        const range = readPeerRange(peer, family, 'host-gw');
        return typeof range === 'object' ? { ...range, name: peer.name } : range;
      },
      claims: ({ podCidr, publicIp }) => [claimOf(podCidr), `address ${publicIp}`],
    });
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
    };
  }

  async leave(): Promise<void> {
    this.#unsubscribe();
    this.#ranges = [];
    this.#underlays.clear();
    this.#peers = noPeers();
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

  /** Finds the underlay of each range again: its MTU is the pods'. */
  #look(): void {
    const found = this.#ranges.map(({ local }) => underlayOf(this.#links, local, 'host-gw'));
    this.#underlays.clear();
    for (const { index, mtu, name } of found) {
      this.#underlays.set(index, mtu);
      // A packet for a pod elsewhere may come in by the link that it goes out by: to tell its sender to ask the other node
      // itself would lead it past this node's translation.
      this.#settings.hold(`net.ipv4.conf.${name.replaceAll('.', '/')}.send_redirects`, 0);
    }
  }

  /** Brings the kernel to the inventory. Returns the number of changes that were needed. */
  #reconcile(): number {
    try {
      this.#look();
      const wanted = this.#wantedRoutes();
      const destinations = new Set(wanted.map(({ destination }) => destination));
      const found = this.#links
        .listRoutes()
        .filter((route) => isOurs(route) || (destinations.has(route.destination) && isAtHome(route)));
      const { removals, additions } = planRoutes(wanted, found);
      const changed = applyChanges(this.#links, [...removals, ...additions]);
      this.#trouble = undefined;
      return changed;
    } catch (error) {
      this.#trouble = isPintleError(error) ? error.message : String(error);
      throw error;
    }
  }

  #wantedRoutes(): WantedRoute[] {
    const distant = new Map<string, string>();
    const wanted: WantedRoute[] = [];
    for (const { podCidr, publicIp } of this.#peers.chosen) {
      const route = this.#links.routeTo(publicIp);
      const reason = distanceOf(publicIp, route, (index) => this.#links.getLink(index)?.name ?? `link ${index}`);
      if (reason === undefined && route?.link !== undefined)
        wanted.push({ destination: podCidr, gateway: publicIp, link: route.link, protocol: routeProtocol });
      else distant.set(publicIp, reason ?? 'the kernel has no route to it');
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

  /** Any link, address or prefix may decide where a peer is; routes to single addresses are mostly pods'. */
  #concerns(event: RtEvent): boolean {
    switch (event.kind) {
      case 'overflow':
        return true;
      case 'link':
        return this.#underlays.has(event.link.index) || event.link.kind === undefined;
      case 'address':
        return this.#underlays.has(event.address.index) || this.#hasAddress(event.address.address);
      case 'route': {
        const { family, address, prefixLength } = parseCidr(event.route.destination);
        return prefixLength < (family === AF_INET ? 32 : 128) || this.#hasAddress(address);
      }
      case 'neighbour':
      case 'fdb':
        return false;
    }
  }

  #hasAddress(address: string): boolean {
    return (
      this.#ranges.some(({ local }) => local === address) ||
      this.#peers.chosen.some(({ publicIp }) => publicIp === address)
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
function distanceOf(address: string, route: Route | undefined, nameOf: (index: number) => string): string | undefined {
  const advice = 'host-gw needs all nodes on one link; use an overlay that encapsulates (vxlan)';
  if (route === undefined) return `the kernel has no route to its address ${address}; ${advice}`;
  if (route.type !== unicast)
    return `its address ${address} is not another node's: the kernel has it as this node's own`;
  if (route.gateway === undefined) return undefined;
  const by = route.link === undefined ? '' : ` on ${nameOf(route.link)}`;
  return `it is not on the same link: the kernel reaches ${address} through router ${route.gateway}${by}; ${advice}`;
}
