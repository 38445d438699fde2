/**
 * Elements of nftables sets and maps as the kernel takes them, written one after the other into one buffer: ten thousand
 * Services are seventy thousand elements.
 *
 *   LIST_ELEM 1 { KEY 1 { VALUE 1 }, KEY_END 10 { VALUE 1 }, DATA 2 {...} }
 *   key      its fields one after the other, each padded to four bytes ("10.96.0.1 . tcp . 80")
 *   number   a packet's priority is a field too ("a:2a30"), in the order of the host's bytes
 *   data     VALUE 1 (laid out as a key), or VERDICT 2 { CODE 1, CHAIN 2 }
 */
import { parseCidr, parseIp, writeIpv4 } from './ip-address.ts';

const NLA_F_NESTED = 0x8000;
const NFT_GOTO = 0xffff_fffc;
const NF_DROP = 0;
const protocolNumbers: Readonly<Record<string, number>> = { tcp: 6, udp: 17, sctp: 132 };
/** More than any element takes: an interval's two keys of IPv6 and the longest name of a chain. */
const roomBytes = 1_024;

export interface NftElement {
  /** As nft writes it: "10.96.0.1 . tcp . 80 . 192.0.2.0/24". A range may only be the last field, of an interval set. */
  readonly key: string;
  /** "goto NAME", "drop", or a value written as a key; empty for a set. */
  readonly data: string;
}

export class NftElementWriter {
  #bytes = Buffer.allocUnsafe(1 << 16);
  #length = 0;

  get length(): number {
    return this.#length;
  }

  /** `isInterval`: of a set of concatenations with ranges. */
  add({ key, data }: NftElement, isInterval: boolean): void {
    if (this.#bytes.length - this.#length < roomBytes)
      this.#bytes = Buffer.concat([this.#bytes], this.#bytes.length * 2);
    const element = this.#open(1);
    this.#value(1, key, false);
    if (isInterval) this.#value(10, key, true);
    if (data === 'drop') this.#verdict(NF_DROP);
    else if (data.startsWith('goto ')) this.#verdict(NFT_GOTO, data.slice('goto '.length));
    else if (data !== '') this.#value(2, data, false);
    this.#close(element);
  }

  /** What was added since the last call. */
  take(): Buffer {
    const taken = Buffer.from(this.#bytes.subarray(0, this.#length));
    this.#length = 0;
    return taken;
  }

  #open(type: number, flag = NLA_F_NESTED): number {
    const at = this.#length;
    this.#bytes.writeUInt16LE(type | flag, at + 2);
    this.#length = at + 4;
    return at;
  }

  #close(at: number): void {
    this.#bytes.writeUInt16LE(this.#length - at, at);
    while (this.#length % 4 !== 0) {
      this.#bytes[this.#length] = 0;
      this.#length += 1;
    }
  }

  #u32be(value: number): void {
    this.#length = this.#bytes.writeUInt32BE(value, this.#length);
  }

  #u32le(value: number): void {
    this.#length = this.#bytes.writeUInt32LE(value, this.#length);
  }

  #value(type: number, fields: string, isEnd: boolean): void {
    const outer = this.#open(type);
    const value = this.#open(1, 0);
    let from = 0;
    for (let end = fields.indexOf(' . '); end >= 0; end = fields.indexOf(' . ', from)) {
      this.#field(fields.slice(from, end), isEnd);
      from = end + 3;
    }
    this.#field(fields.slice(from), isEnd);
    this.#close(value);
    this.#close(outer);
  }

  #verdict(code: number, chain?: string): void {
    const data = this.#open(2);
    const verdict = this.#open(2);
    const coded = this.#open(1, 0);
    this.#u32be(code);
    this.#close(coded);
    if (chain !== undefined) {
      const name = this.#open(2, 0);
      this.#length += this.#bytes.write(`${chain}\0`, this.#length, 'latin1');
      this.#close(name);
    }
    this.#close(verdict);
    this.#close(data);
  }

  /** The last address of a range where `isEnd`. */
  #field(field: string, isEnd: boolean): void {
    const protocol = protocolNumbers[field];
    if (protocol !== undefined) return this.#u32le(protocol);
    if (field.includes('/')) return this.#range(field, isEnd);
    const colon = field.indexOf(':');
    if (colon < 0) {
      // A port takes the first half of its four bytes.
      if (!field.includes('.')) return this.#u32be(Number(field) * 0x1_0000);
      writeIpv4(field, this.#bytes, this.#length);
      this.#length += 4;
    } else if (colon === field.lastIndexOf(':'))
      this.#u32le(Number.parseInt(field, 16) * 0x1_0000 + Number.parseInt(field.slice(colon + 1), 16));
    else this.#address(parseIp(field));
  }

  #range(field: string, isEnd: boolean): void {
    const { address, prefixLength } = parseCidr(field);
    const bytes = parseIp(address);
    for (let bit = prefixLength; bit < bytes.length * 8; bit += 1) {
      const mask = 0x80 >> (bit & 7);
      bytes[bit >> 3] = isEnd ? bytes[bit >> 3]! | mask : bytes[bit >> 3]! & ~mask;
    }
    this.#address(bytes);
  }

  #address(bytes: Buffer): void {
    this.#length += bytes.copy(this.#bytes, this.#length);
  }
}
