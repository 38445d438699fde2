/** Kernel objects as iproute2 prints them, so that a reader can look for them with the host's own tools. */
import type { ConntrackEntry } from '../conntrack.ts';
import type { FdbEntry, Link, Neighbour, Route } from '../rtnetlink.ts';

export type LinkName = (index: number) => string;

const routeTypes: Readonly<Record<number, string>> = {
  2: 'local ',
  3: 'broadcast ',
  6: 'blackhole ',
  7: 'unreachable ',
};

export function showRoute(route: Route, name: LinkName): string {
  return [
    `${routeTypes[route.type] ?? ''}${route.destination}`,
    route.gateway === undefined ? '' : ` via ${route.gateway}`,
    route.link === undefined ? '' : ` dev ${name(route.link)}`,
    route.onlink ? ' onlink' : '',
    route.source === undefined ? '' : ` src ${route.source}`,
    route.mtu === undefined ? '' : ` mtu ${route.mtu}`,
  ].join('');
}

export function showLink(link: Link, name: LinkName): string {
  const kind = link.kind === undefined ? '' : ` ${link.kind}`;
  const master = link.master === undefined ? '' : ` master ${name(link.master)}`;
  const vxlan = link.vxlan === undefined ? '' : ` id ${link.vxlan.vni} dstport ${link.vxlan.port}`;
  return `${link.name}${kind}${vxlan} ${link.mac} mtu ${link.mtu}${master} ${link.up ? 'up' : 'down'}`;
}

export function showNeighbour({ address, mac, link, permanent }: Neighbour, name: LinkName): string {
  return `${address} dev ${name(link)} ${mac === undefined ? 'unresolved' : `lladdr ${mac}`}${permanent ? ' PERMANENT' : ''}`;
}

export function showFdb({ mac, link, destination, permanent }: FdbEntry, name: LinkName): string {
  const to = destination === undefined ? '' : ` dst ${destination}`;
  return `${mac} dev ${name(link)}${to}${permanent ? ' permanent' : ''}`;
}

export function showConntrack({ original, reply }: ConntrackEntry): string {
  return (
    `${original.source}:${original.sourcePort} -> ${original.destination}:${original.destinationPort}, ` +
    `answered by ${reply.source}:${reply.sourcePort}`
  );
}
