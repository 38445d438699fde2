/**
 * What flannel's Kubernetes subnet manager writes on Node objects, read and written alike, so that a node running flanneld
 * can be a peer of ours and we of it.
 */
import { isIPv4, isIPv6 } from 'node:net';
import { PintleError, type Peer } from '../../../kernel/contract/index.ts';
import { AF_INET, AF_INET6, canonicalCidr, canonicalIp, parseCidr, parseMac } from '../../linux/ip-address.ts';

export type Family = typeof AF_INET | typeof AF_INET6;

const prefix = 'flannel.alpha.coreos.com/';
const keys = {
  type: `${prefix}backend-type`,
  manager: `${prefix}kube-subnet-manager`,
  data: { [AF_INET]: `${prefix}backend-data`, [AF_INET6]: `${prefix}backend-v6-data` },
  publicIp: { [AF_INET]: `${prefix}public-ip`, [AF_INET6]: `${prefix}public-ipv6` },
} as const;

export interface Vtep {
  readonly family: Family;
  readonly vni: number;
  readonly mac: string;
  /** Underlay address. */
  readonly publicIp: string;
}

export function renderAnnotations(vteps: readonly Vtep[]): Record<string, string> {
  const annotations: Record<string, string> = { [keys.type]: 'vxlan', [keys.manager]: 'true' };
  for (const { family, vni, mac, publicIp } of vteps) {
    annotations[keys.data[family]] = JSON.stringify({ VNI: vni, VtepMAC: mac });
    annotations[keys.publicIp[family]] = publicIp;
  }
  return annotations;
}

/** One peer in one family: all that its route, ARP and FDB entry need. */
export interface PeerVtep extends Vtep {
  readonly podCidr: string;
}

/** The peer's VTEP of a family; undefined when the peer has no pod range of it; a text says why it cannot be used. */
export function readPeer(peer: Peer, family: Family, vni: number): PeerVtep | undefined | string {
  const ranges = peer.podCidrs.map((range) => parseCidrOrUndefined(range)).filter((range) => range?.family === family);
  const [range] = ranges;
  if (range === undefined) return peer.podCidrs.length === 0 ? 'the node has no pod range yet' : undefined;
  const type = peer.annotations[keys.type];
  if (type === undefined) return `annotation ${keys.type} is missing: its overlay has not joined yet`;
  if (type !== 'vxlan') return `its overlay is "${type}", not vxlan`;
  const data = readData(peer.annotations[keys.data[family]]);
  if (data === undefined)
    return `annotation ${keys.data[family]} is missing or malformed; expected {"VNI":${vni},"VtepMAC":"..."}`;
  if (data.vni !== vni) return `its VNI is ${data.vni}, ours is ${vni}`;
  const isOfFamily = family === AF_INET ? isIPv4 : isIPv6;
  const publicIp = [peer.annotations[keys.publicIp[family]], ...peer.addresses].find(
    (address) => address !== undefined && isOfFamily(address),
  );
  if (publicIp === undefined) return 'it has no underlay address of this family';
  return {
    family,
    vni,
    mac: data.mac,
    publicIp: canonicalIp(publicIp),
    podCidr: canonicalCidr(`${range.address}/${range.prefixLength}`),
  };
}

function readData(text: string | undefined): { vni: number; mac: string } | undefined {
  try {
    const data = JSON.parse(text ?? '') as { VNI?: unknown; VtepMAC?: unknown };
    if (typeof data.VtepMAC !== 'string') return undefined;
    parseMac(data.VtepMAC);
    // Before flannel 0.12 the VNI was not published.
    return { vni: typeof data.VNI === 'number' ? data.VNI : 1, mac: data.VtepMAC.toLowerCase() };
  } catch {
    return undefined;
  }
}

function parseCidrOrUndefined(text: string): ReturnType<typeof parseCidr> | undefined {
  try {
    return parseCidr(text);
  } catch (error) {
    if (error instanceof PintleError) return undefined;
    throw error;
  }
}
