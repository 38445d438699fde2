/** A range cut into equal parts, of which each can be taken once. Taken in order, round robin: a freed part rests longest. */
import { formatAddress, parseCidr } from '../../../kernel/machinery/cidr.ts';

export class CidrPool {
  readonly #base: bigint;
  readonly #bits: number;
  readonly #size: number;
  readonly #count: bigint;
  readonly #taken = new Map<bigint, string>();
  #next = 0n;

  constructor(base: bigint, bits: number, prefix: number, size: number) {
    this.#base = base;
    this.#bits = bits;
    this.#size = size;
    this.#count = 1n << BigInt(size - prefix);
  }

  /** Parts of /`size`; undefined when the range is invalid or smaller than that. */
  static of(cidr: string, size: number): CidrPool | undefined {
    const range = parseCidr(cidr);
    if (range === undefined || range.prefix > size || size > range.bits) return undefined;
    return new CidrPool(range.base, range.bits, range.prefix, size);
  }

  /** A free part, marked as the holder's; undefined when none is left. */
  take(holder: string): string | undefined {
    for (let tried = 0n; tried < this.#count; tried++) {
      const index = this.#next;
      this.#next = (this.#next + 1n) % this.#count;
      if (this.#taken.has(index)) continue;
      this.#taken.set(index, holder);
      return this.#cidr(index);
    }
    return undefined;
  }

  /** Marks what a node has already. False when another holder has it, or it is no part of this range. */
  occupy(cidr: string, holder: string): boolean {
    const index = this.#indexOf(cidr);
    if (index === undefined) return false;
    const known = this.#taken.get(index);
    if (known !== undefined && known !== holder) return false;
    this.#taken.set(index, holder);
    if (index >= this.#next) this.#next = (index + 1n) % this.#count;
    return true;
  }

  release(holder: string): void {
    for (const [index, known] of this.#taken) if (known === holder) this.#taken.delete(index);
  }

  contains(cidr: string): boolean {
    return this.#indexOf(cidr) !== undefined;
  }

  #cidr(index: bigint): string {
    const address = this.#base + (index << BigInt(this.#bits - this.#size));
    return `${formatAddress(address, this.#bits)}/${this.#size}`;
  }

  #indexOf(cidr: string): bigint | undefined {
    const range = parseCidr(cidr);
    if (range === undefined || range.bits !== this.#bits || range.prefix !== this.#size) return undefined;
    const offset = range.base - this.#base;
    const index = offset >> BigInt(this.#bits - this.#size);
    return offset >= 0n && index < this.#count ? index : undefined;
  }
}
