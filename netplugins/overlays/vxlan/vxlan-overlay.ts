/**
 * Overlay by kernel VXLAN in flannel's layout. Owns on the node: the devices flannel.<vni> and flannel-v6.<vni>, all that
 * hangs on them (addresses, routes, ARP and FDB entries), and the unicast routes of protocol 81 in the main table. Listens to netlink, and puts right within moments what
 * somebody else deletes or changes. The data path is the kernel's: it goes on while this process is dead.
 */
import { createHash } from 'node:crypto';
import { release } from 'node:os';
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
import { setTxChecksumOffload } from '../../linux/ethtool.ts';
import { HeldSettings } from '../../linux/held-settings.ts';
import { AF_INET, AF_INET6, canonicalCidr, formatMac, networkAddress, parseCidr } from '../../linux/ip-address.ts';
import { Audit } from '../../linux/overlay/audit.ts';
import { ensureAddress, ensureDelivery } from '../../linux/overlay/device-state.ts';
import { overwrittenIp, renderAnnotations, type Family } from '../../linux/overlay/flannel-annotations.ts';
import { noPeers, peerStatus, selectPeers } from '../../linux/overlay/peers.ts';
import { applyChanges, identityOf, isAtHome, unicast } from '../../linux/overlay/planned-routes.ts';
import {
  findLocalEnd,
  isOnLink,
  localRanges,
  mayMoveWays,
  wayTo,
  type LocalEnd,
  type LocalRange,
  type UnderlayChoice,
} from '../../linux/overlay/underlay.ts';
import { openRtnetlink, type Link, type Route, type RtEvent, type Rtnetlink } from '../../linux/rtnetlink.ts';
import { hasChecksumBug } from './checksum-bug.ts';
import { directProtocol, planChanges, type PlannedPeer } from './inventory.ts';
import { readVtep, vtepData, type PeerVtep } from './vtep.ts';

export interface VxlanOptions {
  readonly vni: number;
  readonly port: number;
  readonly txChecksumOffload: 'auto' | 'on' | 'off';
  /** Peers on the same link are reached without the tunnel. */
  readonly directRouting: boolean;
  readonly underlay: UnderlayChoice;
  /** Where the former value of a kernel setting is kept. */
  readonly stateFile: string;
  readonly bootId: string;
  readonly log: Logger;
  readonly netns?: string | undefined;
}

/** Outer IPv4 (20) or IPv6 (40) header, UDP 8, VXLAN 8, inner Ethernet 14. */
export const overheadBytes: Readonly<Record<Family, number>> = { [AF_INET]: 50, [AF_INET6]: 70 };

export function deviceName(family: Family, vni: number): string {
  return family === AF_INET ? `flannel.${vni}` : `flannel-v6.${vni}`;
}

/** Follows from the node's name, so that peers' entries stay right over restarts and reboots. */
export function vtepMacOf(nodeName: string, family: Family): string {
  const hash = createHash('sha256').update(`pintle vxlan ${family} ${nodeName}`).digest();
  return formatMac(Buffer.concat([Buffer.from([0x02]), hash.subarray(0, 5)]));
}

/** One family's device, as it must be. */
interface Tunnel extends LocalRange {
  readonly name: string;
  readonly mac: string;
  /** What peers are told instead of the address of this end. */
  readonly overwrite: string | undefined;
}

/** One family's device and its surroundings, as of the last look. */
interface Seen {
  readonly device: number;
  readonly end: LocalEnd;
  readonly mtuBytes: number;
  /** Links that lead to peers. */
  readonly underlays: ReadonlySet<number>;
}

export class VxlanOverlay implements Overlay, AsyncDisposable {
  readonly #options: VxlanOptions;
  readonly #links: Rtnetlink;
  readonly #settings: HeldSettings;
  #tunnels: readonly Tunnel[] = [];
  #peers = noPeers<PeerVtep>();
  /** Before the first sync what leads to peers is a predecessor's, and right. */
  #isSynced = false;
  readonly #seen = new Map<Family, Seen>();
  readonly #audit: Audit;
  #trouble: string | undefined = 'not joined yet';
  #stop: (() => void) | undefined;
  #closed = false;

  constructor(options: VxlanOptions) {
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
    const { vni, underlay } = this.#options;
    this.#tunnels = localRanges(local, underlay, 'vxlan').map((range) => ({
      ...range,
      name: deviceName(range.family, vni),
      mac: vtepMacOf(local.name, range.family),
      overwrite: overwrittenIp(local.annotations, range.family),
    }));
    this.#seen.clear();
    this.#stop ??= this.#links.subscribe((event) => this.#onEvent(event));
    this.#reconcile();
    return { mtuBytes: this.#mtuBytes(), annotations: this.#annotations() };
  }

  async sync(peers: readonly Peer[]): Promise<{ readonly changed: number }> {
    if (this.#tunnels.length === 0)
      throw new PintleError('UNAVAILABLE', 'Overlay vxlan has not joined: expected join before sync');
    this.#peers = selectPeers<PeerVtep>(peers, {
      families: this.#tunnels.map(({ family }) => family),
      own: this.#tunnels.flatMap(claimsOf),
      read: (peer, family) => readVtep(peer, family, this.#options.vni),
      claims: claimsOf,
    });
    this.#isSynced = true;
    return { changed: this.#reconcile() };
  }

  status(): OverlayStatus {
    return {
      ready: this.#trouble === undefined,
      reason: this.#trouble,
      mtuBytes: this.#mtuBytes(),
      peers: peerStatus(this.#peers),
      repairs: this.#audit.repairs,
      annotations: this.#trouble === undefined ? this.#annotations() : undefined,
    };
  }

  async leave(): Promise<void> {
    this.#unsubscribe();
    this.#tunnels = [];
    this.#seen.clear();
    this.#peers = noPeers();
    this.#isSynced = false;
    this.#trouble = 'has left';
    // Also what a predecessor made; addresses, routes, neighbours and FDB entries go with the device.
    for (const family of [AF_INET, AF_INET6] as const) this.#deleteDevice(family);
    const direct = this.#links.listRoutes().filter(isDirect);
    applyChanges(
      this.#links,
      direct.map((route) => ({ verb: 'deleteRoute', route: identityOf(route) })),
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
    const known = [...this.#seen.values()].map(({ mtuBytes }) => mtuBytes);
    return known.length === 0 ? 0 : Math.min(...known);
  }

  #annotations(): Readonly<Record<string, string>> {
    const announced = this.#tunnels.map(({ family, mac, overwrite }) => ({
      family,
      publicIp: overwrite ?? this.#seen.get(family)?.end.address ?? '',
      data: vtepData(this.#options.vni, mac),
    }));
    return renderAnnotations('vxlan', announced);
  }

  #unsubscribe(): void {
    this.#audit.stop();
    this.#stop?.();
    this.#stop = undefined;
  }

  /** Brings the kernel to the inventory, one family after the other. Returns the number of changes that were needed. */
  #reconcile(): number {
    let changed = 0;
    const failures: unknown[] = [];
    for (const family of [AF_INET, AF_INET6] as const) {
      const tunnel = this.#tunnels.find((one) => one.family === family);
      try {
        if (tunnel !== undefined) changed += this.#reconcileTunnel(tunnel);
        else if (this.#deleteDevice(family)) changed += 1;
      } catch (error) {
        failures.push(error);
      }
    }
    const [failure] = failures;
    if (failure === undefined) this.#trouble = undefined;
    else {
      this.#trouble = isPintleError(failure) ? failure.message : String(failure);
      throw failure;
    }
    return changed;
  }

  #reconcileTunnel(tunnel: Tunnel): number {
    const { family, name } = tunnel;
    const end = findLocalEnd(this.#links, tunnel, this.#options.underlay, 'vxlan');
    const { peers, underlays } = this.#planPeers(family, end, this.#links.getLink(name)?.index);
    const mtu = Math.min(...underlays.values()) - overheadBytes[family];
    const device = this.#ensureDevice(tunnel, end, mtu);
    const link = device.index;
    this.#seen.set(family, { device: link, end, mtuBytes: mtu, underlays: new Set(underlays.keys()) });
    if (!this.#isSynced) return device.changed;
    const destinations = new Set(peers.map(({ podCidr }) => podCidr));
    const found = {
      neighbours: this.#links.listNeighbours({ link, family }),
      fdb: this.#links.listFdb({ link }),
      routes: this.#links
        .listRoutes({ family })
        .filter(
          (route) => route.link === link || isDirect(route) || (destinations.has(route.destination) && isAtHome(route)),
        ),
    };
    this.#forbidRedirects(peers);
    return device.changed + applyChanges(this.#links, planChanges(link, peers, found));
  }

  /** Each peer with its way, and by link that leads there its MTU. `device`: ours, which leads to no underlay address. */
  #planPeers(
    family: Family,
    end: LocalEnd,
    device: number | undefined,
  ): { readonly peers: readonly PlannedPeer[]; readonly underlays: ReadonlyMap<number, number> } {
    const { underlay, directRouting } = this.#options;
    const underlays = new Map([[end.link.index, end.link.mtu]]);
    const chosen = this.#peers.chosen.filter((peer) => peer.family === family);
    const peers = chosen.map((peer): PlannedPeer => {
      const way = wayTo(this.#links, peer, end, underlay);
      const link = way.route?.link;
      if (link !== undefined && !end.isBound && way.route?.type === unicast && link !== device && !underlays.has(link))
        underlays.set(link, this.#links.getLink(link)?.mtu ?? end.link.mtu);
      const isDirect = directRouting && isOnLink(way, end);
      return { ...peer, publicIp: way.address, ...(isDirect ? { directLink: link } : {}) };
    });
    return { peers, underlays };
  }

  /**
   * A packet for a pod elsewhere may come in by the link that it goes out by: to tell its sender to ask the other node itself
   * would lead it past this node's translation.
   */
  #forbidRedirects(peers: readonly PlannedPeer[]): void {
    for (const link of new Set(peers.map(({ directLink }) => directLink))) {
      const name = link === undefined ? undefined : this.#links.getLink(link)?.name;
      if (name !== undefined) this.#settings.hold(`net.ipv4.conf.${name.replaceAll('.', '/')}.send_redirects`, 0);
    }
  }

  #deleteDevice(family: Family): boolean {
    const device = this.#links.getLink(deviceName(family, this.#options.vni));
    return device?.vxlan?.vni === this.#options.vni && this.#links.deleteLink(device.index);
  }

  #ensureDevice(
    { name, mac, family, podCidr }: Tunnel,
    { source: local, link: underlay, isBound }: LocalEnd,
    mtu: number,
  ): { readonly index: number; readonly changed: number } {
    const { vni, port } = this.#options;
    const link = isBound ? underlay.index : undefined;
    let changed = 0;
    let device = this.#links.getLink(name);
    if (device !== undefined && !isSuited(device, { vni, port, local, link })) {
      this.#links.deleteLink(device.index);
      device = undefined;
      changed += 1;
    }
    if (device === undefined) {
      this.#deleteRenamed(family, mac);
      // Without an address the kernel would take it for one of IPv4.
      const from = local ?? (family === AF_INET6 ? '::' : undefined);
      this.#links.createVxlan({ name, vni, port, local: from, link, mac, mtu });
      changed += 1;
      device = this.#links.getLink(name);
    }
    if (device === undefined)
      throw new PintleError('KERNEL_REFUSED', `Device ${name} vanished while it was being set up`);
    const { index } = device;
    if (device.mac !== mac || device.mtu !== mtu) {
      // Not the MAC with the MTU: the kernel forgets all ARP entries of a device that is given one, be it the same.
      this.#links.setLink(index, device.mac === mac ? { mtu } : { mac, mtu });
      changed += 1;
    }
    // The first address of the pod range: the node's own packets into the overlay come from it.
    const address = `${networkAddress(parseCidr(podCidr))}/${family === AF_INET ? 32 : 128}`;
    changed += ensureAddress(this.#links, index, family, address);
    if (!device.up || !device.arp) {
      this.#links.setLink(index, { up: true, arp: true });
      changed += 1;
    }
    changed += ensureDelivery(this.#links, device, address, this.#options);
    if (this.#wantsNoOffload() && setTxChecksumOffload(name, false, this.#options)) changed += 1;
    return { index, changed };
  }

  /** The kernel makes no second device of one VNI, port and address, so one that was given another name is in the way. */
  #deleteRenamed(family: Family, mac: string): void {
    const known = this.#seen.get(family)?.device;
    for (const link of this.#links.listLinks())
      if (link.vxlan?.vni === this.#options.vni && (link.index === known || link.mac === mac))
        this.#links.deleteLink(link.index);
  }

  #wantsNoOffload(): boolean {
    const { txChecksumOffload } = this.#options;
    return txChecksumOffload === 'off' || (txChecksumOffload === 'auto' && hasChecksumBug(release()));
  }

  #onEvent(event: RtEvent): void {
    if (!this.#closed && this.#tunnels.length > 0 && this.#concerns(event)) this.#audit.schedule();
  }

  #concerns(event: RtEvent): boolean {
    const seen = [...this.#seen.values()];
    const isOurs = (index: number | undefined): boolean => seen.some(({ device }) => device === index);
    const { chosen } = this.#peers;
    const moves = mayMoveWays(event, {
      isUnderlay: (index) => seen.some(({ end, underlays }) => end.link.index === index || underlays.has(index)),
      isAddress: (address) =>
        this.#tunnels.some(({ addresses }) => addresses.includes(address)) ||
        chosen.some(({ addresses }) => addresses.includes(address)),
    });
    if (moves) return true;
    switch (event.kind) {
      case 'overflow':
        return true;
      case 'link':
        return this.#tunnels.some(({ name }) => name === event.link.name) || isOurs(event.link.index);
      case 'address':
        // Any may be the one that is missing.
        return isOurs(event.address.index) || this.#trouble !== undefined;
      case 'route':
        return chosen.some(({ podCidr }) => podCidr === event.route.destination) || isOurs(event.route.link);
      case 'neighbour':
        return isOurs(event.neighbour.link);
      case 'fdb':
        return isOurs(event.entry.link);
      case 'setting':
        return isOurs(event.link);
      case 'port':
        return false;
    }
  }
}

function isDirect({ protocol, type }: Route): boolean {
  return protocol === directProtocol && type === unicast;
}

function claimsOf({ podCidr, mac }: { readonly podCidr: string; readonly mac: string }): readonly string[] {
  return [`pod range ${canonicalCidr(podCidr)}`, `MAC ${mac}`];
}

function isSuited(
  { vxlan }: Link,
  want: { vni: number; port: number; local: string | undefined; link: number | undefined },
): boolean {
  return (
    vxlan !== undefined &&
    vxlan.vni === want.vni &&
    vxlan.port === want.port &&
    vxlan.local === want.local &&
    vxlan.link === want.link &&
    !vxlan.learning
  );
}
