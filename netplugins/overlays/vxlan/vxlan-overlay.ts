/**
 * Overlay by kernel VXLAN in flannel's layout. Owns on the node: the devices flannel.<vni> and flannel-v6.<vni> and all
 * that hangs on them (addresses, routes, ARP and FDB entries). Listens to netlink, and puts right within moments what
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
import { AF_INET, AF_INET6, canonicalCidr, formatMac, networkAddress, parseCidr } from '../../linux/ip-address.ts';
import { Audit } from '../../linux/overlay/audit.ts';
import { renderAnnotations, type Family } from '../../linux/overlay/flannel-annotations.ts';
import { noPeers, peerStatus, selectPeers } from '../../linux/overlay/peers.ts';
import { applyChanges } from '../../linux/overlay/planned-routes.ts';
import { localRanges, underlayOf, type LocalRange } from '../../linux/overlay/underlay.ts';
import { openRtnetlink, type Link, type RtEvent, type Rtnetlink } from '../../linux/rtnetlink.ts';
import { hasChecksumBug } from './checksum-bug.ts';
import { planChanges } from './inventory.ts';
import { readVtep, vtepData, type PeerVtep } from './vtep.ts';

export interface VxlanOptions {
  readonly vni: number;
  readonly port: number;
  readonly txChecksumOffload: 'auto' | 'on' | 'off';
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
}

export class VxlanOverlay implements Overlay, AsyncDisposable {
  readonly #options: VxlanOptions;
  readonly #links: Rtnetlink;
  #tunnels: readonly Tunnel[] = [];
  #peers = noPeers<PeerVtep>();
  /** By family, as of the last look: our device, its underlay's index, the MTU that the underlay leaves. */
  readonly #seen = new Map<Family, { readonly device: number; readonly underlay: number; readonly mtuBytes: number }>();
  readonly #audit: Audit;
  #trouble: string | undefined = 'not joined yet';
  #stop: (() => void) | undefined;
  #closed = false;

  constructor(options: VxlanOptions) {
    this.#options = options;
    this.#links = openRtnetlink({ netns: options.netns });
    this.#audit = new Audit({
      reconcile: () => this.#reconcile(),
      failed: (reason) => (this.#trouble = reason),
      log: options.log,
    });
  }

  async join(local: LocalNode): Promise<Joined> {
    const { vni } = this.#options;
    this.#tunnels = localRanges(local, 'vxlan').map((range) => ({
      ...range,
      name: deviceName(range.family, vni),
      mac: vtepMacOf(local.name, range.family),
    }));
    this.#seen.clear();
    this.#stop ??= this.#links.subscribe((event) => this.#onEvent(event));
    for (const tunnel of this.#tunnels) this.#ensureDevice(tunnel);
    this.#trouble = undefined;
    return {
      mtuBytes: this.#mtuBytes(),
      annotations: renderAnnotations(
        'vxlan',
        this.#tunnels.map(({ family, mac, local: publicIp }) => ({ family, publicIp, data: vtepData(vni, mac) })),
      ),
    };
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
    return { changed: this.#reconcile() };
  }

  status(): OverlayStatus {
    return {
      ready: this.#trouble === undefined,
      reason: this.#trouble,
      mtuBytes: this.#mtuBytes(),
      peers: peerStatus(this.#peers),
      repairs: this.#audit.repairs,
    };
  }

  async leave(): Promise<void> {
    this.#unsubscribe();
    this.#tunnels = [];
    this.#seen.clear();
    this.#peers = noPeers();
    this.#trouble = 'has left';
    // Also what a predecessor made; addresses, routes, neighbours and FDB entries go with the device.
    for (const family of [AF_INET, AF_INET6] as const) {
      const device = this.#links.getLink(deviceName(family, this.#options.vni));
      if (device?.vxlan?.vni === this.#options.vni) this.#links.deleteLink(device.index);
    }
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

  #unsubscribe(): void {
    this.#audit.stop();
    this.#stop?.();
    this.#stop = undefined;
  }

  /** Brings the kernel to the inventory. Returns the number of changes that were needed. */
  #reconcile(): number {
    let changed = 0;
    for (const tunnel of this.#tunnels) {
      const device = this.#ensureDevice(tunnel);
      const link = device.index;
      const { family } = tunnel;
      const found = {
        neighbours: this.#links.listNeighbours({ link, family }),
        fdb: this.#links.listFdb({ link }),
        routes: this.#links.listRoutes({ link, family }),
      };
      const peers = this.#peers.chosen.filter((peer) => peer.family === family);
      changed += device.changed;
      try {
        changed += applyChanges(this.#links, planChanges(link, peers, found));
      } catch (error) {
        this.#trouble = isPintleError(error) ? error.message : String(error);
        throw error;
      }
    }
    this.#trouble = undefined;
    return changed;
  }

  #ensureDevice(tunnel: Tunnel): { readonly index: number; readonly changed: number } {
    const { name, mac, local, family, podCidr } = tunnel;
    const { vni, port } = this.#options;
    const underlay = underlayOf(this.#links, local, 'vxlan');
    const mtu = underlay.mtu - overheadBytes[family];
    let changed = 0;
    let device = this.#links.getLink(name);
    if (device !== undefined && !isSuited(device, { vni, port, local, link: underlay.index })) {
      this.#links.deleteLink(device.index);
      device = undefined;
      changed += 1;
    }
    if (device === undefined) {
      this.#links.createVxlan({ name, vni, port, local, link: underlay.index, mac, mtu });
      changed += 1;
      device = this.#links.getLink(name);
    }
    if (device === undefined)
      throw new PintleError('KERNEL_REFUSED', `Device ${name} vanished while it was being set up`);
    const { index } = device;
    this.#seen.set(family, { device: index, underlay: underlay.index, mtuBytes: mtu });
    if (device.mac !== mac || device.mtu !== mtu) {
      this.#links.setLink(index, { mac, mtu });
      changed += 1;
    }
    changed += this.#ensureAddress(index, family, podCidr);
    if (!device.up) {
      this.#links.setLink(index, { up: true });
      changed += 1;
    }
    if (this.#wantsNoOffload() && setTxChecksumOffload(name, false, this.#options)) changed += 1;
    return { index, changed };
  }

  /** The first address of the pod range, alone: the node's own packets into the overlay come from it. */
  #ensureAddress(index: number, family: Family, podCidr: string): number {
    const wanted = `${networkAddress(parseCidr(podCidr))}/${family === AF_INET ? 32 : 128}`;
    let changed = 0;
    let isThere = false;
    for (const { address, prefixLength, scope } of this.#links.listAddresses({ index, family })) {
      const cidr = `${address}/${prefixLength}`;
      if (cidr === wanted) isThere = true;
      else if (scope === 0 && this.#links.deleteAddress(index, cidr)) changed += 1;
    }
    if (!isThere && this.#links.addAddress(index, wanted)) changed += 1;
    return changed;
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
    switch (event.kind) {
      case 'overflow':
        return true;
      case 'link': {
        const { name, index } = event.link;
        return this.#tunnels.some((tunnel) => tunnel.name === name) || seen.some(({ underlay }) => underlay === index);
      }
      case 'address':
        return this.#tunnels.some(({ local }) => local === event.address.address) || isOurs(event.address.index);
      case 'route':
        return (
          this.#peers.chosen.some(({ podCidr }) => podCidr === event.route.destination) || isOurs(event.route.link)
        );
      case 'neighbour':
        return isOurs(event.neighbour.link);
      case 'fdb':
        return isOurs(event.entry.link);
    }
  }
}

function claimsOf({ podCidr, mac }: { readonly podCidr: string; readonly mac: string }): readonly string[] {
  return [`pod range ${canonicalCidr(podCidr)}`, `MAC ${mac}`];
}

function isSuited(device: Link, want: { vni: number; port: number; local: string; link: number }): boolean {
  const { vxlan } = device;
  return (
    vxlan !== undefined &&
    vxlan.vni === want.vni &&
    vxlan.port === want.port &&
    vxlan.local === want.local &&
    vxlan.link === want.link &&
    !vxlan.learning
  );
}
