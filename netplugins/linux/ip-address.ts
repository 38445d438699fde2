/** Addresses as the kernel has them (4 or 16 bytes in network order) and as people write them. */
import { isIPv4, isIPv6 } from 'node:net';
import { PintleError } from '../../kernel/contract/index.ts';

export const AF_INET = 2;
export const AF_BRIDGE = 7;
export const AF_INET6 = 10;

export interface Cidr {
  readonly family: typeof AF_INET | typeof AF_INET6;
  /** The address as written, host bits kept. */
  readonly address: string;
  readonly prefixLength: number;
}

export function familyOf(address: string): typeof AF_INET | typeof AF_INET6 {
  if (isIPv4(address)) return AF_INET;
  // A zone (fe80::1%eth0) names an interface, which no place that takes an address here has a use for.
  if (isIPv6(address) && !address.includes('%')) return AF_INET6;
  throw invalid(`"${address}" is no IP address`);
}

/** Writes an IPv4 address, known to be one, to `bytes` at `at`. */
export function writeIpv4(address: string, bytes: Buffer, at: number): void {
  let value = 0;
  let place = at;
  for (let index = 0; index < address.length; index += 1) {
    const digit = address.charCodeAt(index) - 48;
    if (digit >= 0) value = value * 10 + digit;
    else {
      bytes[place] = value;
      place += 1;
      value = 0;
    }
  }
  bytes[place] = value;
}

export function parseIp(address: string): Buffer {
  if (familyOf(address) === AF_INET) {
    const v4 = Buffer.allocUnsafe(4);
    writeIpv4(address, v4, 0);
    return v4;
  }
  const dotted = address.slice(address.lastIndexOf(':') + 1);
  let text = address;
  if (dotted.includes('.')) {
    const v4 = parseIp(dotted);
    text = `${address.slice(0, -dotted.length)}${v4.readUInt16BE(0).toString(16)}:${v4.readUInt16BE(2).toString(16)}`;
  }
  const [head = '', tail] = text.split('::');
  const words = (part: string): number[] =>
    part === '' ? [] : part.split(':').map((word) => Number.parseInt(word, 16));
  const front = words(head);
  const back = tail === undefined ? [] : words(tail);
  const bytes = Buffer.alloc(16);
  front.forEach((word, index) => bytes.writeUInt16BE(word, index * 2));
  back.forEach((word, index) => bytes.writeUInt16BE(word, 16 - (back.length - index) * 2));
  return bytes;
}

/** IPv6 in the form of RFC 5952. */
export function formatIp(bytes: Uint8Array): string {
  if (bytes.length === 4) return bytes.join('.');
  if (bytes.length !== 16) throw invalid(`an address of ${bytes.length} bytes is neither IPv4 nor IPv6`);
  const view = Buffer.from(bytes);
  const words = Array.from({ length: 8 }, (_, index) => view.readUInt16BE(index * 2));
  let best = { start: -1, length: 1 };
  for (let start = 0; start < 8; start += 1) {
    let length = 0;
    while (start + length < 8 && words[start + length] === 0) length += 1;
    if (length > best.length) best = { start, length };
  }
  const hex = (part: readonly number[]): string => part.map((word) => word.toString(16)).join(':');
  if (best.start < 0) return hex(words);
  return `${hex(words.slice(0, best.start))}::${hex(words.slice(best.start + best.length))}`;
}

/** The one spelling of an address, for comparison. */
export function canonicalIp(address: string): string {
  // IPv4 has one spelling: what has leading zeros is no address.
  if (isIPv4(address)) return address;
  return formatIp(parseIp(address));
}

export function parseCidr(text: string): Cidr {
  const slash = text.indexOf('/');
  const address = text.slice(0, slash);
  const digits = text.slice(slash + 1);
  if (slash > 0 && /^\d{1,3}$/.test(digits) && (isIPv4(address) || (isIPv6(address) && !address.includes('%')))) {
    const family = familyOf(address);
    const prefixLength = Number(digits);
    if (prefixLength <= (family === AF_INET ? 32 : 128)) return { family, address: canonicalIp(address), prefixLength };
  }
  throw invalid(`"${text}" is no address range; expected one like 10.244.1.0/24`);
}

/** The first address of the range, as a number. */
function rangeStart(cidr: Cidr): bigint {
  const bits = cidr.family === AF_INET ? 32n : 128n;
  const host = bits - BigInt(cidr.prefixLength);
  return (toNumber(parseIp(cidr.address)) >> host) << host;
}

export function rangeSize(cidr: Cidr): bigint {
  return 1n << ((cidr.family === AF_INET ? 32n : 128n) - BigInt(cidr.prefixLength));
}

/** The address `offset` places after the first of the range. */
export function addressAt(cidr: Cidr, offset: bigint): string {
  const length = cidr.family === AF_INET ? 4 : 16;
  const value = rangeStart(cidr) + offset;
  return formatIp(Buffer.from(value.toString(16).padStart(length * 2, '0'), 'hex'));
}

export function networkAddress(cidr: Cidr): string {
  return addressAt(cidr, 0n);
}

export function contains(cidr: Cidr, address: string): boolean {
  if (familyOf(address) !== cidr.family) return false;
  const value = toNumber(parseIp(address));
  const start = rangeStart(cidr);
  return value >= start && value < start + rangeSize(cidr);
}

export function offsetIn(cidr: Cidr, address: string): bigint {
  return toNumber(parseIp(address)) - rangeStart(cidr);
}

/** The canonical text of a range, host bits cleared: "10.244.1.7/24" is "10.244.1.0/24". */
export function canonicalCidr(text: string): string {
  const cidr = parseCidr(text);
  return `${networkAddress(cidr)}/${cidr.prefixLength}`;
}

export function parseMac(mac: string): Buffer {
  if (!/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i.test(mac))
    throw invalid(`"${mac}" is no MAC address; expected one like 0a:58:0a:f4:01:02`);
  return Buffer.from(mac.replaceAll(':', ''), 'hex');
}

export function formatMac(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join(':');
}

function toNumber(bytes: Buffer): bigint {
  return BigInt(`0x${bytes.toString('hex')}`);
}

function invalid(message: string): PintleError {
  return new PintleError('INVALID', message);
}
