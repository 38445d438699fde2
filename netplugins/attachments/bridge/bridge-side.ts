/**
 * The node side of attachment bridge. Owns on the node: the bridge with its addresses, and its ports. With br_netfilter on
 * (sysctl net.bridge.bridge-nf-call-iptables) a packet whose destination was translated to a pod of the same bridge is
 * bridged instead of routed; to the sender itself it then needs the port's hairpin mode.
 */
import { createHash } from 'node:crypto';
import { PintleError, type NodeNetwork } from '../../../kernel/contract/index.ts';
import { addressAt, AF_INET, familyOf, formatMac, parseCidr } from '../../linux/ip-address.ts';
import { gatewayOf, type Lease } from '../../linux/pods/lease-store.ts';
import type { NodeSide } from '../../linux/pods/node-side.ts';
import { hostInterfaceOf, isHostInterface } from '../../linux/pods/pod-interface.ts';
import { RT_SCOPE_LINK, RTN_LOCAL, type Link, type RtEvent, type Rtnetlink } from '../../linux/rtnetlink.ts';
import { writeSysctl } from '../../linux/sysctl.ts';

/** Set on the bridge when it is made: how a later instance, or another program's cni0, is told apart. */
export function bridgeMacOf(name: string): string {
  const hash = createHash('sha256').update(`pintle bridge ${name}`).digest();
  return formatMac(Buffer.concat([Buffer.from([0x02]), hash.subarray(0, 5)]));
}

/** The same in words, for people too (ip link): the MAC is what somebody may change while no agent looks. */
const aliasOf = (name: string): string => `pintle bridge ${name}`;

const linkLocal = 'fe80::1/64';

export class BridgeSide implements NodeSide {
  readonly name = 'bridge';
  readonly linkPrefix = 'veth';
  readonly linkPattern: string;
  readonly #host: Rtnetlink;
  readonly #netns: string | undefined;
  /** Our bridge, once seen: it stays ours when somebody gives it another MAC or name. */
  #index: number | undefined;

  constructor(bridge: string, host: Rtnetlink, netns: string | undefined) {
    this.linkPattern = bridge;
    this.#host = host;
    this.#netns = netns;
  }

  validate(network: NodeNetwork): void {
    for (const range of network.podCidrs) {
      const { prefixLength, family } = parseCidr(range);
      if (prefixLength <= (family === AF_INET ? 30 : 126)) continue;
      throw new PintleError(
        'INVALID',
        `Pod range ${range} is too small for a bridge: expected at least a gateway and one pod`,
      );
    }
  }

  prepare(network: NodeNetwork, leases: readonly Lease[]): void {
    const name = this.linkPattern;
    let bridge = this.#bridge();
    const isNew = bridge === undefined;
    if (bridge === undefined) {
      this.#deleteRenamed();
      this.#host.createBridge({ name, mac: bridgeMacOf(name) });
      bridge = this.#bridge();
    }
    if (bridge === undefined)
      throw new PintleError('KERNEL_REFUSED', `Bridge ${name} vanished while it was being set up`);
    const mac = bridgeMacOf(name);
    if (bridge.mac !== mac) this.#host.setLink(bridge.index, { mac });
    if (bridge.alias !== aliasOf(name)) this.#host.setLink(bridge.index, { alias: aliasOf(name) });
    if (bridge.mtu !== network.mtuBytes) this.#host.setLink(bridge.index, { mtu: network.mtuBytes });
    const wanted = network.podCidrs.map((range) => `${gatewayOf(range)}/${parseCidr(range).prefixLength}`);
    const present = this.#host
      .listAddresses({ index: bridge.index })
      .filter(({ scope }) => scope === 0)
      .map(({ address, prefixLength }) => `${address}/${prefixLength}`);
    for (const cidr of present) if (!wanted.includes(cidr)) this.#host.deleteAddress(bridge.index, cidr);
    for (const cidr of wanted)
      if (!present.includes(cidr)) this.#host.addAddress(bridge.index, cidr, { broadcast: true });
    if (!bridge.up) this.#host.setLink(bridge.index, { up: true });
    for (const cidr of wanted) this.#ensureRoutes(bridge.index, cidr);
    // The kernel asks for a forwarded packet's neighbour from a link-local address only, and the one that it makes up
    // itself is unusable for the seconds of duplicate detection.
    if (wanted.some((cidr) => parseCidr(cidr).family !== AF_INET))
      this.#host.addAddress(bridge.index, linkLocal, { scope: RT_SCOPE_LINK });
    writeSysctl(`net.ipv4.conf.${name.replaceAll('.', '/')}.send_redirects`, 0, { netns: this.#netns });
    if (!isNew) return;
    for (const lease of leases) {
      const port = this.#host.getLink(hostInterfaceOf(this.linkPrefix, lease.sandboxId));
      if (port !== undefined) this.plug(port);
    }
  }

  plug(port: Link): void {
    const master = this.#bridge()?.index ?? 0;
    this.#host.setLink(port.index, { master, up: true });
    this.#host.setLink(port.index, { hairpin: true });
  }

  check(port: Link): string[] {
    const bridge = this.#bridge();
    if (bridge === undefined) return [`bridge ${this.linkPattern} is missing`];
    const wrong: string[] = [];
    if (port.master !== bridge.index) wrong.push(`${port.name} is not a port of bridge ${bridge.name}`);
    if (port.hairpin !== true) wrong.push(`${port.name} has hairpin off`);
    return wrong;
  }

  /** The bridge itself follows its first port up to a second later, and IPv6 works on it only then. */
  awaited(portName: string, lease: Lease): readonly string[] {
    return lease.ips.some((ip) => familyOf(ip) !== AF_INET) ? [portName, this.linkPattern] : [portName];
  }

  nearLinks(): readonly string[] {
    return [this.linkPattern];
  }

  ports(): readonly Link[] {
    const bridge = this.#bridge();
    if (bridge === undefined) return [];
    const isPort = ({ master, name }: Link): boolean =>
      master === bridge.index && isHostInterface(this.linkPrefix, name);
    return this.#host.listLinks().filter(isPort);
  }

  concerns(event: RtEvent): boolean {
    if (event.kind === 'route') return event.route.link !== undefined && event.route.link === this.#index;
    return event.kind === 'link' && (event.link.name === this.linkPattern || event.link.index === this.#index);
  }

  purge(): void {
    const bridge = this.#bridge();
    if (bridge !== undefined) this.#host.deleteLink(bridge.index);
  }

  /** Two with the gateway's address would share the pods' packets between them. Its ports are plugged into the next. */
  #deleteRenamed(): void {
    for (const link of this.#host.listLinks()) if (this.#isOurs(link)) this.#host.deleteLink(link.index);
    this.#index = undefined;
  }

  #isOurs({ kind, mac, alias, index }: Link): boolean {
    const name = this.linkPattern;
    return kind === 'bridge' && (mac === bridgeMacOf(name) || alias === aliasOf(name) || index === this.#index);
  }

  /** The kernel makes the ways to the pods and to the gateway itself with the address, and only then. */
  #ensureRoutes(index: number, cidr: string): void {
    const range = parseCidr(cidr);
    const route = this.#host.matchingRoute(addressAt(range, 2n));
    const leadsToPods = route?.link === index && parseCidr(route.destination).prefixLength >= range.prefixLength;
    if (leadsToPods && this.#host.routeTo(range.address)?.type === RTN_LOCAL) return;
    this.#host.deleteAddress(index, cidr);
    this.#host.addAddress(index, cidr, { broadcast: true });
    if (range.family !== AF_INET) this.#host.deleteAddress(index, linkLocal);
  }

  /** Our bridge, or undefined. Throws when a link of its name is somebody else's. */
  #bridge(): Link | undefined {
    const name = this.linkPattern;
    const link = this.#host.getLink(name);
    if (link === undefined) return undefined;
    if (this.#isOurs(link)) {
      this.#index = link.index;
      return link;
    }
    throw new PintleError(
      'KERNEL_REFUSED',
      `Bridge ${name}: a link of this name exists and is not Pintle's (${link.kind ?? 'physical'}, ${link.mac}); ` +
        `delete it, or give attachment bridge another name in config.bridge`,
      { details: { errno: 'EEXIST', extack: '' } },
    );
  }
}
