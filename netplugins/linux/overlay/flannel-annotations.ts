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
  /** Written by people (or a cloud's controller) on a node whose peers reach it at another address than its own. */
  overwrite: { [AF_INET]: `${prefix}public-ip-overwrite`, [AF_INET6]: `${prefix}public-ipv6-overwrite` },
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

/** The address by which others reach this node, when somebody says that it is not its own. Throws INVALID. */
export function overwrittenIp(
  annotations: Readonly<Record<string, string>> | undefined,
  family: Family,
): string | undefined {
  const key = annotationKeys.overwrite[family];
  const text = annotations?.[key]?.trim();
  if (text === undefined || text === '') return undefined;
  const isGood = family === AF_INET ? isIPv4 : isIPv6;
  if (isGood(text)) return canonicalIp(text);
  throw new PintleError(
    'INVALID',
    `Annotation ${key} of this node is "${text}"; expected an ${family === AF_INET ? 'IPv4' : 'IPv6'} address. Correct or remove it`,
  );
}

/** Undefined: nothing has joined there. flanneld leaves the name of its UDP backend empty (seen with v0.28.10). */
export function backendOf(annotations: Readonly<Record<string, string>>): string | undefined {
  const named = annotations[annotationKeys.type];
  return named === '' ? 'udp' : named;
}

export interface PeerRange {
  readonly family: Family;
  readonly podCidr: string;
  /** Underlay address that the peer publishes. */
  readonly publicIp: string;
  /** All that it can be reached at: the published one first; alone, when it is none of the node's own (NAT). */
  readonly addresses: readonly string[];
}

/** One peer in one family; undefined when it has no pod range of it; a text says why it cannot be used. */
export function readPeerRange(peer: Peer, family: Family, type: string): PeerRange | undefined | string {
  const range = peer.podCidrs.map(parseCidrOrUndefined).find((one) => one?.family === family);
  if (range === undefined) return peer.podCidrs.length === 0 ? 'the node has no pod range yet' : undefined;
  const theirs = backendOf(peer.annotations);
  if (theirs === undefined) return `annotation ${annotationKeys.type} is missing: its overlay has not joined yet`;
  if (theirs !== type) return `its overlay is "${theirs}", not ${type}`;
  const { publicIp, addresses } = underlayAddressesOf(peer, family);
  if (publicIp === undefined) return 'it has no underlay address of this family';
  const podCidr = canonicalCidr(`${range.address}/${range.prefixLength}`);
  return { family, podCidr, publicIp, addresses };
}

export function underlayAddressesOf(
  { annotations, addresses }: Peer,
  family: Family,
): { readonly publicIp: string | undefined; readonly addresses: readonly string[] } {
  const isOfFamily = family === AF_INET ? isIPv4 : isIPv6;
  const own = addresses.filter((address) => isOfFamily(address)).map(canonicalIp);
  const told = annotations[annotationKeys.publicIp[family]];
  const publicIp = told !== undefined && isOfFamily(told) ? canonicalIp(told) : own[0];
  if (publicIp === undefined) return { publicIp, addresses: [] };
  return { publicIp, addresses: own.includes(publicIp) ? [...new Set([publicIp, ...own])] : [publicIp] };
}

function parseCidrOrUndefined(text: string): ReturnType<typeof parseCidr> | undefined {
  try {
    return parseCidr(text);
  } catch (error) {
    if (error instanceof PintleError) return undefined;
    throw error;
  }
}
