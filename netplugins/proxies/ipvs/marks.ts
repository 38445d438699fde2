/**
 * Packet marks that select a virtual service: 0x5iii0iii. A prefix of our own in the highest bits, and bits 12 to 15 left
 * clear, as kube-proxy's firewall and masquerade marks are there. Two ports with the same 24 bits of hash would share their
 * endpoints: one in 16 million pairs.
 */
import { createHash } from 'node:crypto';
import type { ProxyPort } from '../../../kernel/contract/index.ts';
import { portId } from '../../linux/service-addresses.ts';

export const markPrefix = 0x50000000;
/** The bits that are the same in all marks of ours. */
export const markMask = 0xf000f000;

export function markOf(port: ProxyPort): number {
  const hash = createHash('sha256').update(portId(port)).digest();
  return (markPrefix | ((hash.readUInt16BE(0) & 0x0fff) << 16) | (hash.readUInt16BE(2) & 0x0fff)) >>> 0;
}

export function isOwnMark(mark: number): boolean {
  return (mark & markMask) >>> 0 === markPrefix;
}
