/** What the attachment itself does to the interfaces that the executables made: size, loopback, IPv6 without delay. */
import { setPodMtu } from '../../linux/pods/pod-interface.ts';
import { AF_INET, familyOf } from '../../linux/ip-address.ts';
import { isNetns } from '../../linux/namespaces.ts';
import { openRtnetlink, RT_SCOPE_LINK, type Link, type Rtnetlink } from '../../linux/rtnetlink.ts';
import { readSysctl, writeSysctl } from '../../linux/sysctl.ts';
import type { AttachmentRecord } from './records.ts';
import { addressesOf } from './result.ts';

type Place = Pick<AttachmentRecord, 'netns' | 'ifName'>;

/** A link that carries nothing yet has been waited for long enough by then; the pod may still come up. */
const carrierMs = 2_000;

/** The empty namespace of a pod: its loopback up, and no second or two of looking for duplicates of IPv6 addresses. */
export function prepareNamespace(netns: string): void {
  if (readSysctl('net.ipv6.conf.default.accept_dad', { netns }) !== undefined)
    writeSysctl('net.ipv6.conf.default.accept_dad', 0, { netns });
  const pod = openRtnetlink({ netns });
  try {
    pod.setLink('lo', { up: true });
  } finally {
    pod.close();
  }
}

/** The node's end of a pod that has a veth pair; undefined for pods of another kind, and for those that are gone. */
export function nodeEndOf(host: Rtnetlink, { netns, ifName }: Place): Link | undefined {
  if (!isNetns(netns)) return undefined;
  const pod = openRtnetlink({ netns });
  try {
    const own = pod.getLink(ifName);
    if (own?.kind !== 'veth' || own.peer === undefined) return undefined;
    const end = host.getLink(own.peer);
    return end?.kind === 'veth' && end.peer === own.index ? end : undefined;
  } finally {
    pod.close();
  }
}

export function setMtu(host: Rtnetlink, place: Place, mtuBytes: number): void {
  const end = nodeEndOf(host, place);
  if (end !== undefined) setPodMtu(host, end.name, place, mtuBytes);
}

/**
 * For a routed link of the built-in list. The kernel looks for duplicates of a new IPv6 address for a second or two, in
 * which the gateway does not answer; and asks for a forwarded packet's neighbour only from a link-local address.
 */
export function settleRouted(host: Rtnetlink, end: Link, netns: string | undefined): void {
  writeSysctl(`net.ipv4.conf.${end.name}.send_redirects`, 0, { netns });
  const six = host
    .listAddresses({ index: end.index })
    .filter(({ address, scope }) => scope === 0 && familyOf(address) !== AF_INET);
  for (const { address, prefixLength } of six) {
    host.deleteAddress(end.index, `${address}/${prefixLength}`);
    host.addAddress(end.index, `${address}/${prefixLength}`);
  }
  if (six.length > 0) host.addAddress(end.index, 'fe80::1/64', { scope: RT_SCOPE_LINK });
}

/** Lets packets between 127.0.0.1 and the pod pass; an executable may just be taking the link away. */
export function openLocalnet(host: Rtnetlink, end: Link, netns: string | undefined): void {
  try {
    writeSysctl(`net.ipv4.conf.${end.name}.route_localnet`, 1, { netns });
  } catch (error) {
    if (host.getLink(end.index)?.name === end.name) throw error;
  }
}

/** The kernel opens a new link a moment after both ends are up; a pod that is started before would lose packets. */
export async function carrier(host: Rtnetlink, index: number): Promise<void> {
  const end = performance.now() + carrierMs;
  while (host.getLink(index)?.operational === false && performance.now() < end)
    await new Promise((resolve) => setTimeout(resolve, 2));
}

/** What is wrong in the pod, as far as a look without the executables can tell. */
export function lookAtPod(record: AttachmentRecord, netns: string, mtuBytes: number | undefined): string[] {
  const { ifName, result } = record;
  if (result === undefined) return [`adding sandbox ${record.sandboxId} did not come to its end`];
  if (!isNetns(netns)) return [`the network namespace ${netns} does not exist`];
  const pod = openRtnetlink({ netns });
  try {
    const link = pod.getLink(ifName);
    if (link === undefined) return [`the pod has no interface ${ifName}`];
    const wrong = link.up ? [] : [`${ifName} in the pod is down`];
    if (mtuBytes !== undefined && link.kind === 'veth' && link.mtu !== mtuBytes)
      wrong.push(`${ifName} has MTU ${link.mtu}, expected ${mtuBytes}`);
    const present = pod.listAddresses({ index: link.index }).map(({ address }) => address);
    for (const { ip } of addressesOf(result, ifName))
      if (!present.includes(ip)) wrong.push(`${ifName} lacks address ${ip}`);
    return wrong;
  } finally {
    pod.close();
  }
}
