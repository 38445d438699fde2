/** IP addresses and ranges as numbers. */
import { isIP } from 'node:net';

export type Family = 'IPv4' | 'IPv6';

export interface Range {
  readonly text: string;
  readonly family: Family;
  readonly first: bigint;
  readonly size: bigint;
}

export function familyOf(text: string): Family | undefined {
  const version = isIP(text);
  return version === 4 ? 'IPv4' : version === 6 ? 'IPv6' : undefined;
}

export function parseIp(text: string): { family: Family; value: bigint } | undefined {
  const family = familyOf(text);
  if (family === 'IPv4') return { family, value: text.split('.').reduce((sum, part) => sum * 256n + BigInt(part), 0n) };
  if (family !== 'IPv6' || text.includes('%')) return undefined;
  // An IPv4 tail counts for two groups.
  const plain = text.replace(/(\d+)\.(\d+)\.(\d+)\.(\d+)$/, (_, a: string, b: string, c: string, d: string) =>
    [Number(a) * 256 + Number(b), Number(c) * 256 + Number(d)].map((part) => part.toString(16)).join(':'),
  );
  const [head = '', tail] = plain.split('::');
  const left = head === '' ? [] : head.split(':');
  const right = !tail ? [] : tail.split(':');
  const groups = [
    ...left,
    ...Array<string>(tail === undefined ? 0 : 8 - left.length - right.length).fill('0'),
    ...right,
  ];
  return { family, value: groups.reduce((sum, part) => sum * 65_536n + BigInt(`0x${part}`), 0n) };
}

export function formatIp(family: Family, value: bigint): string {
  if (family === 'IPv4') return [24n, 16n, 8n, 0n].map((shift) => String((value >> shift) & 255n)).join('.');
  const groups = [112n, 96n, 80n, 64n, 48n, 32n, 16n, 0n].map((shift) => ((value >> shift) & 65_535n).toString(16));
  // The URL parser writes IPv6 in the canonical form of RFC 5952.
  return new URL(`http://[${groups.join(':')}]`).hostname.slice(1, -1);
}

export function parseRange(text: string): Range {
  const slash = text.indexOf('/');
  const ip = parseIp(text.slice(0, slash));
  const bits = Number(text.slice(slash + 1));
  const width = ip?.family === 'IPv6' ? 128 : 32;
  if (slash < 0 || !ip || !Number.isInteger(bits) || bits < 0 || bits > width) {
    throw new TypeError(`"${text}" is no address range: expected ADDRESS/BITS, such as 10.96.0.0/12`);
  }
  const size = 1n << BigInt(width - bits);
  return { text, family: ip.family, first: (ip.value / size) * size, size };
}
