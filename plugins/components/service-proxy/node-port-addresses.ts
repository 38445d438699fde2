/** At which addresses of the node NodePorts answer. */
import { isIP } from 'node:net';
import { networkInterfaces } from 'node:os';
import { contains, familyOf, parseCidr } from '../../../netplugins/linux/ip-address.ts';

export function isAddressOrRange(text: string): boolean {
  const [address = '', length, ...more] = text.split('/');
  const family = isIP(address);
  if (family === 0 || address.includes('%') || more.length > 0) return false;
  return length === undefined || (/^\d{1,3}$/.test(length) && Number(length) <= (family === 4 ? 32 : 128));
}

const isRange = (text: string): boolean => text.includes('/');
export const hasRange = (wanted: readonly string[]): boolean => wanted.some(isRange);

/** Addresses count as they are written, of ranges what the node has of them; each once, in the order of `wanted`. */
export function nodePortAddresses(wanted: readonly string[], own: readonly string[]): readonly string[] {
  const found = wanted.flatMap((text) => {
    if (!isRange(text)) return [text];
    const cidr = parseCidr(text);
    return own.filter((address) => familyOf(address) === familyOf(text.split('/')[0]!) && contains(cidr, address));
  });
  return [...new Set(found)];
}

/** Of this network namespace, without loopback and link-local ones. */
export function ownAddresses(): readonly string[] {
  return Object.values(networkInterfaces())
    .flatMap((each) => each ?? [])
    .filter(({ internal, address }) => !internal && !address.startsWith('fe80'))
    .map(({ address }) => address);
}
