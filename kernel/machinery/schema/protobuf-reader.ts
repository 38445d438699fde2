/**
 * Reads protobuf's wire format from a slice of bytes. Everything malformed is PintleError BAD_REQUEST.
 *
 *     tag = varint(field number << 3 | wire type)     0 varint   1 eight bytes   2 length + bytes   5 four bytes
 */
import { isUtf8 } from 'node:buffer';
import { PintleError } from '../../contract/index.ts';

export type WireType = 0 | 1 | 2 | 5;

export function malformed(reason: string): PintleError {
  return new PintleError('BAD_REQUEST', `the protobuf body is malformed: ${reason}`);
}

export class ProtobufReader {
  readonly #bytes: Buffer;
  #at: number;
  readonly #end: number;

  constructor(bytes: Buffer, start = 0, end: number = bytes.length) {
    this.#bytes = bytes;
    this.#at = start;
    this.#end = end;
  }

  get done(): boolean {
    return this.#at >= this.#end;
  }

  get length(): number {
    return this.#end - this.#at;
  }

  /** Undefined at the end. */
  tag(): { readonly number: number; readonly wire: WireType } | undefined {
    if (this.done) return undefined;
    const tag = this.#varint();
    const number = Number(tag >> 3n);
    const wire = Number(tag & 7n);
    if (number < 1 || number > 0x1fffffff) throw malformed(`${number} is no field number`);
    if (wire !== 0 && wire !== 1 && wire !== 2 && wire !== 5)
      throw malformed(`field ${number} has wire type ${wire}, expected 0, 1, 2 or 5`);
    return { number, wire };
  }

  skip(wire: WireType): void {
    if (wire === 0) this.#varint();
    else if (wire === 2) this.#take(this.#length());
    else this.#take(wire === 1 ? 8 : 4);
  }

  /** A nested message, or a packed list. */
  nested(): ProtobufReader {
    const length = this.#length();
    const start = this.#take(length);
    return new ProtobufReader(this.#bytes, start, start + length);
  }

  string(): string {
    const length = this.#length();
    const start = this.#take(length);
    const text = this.#bytes.toString('utf8', start, start + length);
    // A replacement character may have been sent as such; only then the bytes need a look.
    if (text.includes('\ufffd') && !isUtf8(this.#bytes.subarray(start, start + length)))
      throw malformed('a string is not UTF-8');
    return text;
  }

  bytes(): Buffer {
    const length = this.#length();
    const start = this.#take(length);
    return this.#bytes.subarray(start, start + length);
  }

  double(): number {
    return this.#bytes.readDoubleLE(this.#take(8));
  }

  bool(): boolean {
    return this.#varint() !== 0n;
  }

  /** A signed 64-bit integer that JavaScript can hold. */
  int64(): number {
    const value = Number(this.int64Exact());
    if (!Number.isSafeInteger(value))
      throw malformed(`the integer ${value} is beyond 2^53, which this server cannot keep exactly`);
    return value;
  }

  int64Exact(): bigint {
    return BigInt.asIntN(64, this.#varint());
  }

  /** As protobuf defines it, the lower 32 bits. */
  int32(): number {
    return Number(BigInt.asIntN(32, this.#varint()));
  }

  #length(): number {
    const length = this.#varint();
    if (length > BigInt(this.#end - this.#at))
      throw malformed(`it ends ${length - BigInt(this.#end - this.#at)} bytes too early`);
    return Number(length);
  }

  #take(length: number): number {
    const start = this.#at;
    if (length > this.#end - start) throw malformed(`it ends ${length - (this.#end - start)} bytes too early`);
    this.#at = start + length;
    return start;
  }

  #varint(): bigint {
    // Nearly all varints (tags, lengths, small numbers) fit 28 bits: no BigInt arithmetic for those.
    let low = 0;
    for (let shift = 0; shift < 28; shift += 7) {
      const byte = this.#byte();
      low |= (byte & 0x7f) << shift;
      if (byte < 0x80) return BigInt(low);
    }
    let value = BigInt(low);
    for (let shift = 28n; shift < 70n; shift += 7n) {
      const byte = this.#byte();
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return BigInt.asUintN(64, value);
    }
    throw malformed('a varint is longer than 10 bytes');
  }

  #byte(): number {
    if (this.#at >= this.#end) throw malformed('it ends inside a number');
    return this.#bytes[this.#at++]!;
  }
}
