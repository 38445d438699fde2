/** Address ranges as numbers: 32 bits for IPv4, 128 for IPv6. */
import { isIPv4, isIPv6 } from 'node:net';

export interface Cidr {
  /** The first address, host bits cleared. */
  readonly base: bigint;
  readonly bits: 32 | 128;
  readonly prefix: number;
}

/** Undefined when the text is no address. */
export function parseAddress(text: string): { readonly value: bigint; readonly bits: 32 | 128 } | undefined {
  if (isIPv4(text)) return { value: parseIPv4(text), bits: 32 };
  if (!isIPv6(text) || text.includes('%')) return undefined;
  const lastColon = text.lastIndexOf(':');
  const tail = text.slice(lastColon + 1);
  // The last four bytes may be written as an IPv4 address.
  const plain = isIPv4(tail)
    ? `${text.slice(0, lastColon + 1)}${(parseIPv4(tail) >> 16n).toString(16)}:${(parseIPv4(tail) & 0xffffn).toString(16)}`
    : text;
  const [head = '', rest] = plain.split('::');
  const groups = (part: string) => (part === '' ? [] : part.split(':'));
  const left = groups(head);
  const right = rest === undefined ? [] : groups(rest);
  const zeros = rest === undefined ? 0 : 8 - left.length - right.length;
  const all = [...left, ...Array.from({ length: zeros }, () => '0'), ...right];
  return { value: all.reduce((sum, group) => (sum << 16n) | BigInt(`0x${group}`), 0n), bits: 128 };
}

function parseIPv4(text: string): bigint {
  return text.split('.').reduce((sum, part) => (sum << 8n) | BigInt(part), 0n);
}

/** Undefined when the text is no range. */
export function parseCidr(text: string): Cidr | undefined {
  const match = /^([^/]+)\/(\d{1,3})$/.exec(text);
  const address = match === null ? undefined : parseAddress(match[1] as string);
  const prefix = Number(match?.[2]);
  if (address === undefined || prefix > address.bits) return undefined;
  const hostBits = BigInt(address.bits - prefix);
  return { base: (address.value >> hostBits) << hostBits, bits: address.bits, prefix };
}

/** IPv6 in the canonical form of RFC 5952. */
export function formatAddress(value: bigint, bits: number): string {
  if (bits === 32) return [24n, 16n, 8n, 0n].map((shift) => (value >> shift) & 0xffn).join('.');
  const groups = Array.from({ length: 8 }, (_, i) => ((value >> BigInt(112 - 16 * i)) & 0xffffn).toString(16));
  const text = groups.join(':');
  let longest = '';
  for (const [run] of text.matchAll(/(?<![0-9a-f])0(?::0)+(?![0-9a-f])/g))
    if (run.length > longest.length) longest = run;
  if (longest === '') return text;
  const at = text.search(new RegExp(`(?<![0-9a-f])${longest}(?![0-9a-f])`));
  const before = text.slice(0, at).replace(/:$/, '');
  const after = text.slice(at + longest.length).replace(/^:/, '');
  return `${before}::${after}`;
}
