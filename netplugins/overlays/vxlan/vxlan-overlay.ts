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
import {
  AF_INET,
  AF_INET6,
  canonicalIp,
  familyOf,
  formatMac,
  networkAddress,
  parseCidr,
} from '../../linux/ip-address.ts';
import { openRtnetlink, type Link, type RtEvent, type Rtnetlink } from '../../linux/rtnetlink.ts';
import { writeSysctl } from '../../linux/sysctl.ts';
import { hasChecksumBug } from './checksum-bug.ts';
import { readPeer, renderAnnotations, type Family, type PeerVtep } from './flannel-annotations.ts';
import { planChanges } from './inventory.ts';

export interface VxlanOptions {
  readonly vni: number;
  readonly port: number;
  readonly txChecksumOffload: 'auto' | 'on' | 'off';
  readonly log: Logger;
  readonly netns?: string | undefined;
}

/** Outer IPv4 (20) or IPv6 (40) header, UDP 8, VXLAN 8, inner Ethernet 14. */
export const overheadBytes: Readonly<Record<Family, number>> = { [AF_INET]: 50, [AF_INET6]: 70 };
const settleMs = 20;
const retryMs = 1_000;

export function deviceName(family: Family, vni: number): string {
  return family === AF_INET ? `flannel.${vni}` : `flannel-v6.${vni}`;
}

/** Follows from the node's name, so that peers' entries stay right over restarts and reboots. */
export function vtepMacOf(nodeName: string, family: Family): string {
  const hash = createHash('sha256').update(`pintle vxlan ${family} ${nodeName}`).digest();
  return formatMac(Buffer.concat([Buffer.from([0x02]), hash.subarray(0, 5)]));
}

/** One family's device, as it must be. */
interface Tunnel {
  readonly family: Family;
  readonly name: string;
  readonly mac: string;
  readonly podCidr: string;
  /** Underlay address of this node. */
  readonly local: string;
}

export class VxlanOverlay implements Overlay, AsyncDisposable {
  readonly #options: VxlanOptions;
  readonly #links: Rtnetlink;
  #tunnels: readonly Tunnel[] = [];
  #peers: readonly PeerVtep[] = [];
  #refused: ReadonlyMap<string, string> = new Map();
  #names: readonly string[] = [];
  /** By family, as of the last look: our device, its underlay's index, the MTU that the underlay leaves. */
  readonly #seen = new Map<Family, { readonly device: number; readonly underlay: number; readonly mtuBytes: number }>();
  #repairs = 0;
  #trouble: string | undefined = 'not joined yet';
  #told: string | undefined;
  #stop: (() => void) | undefined;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(options: VxlanOptions) {
    this.#options = options;
    this.#links = openRtnetlink({ netns: options.netns });
  }

  async join(local: LocalNode): Promise<Joined> {
    this.#tunnels = local.podCidrs.map((range) => this.#tunnelFor(local, range));
    this.#seen.clear();
    if (this.#tunnels.length === 0)
      throw new PintleError(
        'INVALID',
        `Node ${local.name} joins overlay vxlan without a pod range; expected one a family`,
      );
    this.#stop ??= this.#links.subscribe((event) => this.#onEvent(event));
    writeSysctl('net.ipv4.ip_forward', 1, this.#options);
    for (const tunnel of this.#tunnels) this.#ensureDevice(tunnel);
    this.#trouble = undefined;
    const { vni } = this.#options;
    return {
      mtuBytes: this.#mtuBytes(),
      annotations: renderAnnotations(
        this.#tunnels.map(({ family, mac, local: publicIp }) => ({ family, vni, mac, publicIp })),
      ),
    };
  }

  async sync(peers: readonly Peer[]): Promise<{ readonly changed: number }> {
    if (this.#tunnels.length === 0)
      throw new PintleError('UNAVAILABLE', 'Overlay vxlan has not joined: expected join before sync');
    this.#choose(peers);
    const changed = this.#reconcile();
    return { changed };
  }

  status(): OverlayStatus {
    return {
      ready: this.#trouble === undefined,
      reason: this.#trouble,
      mtuBytes: this.#mtuBytes(),
      peers: this.#names.map((name) => {
        const reason = this.#refused.get(name);
        return { name, ready: reason === undefined, reason };
      }),
      repairs: this.#repairs,
    };
  }

  async leave(): Promise<void> {
    this.#unsubscribe();
    this.#tunnels = [];
    this.#seen.clear();
    this.#peers = [];
    this.#names = [];
    this.#refused = new Map();
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
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#stop?.();
    this.#stop = undefined;
  }

  #tunnelFor(local: LocalNode, podCidr: string): Tunnel {
    const { family } = parseCidr(podCidr);
    const address = local.addresses.find((one) => familyOf(one) === family);
    if (address === undefined)
      throw new PintleError(
        'UNSUPPORTED',
        `Node ${local.name} has pod range ${podCidr} but no underlay address of that family (${local.addresses.join(', ')}); ` +
          'give the node one, or the cluster ranges of one family',
      );
    const { vni } = this.#options;
    return {
      family,
      name: deviceName(family, vni),
      mac: vtepMacOf(local.name, family),
      podCidr,
      local: canonicalIp(address),
    };
  }

  #choose(peers: readonly Peer[]): void {
    const chosen: PeerVtep[] = [];
    const refused = new Map<string, string>();
    const owners = new Map(this.#tunnels.map(({ podCidr }) => [podCidr, 'this node']));
    const macs = new Map(this.#tunnels.map(({ mac }) => [mac, 'this node']));
    for (const peer of [...peers].sort((a, b) => (a.name < b.name ? -1 : 1))) {
      for (const { family } of this.#tunnels) {
        const vtep = readPeer(peer, family, this.#options.vni);
        if (vtep === undefined) continue;
        if (typeof vtep === 'string') {
          refused.set(peer.name, vtep);
          continue;
        }
        const rival = owners.get(vtep.podCidr) ?? macs.get(vtep.mac);
        if (rival !== undefined) {
          refused.set(peer.name, `its pod range ${vtep.podCidr} or its MAC ${vtep.mac} is that of ${rival}`);
          continue;
        }
        owners.set(vtep.podCidr, peer.name);
        macs.set(vtep.mac, peer.name);
        chosen.push(vtep);
      }
    }
    this.#peers = chosen;
    this.#refused = refused;
    this.#names = peers.map(({ name }) => name);
  }

  /** Brings the kernel to the inventory. Returns the number of changes that were needed. */
  #reconcile(): number {
    let changed = 0;
    const failures: PintleError[] = [];
    for (const tunnel of this.#tunnels) {
      const device = this.#ensureDevice(tunnel);
      changed += device.changed;
      const link = device.index;
      const { family } = tunnel;
      const found = {
        neighbours: this.#links.listNeighbours({ link, family }),
        fdb: this.#links.listFdb({ link }),
        routes: this.#links.listRoutes({ link, family }),
      };
      const changes = planChanges(
        link,
        this.#peers.filter((peer) => peer.family === family),
        found,
      );
      const results = this.#links.apply(changes);
      results.forEach((error, index) => {
        const isGone = changes[index]?.verb.startsWith('delete') === true && isRefusedAsGone(error);
        if (error === undefined) changed += 1;
        else if (!isGone) failures.push(error);
      });
    }
    this.#trouble = failures[0]?.message;
    if (failures[0] !== undefined) throw failures[0];
    return changed;
  }

  #ensureDevice(tunnel: Tunnel): { readonly index: number; readonly changed: number } {
    const { name, mac, local, family, podCidr } = tunnel;
    const { vni, port } = this.#options;
    const underlay = this.#underlayOf(local);
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

  #underlayOf(address: string): Link {
    const index = this.#links.listAddresses().find((one) => one.address === address)?.index;
    const link = index === undefined ? undefined : this.#links.getLink(index);
    if (link !== undefined) return link;
    throw new PintleError(
      'KERNEL_REFUSED',
      `Overlay vxlan: the node's address ${address} is on none of its interfaces; expected it on the underlay's. ` +
        'Check the node address that the agent was given',
      { details: { errno: 'EADDRNOTAVAIL', extack: '' } },
    );
  }

  #onEvent(event: RtEvent): void {
    if (this.#concerns(event)) this.#scheduleAudit(settleMs);
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
        return this.#peers.some(({ podCidr }) => podCidr === event.route.destination) || isOurs(event.route.link);
      case 'neighbour':
        return isOurs(event.neighbour.link);
      case 'fdb':
        return isOurs(event.entry.link);
    }
  }

  #scheduleAudit(delayMs: number): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#audit();
    }, delayMs);
  }

  /** Most audits follow our own changes and find nothing. */
  #audit(): void {
    if (this.#tunnels.length === 0 || this.#closed) return;
    try {
      const repaired = this.#reconcile();
      this.#told = undefined;
      this.#repairs += repaired;
      if (repaired > 0) this.#options.log.warn('Overlay objects had been changed by somebody else', { repaired });
    } catch (error) {
      const trouble = isPintleError(error) ? error.message : String(error);
      // Once a reason, not once a second: a vanished underlay may stay away for hours.
      if (trouble !== this.#told)
        this.#options.log.error('Overlay could not be repaired; trying again', { error: trouble });
      this.#trouble = trouble;
      this.#told = trouble;
      this.#scheduleAudit(retryMs);
    }
  }
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

function isRefusedAsGone(error: PintleError | undefined): boolean {
  return error !== undefined && ['ENOENT', 'ESRCH', 'ENODEV', 'ENXIO'].includes(String(error.details['errno']));
}
