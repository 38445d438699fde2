/**
 * The veth pair of one pod: made, checked and removed. The host's end has a name that follows from the sandbox id, the
 * pod's end a MAC that follows from its address, so every step can be repeated or undone without a record of it.
 *
 * The pod has its address as a /32 (or /128) and reaches everything through the gateway: every packet of a pod is routed by
 * the node, where connection tracking sees both directions. With br_netfilter on (sysctl net.bridge.bridge-nf-call-iptables)
 * a packet whose destination was translated to a pod of the same bridge is bridged instead; to the sender itself it then
 * needs the port's hairpin mode.
 */
import { createHash } from 'node:crypto';
import { AF_INET, familyOf, formatMac, parseIp } from '../../linux/ip-address.ts';
import { isNetns } from '../../linux/namespaces.ts';
import { openRtnetlink, RT_SCOPE_LINK, type Link, type NewRoute, type Rtnetlink } from '../../linux/rtnetlink.ts';
import type { Lease } from './lease-store.ts';

export const podInterface = 'eth0';
const hostNamePattern = /^veth[0-9a-f]{11}$/;

/** 15 characters, the kernel's longest. */
export function hostInterfaceOf(sandboxId: string): string {
  return `veth${createHash('sha256').update(sandboxId).digest('hex').slice(0, 11)}`;
}

export function isHostInterface(name: string): boolean {
  return hostNamePattern.test(name);
}

/** 0a:58 and the IPv4 address, or the last four bytes of the IPv6 one. An address that is used again has the same MAC, so
 *  that no stale ARP entry can point elsewhere. */
export function macOf(ip: string): string {
  return formatMac(Buffer.concat([Buffer.from([0x0a, 0x58]), parseIp(ip).subarray(-4)]));
}

export interface PodPlace {
  readonly lease: Lease;
  readonly netns: string;
  readonly bridge: Link;
  readonly mtuBytes: number;
}

const lengthOf = (ip: string): number => (familyOf(ip) === AF_INET ? 32 : 128);
const anywhere = (ip: string): string => (familyOf(ip) === AF_INET ? '0.0.0.0/0' : '::/0');

function routesOf(lease: Lease, link: number): NewRoute[] {
  return lease.gateways.flatMap((gateway): NewRoute[] => [
    {
      destination: `${gateway}/${lengthOf(gateway)}`,
      link,
      ...(familyOf(gateway) === AF_INET ? { scope: RT_SCOPE_LINK } : {}),
    },
    { destination: anywhere(gateway), gateway, link },
  ]);
}

/** Connects the pod anew; what an earlier attempt left is removed first. */
export function connectPod(host: Rtnetlink, { lease, netns, bridge, mtuBytes }: PodPlace): void {
  const name = hostInterfaceOf(lease.sandboxId);
  host.deleteLink(name);
  const mac = macOf(lease.ips[0] ?? '');
  host.createVeth({ name, mtu: mtuBytes, peer: { name: podInterface, netns, mac, mtu: mtuBytes } });
  host.setLink(name, { master: bridge.index, up: true });
  host.setLink(name, { hairpin: true });
  const pod = openRtnetlink({ netns });
  try {
    pod.setLink('lo', { up: true });
    const link = pod.getLink(podInterface)?.index ?? 0;
    pod.setLink(link, { up: true });
    for (const ip of lease.ips) pod.addAddress(link, `${ip}/${lengthOf(ip)}`);
    for (const route of routesOf(lease, link)) pod.replaceRoute(route);
  } finally {
    pod.close();
  }
}

/** What differs from what `connectPod` made, in words. */
export function checkPod(host: Rtnetlink, { lease, netns, bridge, mtuBytes }: PodPlace): string[] {
  const name = hostInterfaceOf(lease.sandboxId);
  const wrong: string[] = [];
  const hostEnd = host.getLink(name);
  if (hostEnd === undefined) wrong.push(`the node's interface ${name} is missing`);
  else {
    if (hostEnd.master !== bridge.index) wrong.push(`${name} is not a port of bridge ${bridge.name}`);
    if (!hostEnd.up) wrong.push(`${name} is down`);
    if (hostEnd.hairpin !== true) wrong.push(`${name} has hairpin off`);
  }
  if (!isNetns(netns)) return [...wrong, `the network namespace ${netns} does not exist`];
  const pod = openRtnetlink({ netns });
  try {
    const link = pod.getLink(podInterface);
    if (link === undefined) return [...wrong, `the pod has no interface ${podInterface}`];
    const mac = macOf(lease.ips[0] ?? '');
    if (!link.up) wrong.push(`${podInterface} in the pod is down`);
    if (link.mac !== mac) wrong.push(`${podInterface} has MAC ${link.mac}, expected ${mac}`);
    if (link.mtu !== mtuBytes) wrong.push(`${podInterface} has MTU ${link.mtu}, expected ${mtuBytes}`);
    if (hostEnd !== undefined && hostEnd.peer !== link.index)
      wrong.push(`${name} is not the other end of ${podInterface}`);
    const addresses = pod.listAddresses({ index: link.index }).map(({ address }) => address);
    for (const ip of lease.ips) if (!addresses.includes(ip)) wrong.push(`${podInterface} lacks address ${ip}`);
    const routes = pod.listRoutes({ link: link.index });
    for (const { destination, gateway } of routesOf(lease, link.index)) {
      if (routes.some((route) => route.destination === destination && route.gateway === gateway)) continue;
      wrong.push(`the pod lacks its route to ${destination}${gateway === undefined ? '' : ` via ${gateway}`}`);
    }
  } finally {
    pod.close();
  }
  return wrong;
}
