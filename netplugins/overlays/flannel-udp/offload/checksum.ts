/**
 * Internet checksums over memory outside the heap, in the byte order of the packet. Sums are made of little-endian words, of
 * which the ones' complement sum is the same with its bytes swapped (RFC 1071, 2 B).
 */
import type { Memory } from '../../../linux/batch-io.ts';

/** To 16 bits, from up to 2^48. */
export function fold(sum: number): number {
  let folded = sum > 0xffff_ffff ? (sum % 0x1_0000) + Math.floor(sum / 0x1_0000) : sum;
  while (folded > 0xffff) folded = (folded & 0xffff) + (folded >>> 16);
  return folded;
}

const swap = (value: number): number => ((value & 0xff) << 8) | (value >>> 8);

/** Ones' complement sum of `length` bytes from `offset`, folded, in network byte order. */
export function sumOf(memory: Memory, offset: number, length: number): number {
  const { view, words, bytes } = memory;
  let low = 0;
  let high = 0;
  let at = offset;
  const end = offset + length;
  if ((offset & 3) === 0) {
    const last = end >> 2;
    let index = offset >> 2;
    for (; index + 4 <= last; index += 4) {
      const a = words[index]!;
      const b = words[index + 1]!;
      const c = words[index + 2]!;
      const d = words[index + 3]!;
      low += (a & 0xffff) + (b & 0xffff) + (c & 0xffff) + (d & 0xffff);
      high += (a >>> 16) + (b >>> 16) + (c >>> 16) + (d >>> 16);
    }
    for (; index < last; index += 1) {
      low += words[index]! & 0xffff;
      high += words[index]! >>> 16;
    }
    at = index << 2;
  }
  for (; at + 2 <= end; at += 2) low += view.getUint16(at, true);
  if (at < end) low += bytes[at]!;
  return swap(fold(low + high));
}
