/**
 * The veth pair of one pod: made, checked and removed. The host's end has a name that follows from the sandbox id, the
 * pod's end a MAC that follows from its address, so every step can be repeated or undone without a record of it.
 *
 * The pod has its address as a /32 (or /128) and reaches everything through the gateway: every packet of a pod is routed by
 * the node, where connection tracking sees both directions.
 */
import { createHash } from 'node:crypto';
import { AF_INET, familyOf, formatMac, parseIp } from '../ip-address.ts';
import { isNetns } from '../namespaces.ts';
import { openRtnetlink, RT_SCOPE_LINK, type Link, type NewRoute, type Rtnetlink } from '../rtnetlink.ts';
import type { Lease } from './lease-store.ts';

export const podInterface = 'eth0';
/** The kernel's longest name of a link. */
const nameLength = 15;

export function hostInterfaceOf(prefix: string, sandboxId: string): string {
  const hash = createHash('sha256').update(sandboxId).digest('hex');
  return `${prefix}${hash}`.slice(0, nameLength);
}

export function isHostInterface(prefix: string, name: string): boolean {
  return name.length === nameLength && name.startsWith(prefix) && /^[0-9a-f]+$/.test(name.slice(prefix.length));
}

/** 0a:58 and the IPv4 address, or the last four bytes of the IPv6 one. An address that is used again has the same MAC, so
 *  that no stale ARP entry can point elsewhere. */
export function macOf(ip: string): string {
  return formatMac(Buffer.concat([Buffer.from([0x0a, 0x58]), parseIp(ip).subarray(-4)]));
}

/** "10.244.1.2/32": the address alone. */
export function hostPrefix(ip: string): string {
  return `${ip}/${familyOf(ip) === AF_INET ? 32 : 128}`;
}

const anywhere = (ip: string): string => (familyOf(ip) === AF_INET ? '0.0.0.0/0' : '::/0');

function routesOf(lease: Lease, link: number): NewRoute[] {
  return lease.gateways.flatMap((gateway): NewRoute[] => [
    {
      destination: hostPrefix(gateway),
      link,
      ...(familyOf(gateway) === AF_INET ? { scope: RT_SCOPE_LINK } : {}),
    },
    { destination: anywhere(gateway), gateway, link },
  ]);
}

/** Connects the pod anew; what an earlier attempt left is removed first. `plug` brings the node's end to work. */
export function connectPod(
  host: Rtnetlink,
  { name, lease, mtuBytes }: { readonly name: string; readonly lease: Lease; readonly mtuBytes: number },
  plug: (port: Link) => void,
): void {
  host.deleteLink(name);
  const { netns } = lease;
  const mac = macOf(lease.ips[0] ?? '');
  host.createVeth({ name, mtu: mtuBytes, peer: { name: podInterface, netns, mac, mtu: mtuBytes } });
  const port = host.getLink(name);
  if (port !== undefined) {
    plug(port);
    // What the node's end sends, the pod receives.
    if (lease.bandwidth?.ingressBitsPerSecond !== undefined)
      host.setRate(port.index, lease.bandwidth.ingressBitsPerSecond);
  }
  const pod = openRtnetlink({ netns });
  try {
    pod.setLink('lo', { up: true });
    const link = pod.getLink(podInterface)?.index ?? 0;
    pod.setLink(link, { up: true });
    for (const ip of lease.ips) pod.addAddress(link, hostPrefix(ip));
    for (const route of routesOf(lease, link)) pod.replaceRoute(route);
    if (lease.bandwidth?.egressBitsPerSecond !== undefined) pod.setRate(link, lease.bandwidth.egressBitsPerSecond);
  } finally {
    pod.close();
  }
}

/** Both ends of a pod's link. A pod whose namespace is gone, or has no link yet, has nothing to set. */
export function setPodMtu(host: Rtnetlink, name: string, { netns }: Pick<Lease, 'netns'>, mtuBytes: number): void {
  const port = host.getLink(name);
  if (port === undefined || !isNetns(netns)) return;
  if (port.mtu !== mtuBytes) host.setLink(port.index, { mtu: mtuBytes });
  const pod = openRtnetlink({ netns });
  try {
    const link = pod.getLink(podInterface);
    if (link !== undefined && link.mtu !== mtuBytes) pod.setLink(link.index, { mtu: mtuBytes });
  } finally {
    pod.close();
  }
}

/** What differs in the pod from what `connectPod` made, in words. */
export function checkPod(hostEnd: Link | undefined, lease: Lease, mtuBytes: number): string[] {
  const { netns } = lease;
  if (!isNetns(netns)) return [`the network namespace ${netns} does not exist`];
  const wrong: string[] = [];
  const pod = openRtnetlink({ netns });
  try {
    const link = pod.getLink(podInterface);
    if (link === undefined) return [`the pod has no interface ${podInterface}`];
    const mac = macOf(lease.ips[0] ?? '');
    if (!link.up) wrong.push(`${podInterface} in the pod is down`);
    if (link.mac !== mac) wrong.push(`${podInterface} has MAC ${link.mac}, expected ${mac}`);
    if (link.mtu !== mtuBytes) wrong.push(`${podInterface} has MTU ${link.mtu}, expected ${mtuBytes}`);
    if (hostEnd !== undefined && hostEnd.peer !== link.index)
      wrong.push(`${hostEnd.name} is not the other end of ${podInterface}`);
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
