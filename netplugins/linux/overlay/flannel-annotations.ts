/**
 * What flannel's Kubernetes subnet manager writes on Node objects, read and written alike, so that a node running flanneld
 * can be a peer of ours and we of it.
 */
import { isIPv4, isIPv6 } from 'node:net';
import { PintleError, type Peer } from '../../../kernel/contract/index.ts';
import { AF_INET, AF_INET6, canonicalCidr, canonicalIp, parseCidr } from '../ip-address.ts';

export type Family = typeof AF_INET | typeof AF_INET6;

const prefix = 'flannel.alpha.coreos.com/';
export const annotationKeys = {
  type: `${prefix}backend-type`,
  manager: `${prefix}kube-subnet-manager`,
  data: { [AF_INET]: `${prefix}backend-data`, [AF_INET6]: `${prefix}backend-v6-data` },
  publicIp: { [AF_INET]: `${prefix}public-ip`, [AF_INET6]: `${prefix}public-ipv6` },
} as const;

export interface Announced {
  readonly family: Family;
  /** Underlay address. */
  readonly publicIp: string;
  /** What peers need beyond it, in this backend's form. */
  readonly data?: unknown;
}

export function renderAnnotations(type: string, announced: readonly Announced[]): Record<string, string> {
  const annotations: Record<string, string> = { [annotationKeys.type]: type, [annotationKeys.manager]: 'true' };
  for (const { family, publicIp, data } of announced) {
    annotations[annotationKeys.data[family]] = JSON.stringify(data ?? null);
    annotations[annotationKeys.publicIp[family]] = publicIp;
  }
  return annotations;
}

export interface PeerRange {
  readonly family: Family;
  readonly podCidr: string;
  readonly publicIp: string;
}

/** One peer in one family; undefined when it has no pod range of it; a text says why it cannot be used. */
export function readPeerRange(peer: Peer, family: Family, type: string): PeerRange | undefined | string {
  const range = peer.podCidrs.map(parseCidrOrUndefined).find((one) => one?.family === family);
  if (range === undefined) return peer.podCidrs.length === 0 ? 'the node has no pod range yet' : undefined;
  const theirs = peer.annotations[annotationKeys.type];
  if (theirs === undefined) return `annotation ${annotationKeys.type} is missing: its overlay has not joined yet`;
  if (theirs !== type) return `its overlay is "${theirs}", not ${type}`;
  const isOfFamily = family === AF_INET ? isIPv4 : isIPv6;
  const publicIp = [peer.annotations[annotationKeys.publicIp[family]], ...peer.addresses].find(
    (address) => address !== undefined && isOfFamily(address),
  );
  if (publicIp === undefined) return 'it has no underlay address of this family';
  const podCidr = canonicalCidr(`${range.address}/${range.prefixLength}`);
  return { family, podCidr, publicIp: canonicalIp(publicIp) };
}

function parseCidrOrUndefined(text: string): ReturnType<typeof parseCidr> | undefined {
  try {
    return parseCidr(text);
  } catch (error) {
    if (error instanceof PintleError) return undefined;
    throw error;
  }
}
