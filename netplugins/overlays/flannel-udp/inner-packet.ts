/**
 * What a tunnel does to the packets that it carries: reads where they go, counts down their time to live, and answers with
 * ICMP those that cannot go on. Pure.
 */

const ICMP = 1;
const ICMPV6 = 58;
/** As much of the packet as an error quotes: IPv4 header and 8 bytes (RFC 792), IPv6 up to 1280 bytes in all (RFC 4443). */
const quotedAfterHeader4 = 8;
const longestError6 = 1280;
/** Of the answers, as flannel's. */
const answerTtl4 = 8;
const answerHopLimit6 = 64;

/** Of `length` bytes from `at`: 4, 6, or undefined: no whole IP packet. Its own length may be less. */
export function versionOf(bytes: Uint8Array, at = 0, length = bytes.length): 4 | 6 | undefined {
  const version = bytes[at]! >> 4;
  if (version === 4) return length >= 20 && ((bytes[at + 2]! << 8) | bytes[at + 3]!) <= length ? 4 : undefined;
  return version === 6 && length >= 40 && ((bytes[at + 4]! << 8) | bytes[at + 5]!) + 40 <= length ? 6 : undefined;
}

/** Ones' complement sum of `bytes`, folded to 16 bits, on top of `start` (RFC 1071). */
export function onesSum(bytes: Buffer, start = 0): number {
  let sum = start;
  const even = bytes.length & ~1;
  for (let index = 0; index < even; index += 2) sum += bytes.readUInt16BE(index);
  if (even < bytes.length) sum += (bytes[even] ?? 0) << 8;
  while (sum > 0xffff) sum = (sum & 0xffff) + Math.floor(sum / 0x10000);
  return sum;
}

/** One less to live, checksum included (RFC 1624). False: it has reached its end, and is left as it was. */
export function countDown(bytes: Uint8Array, at = 0): boolean {
  const place = bytes[at]! >> 4 === 6 ? at + 7 : at + 8;
  if (bytes[place]! <= 1) return false;
  bytes[place]! -= 1;
  if (place === at + 7) return true;
  const sum = ((bytes[at + 10]! << 8) | bytes[at + 11]!) + 0x0100;
  // A carry goes round to the other end.
  const folded = (sum & 0xffff) + (sum >> 16);
  bytes[at + 10] = folded >> 8;
  bytes[at + 11] = folded & 0xff;
  return true;
}

export type IcmpReason = 'no-route' | 'expired';

/**
 * The error to send to the packet's source, from `source` (4 or 16 bytes, of the packet's family); undefined: this packet gets
 * none, being an ICMP error itself, a later fragment, or from or to nobody in particular.
 */
export function icmpError(packet: Buffer, source: Buffer, reason: IcmpReason): Buffer | undefined {
  return packet[0]! >> 4 === 6 ? icmpError6(packet, source, reason) : icmpError4(packet, source, reason);
}

function icmpError4(packet: Buffer, source: Buffer, reason: IcmpReason): Buffer | undefined {
  const headerLength = (packet[0]! & 15) * 4;
  const isLaterFragment = (packet.readUInt16BE(6) & 0x1fff) !== 0;
  const isMulticast = packet[16]! >= 224 || packet[12]! >= 224 || packet[12] === 0;
  if (packet[9] === ICMP || isLaterFragment || isMulticast) return undefined;
  const quoted = packet.subarray(0, headerLength + quotedAfterHeader4);
  const answer = Buffer.alloc(28 + quoted.length);
  answer[0] = 0x45;
  answer.writeUInt16BE(answer.length, 2);
  answer[8] = answerTtl4;
  answer[9] = ICMP;
  source.copy(answer, 12);
  packet.copy(answer, 16, 12, 16);
  answer.writeUInt16BE(~onesSum(answer.subarray(0, 20)) & 0xffff, 10);
  // Destination unreachable (3), network (0); time exceeded (11) in transit (0).
  answer[20] = reason === 'no-route' ? 3 : 11;
  quoted.copy(answer, 28);
  answer.writeUInt16BE(~onesSum(answer.subarray(20)) & 0xffff, 22);
  return answer;
}

function icmpError6(packet: Buffer, source: Buffer, reason: IcmpReason): Buffer | undefined {
  // ICMPv6 errors are types below 128.
  if (packet[6] === ICMPV6 && (packet[40] ?? 0) < 128) return undefined;
  if (packet[24] === 0xff || packet[8] === 0xff || packet.subarray(8, 24).every((byte) => byte === 0)) return undefined;
  const quoted = packet.subarray(0, longestError6 - 48);
  const answer = Buffer.alloc(48 + quoted.length);
  answer[0] = 0x60;
  answer.writeUInt16BE(8 + quoted.length, 4);
  answer[6] = ICMPV6;
  answer[7] = answerHopLimit6;
  source.copy(answer, 8);
  packet.copy(answer, 24, 8, 24);
  // Destination unreachable (1), no route (0); time exceeded (3) in transit (0).
  answer[40] = reason === 'no-route' ? 1 : 3;
  quoted.copy(answer, 48);
  const pseudo = onesSum(answer.subarray(8, 40), ICMPV6 + 8 + quoted.length);
  answer.writeUInt16BE(~onesSum(answer.subarray(40), pseudo) & 0xffff, 42);
  return answer;
}
