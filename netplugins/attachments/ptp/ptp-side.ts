/**
 * The node side of attachment ptp: no bridge. Owns on the node: on the node's end of each pod the gateway addresses and a
 * route to each address of the pod; and a route of protocol 80 that makes the rest of the node's pod range unreachable, so
 * that a packet for a pod that is gone does not leave by the default route.
 */
import { PintleError, type NodeNetwork } from '../../../kernel/contract/index.ts';
import { AF_INET, canonicalCidr, contains, familyOf, parseCidr } from '../../linux/ip-address.ts';
import type { Lease } from '../../linux/pods/lease-store.ts';
import type { NodeSide, NodeView } from '../../linux/pods/node-side.ts';
import { hostPrefix, isHostInterface } from '../../linux/pods/pod-interface.ts';
import {
  RT_SCOPE_LINK,
  RTN_LOCAL,
  type Link,
  type NewRoute,
  type Route,
  type RtEvent,
  type Rtnetlink,
} from '../../linux/rtnetlink.ts';
import { writeSysctl } from '../../linux/sysctl.ts';

/** RTN_UNREACHABLE. */
const unreachable = 7;
/** RTPROT_*: marks our routes that are on no link of ours. */
const routeProtocol = 80;
/** So that any other route to the same range is preferred. */
const lastResort = 4_000_000;

export class PtpSide implements NodeSide {
  readonly name = 'ptp';
  readonly linkPrefix = 'ptp';
  readonly linkPattern = 'ptp+';
  readonly #host: Rtnetlink;
  readonly #netns: string | undefined;
  #ranges: readonly string[] = [];

  constructor(host: Rtnetlink, netns: string | undefined) {
    this.#host = host;
    this.#netns = netns;
  }

  validate(network: NodeNetwork): void {
    for (const range of network.podCidrs) {
      const { prefixLength, family } = parseCidr(range);
      if (prefixLength <= (family === AF_INET ? 30 : 126)) continue;
      throw new PintleError('INVALID', `Pod range ${range} is too small: expected at least a gateway and one pod`);
    }
  }

  prepare(network: NodeNetwork): void {
    this.#ranges = network.podCidrs.map(canonicalCidr);
    const present = this.#host.listRoutes().filter(isOurs);
    for (const route of present) if (!this.#ranges.includes(route.destination)) this.#host.deleteRoute(identity(route));
    for (const destination of this.#ranges)
      if (!present.some((route) => route.destination === destination))
        this.#host.addRoute({ destination, type: unreachable, scope: 0, protocol: routeProtocol, metric: lastResort });
  }

  plug(port: Link, lease: Lease): void {
    if (port.master !== undefined && port.master !== 0) this.#host.setLink(port.index, { master: 0 });
    this.#host.setLink(port.index, { up: true });
    writeSysctl(`net.ipv4.conf.${port.name}.send_redirects`, 0, { netns: this.#netns });
    for (const gateway of lease.gateways) {
      // The kernel makes the way to an address of the node with the address, and only then.
      if (!this.#isLocal(gateway)) this.#host.deleteAddress(port.index, hostPrefix(gateway));
      this.#host.addAddress(port.index, hostPrefix(gateway), { noPrefixRoute: true });
    }
    // The kernel asks for a forwarded packet's neighbour from a link-local address only.
    if (lease.ips.some((ip) => familyOf(ip) !== AF_INET))
      this.#host.addAddress(port.index, 'fe80::1/64', { scope: RT_SCOPE_LINK });
    for (const ip of lease.ips) this.#host.replaceRoute(routeTo(ip, port.index));
  }

  check(port: Link, lease: Lease, view: NodeView): string[] {
    const wrong: string[] = [];
    if (port.master !== undefined) wrong.push(`${port.name} is a port of another link`);
    const addresses = view.addresses.filter(({ index }) => index === port.index).map(({ address }) => address);
    for (const gateway of lease.gateways)
      if (!addresses.includes(gateway)) wrong.push(`${port.name} lacks the gateway address ${gateway}`);
      else if (!this.#isLocal(gateway)) wrong.push(`the node does not know the gateway address ${gateway} for its own`);
    for (const ip of lease.ips) {
      if (familyOf(ip) !== AF_INET && !addresses.includes('fe80::1')) wrong.push(`${port.name} lacks address fe80::1`);
      if (!view.routes.some(({ destination, link }) => destination === hostPrefix(ip) && link === port.index))
        wrong.push(`the node lacks its route to ${ip} on ${port.name}`);
    }
    return wrong;
  }

  awaited(portName: string): readonly string[] {
    return [portName];
  }

  nearLinks(portNames: readonly string[]): readonly string[] {
    return portNames;
  }

  ports(): readonly Link[] {
    const isPort = ({ kind, name }: Link): boolean => kind === 'veth' && isHostInterface(this.linkPrefix, name);
    return this.#host.listLinks().filter(isPort);
  }

  /** Routes to pods, and to the range as a whole. */
  concerns(event: RtEvent): boolean {
    if (event.kind !== 'route') return false;
    const { address } = parseCidr(event.route.destination);
    return this.#ranges.some((range) => contains(parseCidr(range), address));
  }

  #isLocal(address: string): boolean {
    return this.#host.routeTo(address)?.type === RTN_LOCAL;
  }

  purge(): void {
    for (const route of this.#host.listRoutes().filter(isOurs)) this.#host.deleteRoute(identity(route));
    this.#ranges = [];
  }
}

function routeTo(ip: string, link: number): NewRoute {
  return { destination: hostPrefix(ip), link, ...(familyOf(ip) === AF_INET ? { scope: RT_SCOPE_LINK } : {}) };
}

function isOurs({ protocol, type, metric }: Route): boolean {
  return protocol === routeProtocol && type === unreachable && metric === lastResort;
}

function identity({ destination, table, metric, type, protocol }: Route): NewRoute {
  return { destination, table, metric, type, protocol };
}
