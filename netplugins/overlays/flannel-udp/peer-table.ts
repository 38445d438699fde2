/** Which peer an inner packet goes to: longest prefix first, and the last answer again for the next packet of a burst. */
import { parseCidr, parseIp } from '../../linux/ip-address.ts';

/** How inner packets travel to a peer: see README, "On the wire". */
export type Framing = 'plain' | 'partial' | 'super' | 'kernel';

export interface PeerRoute {
  /** Underlay address. */
  readonly address: string;
  /** All that its packets may come from. */
  readonly addresses: readonly string[];
  readonly podCidrs: readonly string[];
  readonly framing: Framing;
}

export interface PeerTarget {
  readonly address: string;
  /** The address as a little-endian word, as it stands in struct sockaddr_in. */
  readonly word: number;
  readonly framing: Framing;
}

interface PrefixGroup {
  readonly length: number;
  readonly targets: ReadonlyMap<string, PeerTarget>;
}

/** The longest prefixes first. */
type Groups = readonly PrefixGroup[];

export const wordOf = (address: string): number => parseIp(address).readUInt32LE(0);

function keyOf(address: Uint8Array, length: number): string {
  const whole = length >> 3;
  const rest = length & 7;
  let key = '';
  for (let index = 0; index < whole; index += 1) key += String.fromCharCode(address[index]!);
  return rest === 0 ? key : key + String.fromCharCode(address[whole]! & (0xff00 >> rest) & 0xff);
}

function groupsOf(peers: readonly PeerRoute[], bytes: 4 | 16): Groups {
  const groups = new Map<number, Map<string, PeerTarget>>();
  for (const { address, podCidrs, framing } of peers)
    for (const text of podCidrs) {
      const cidr = parseCidr(text);
      const prefix = parseIp(cidr.address);
      if (prefix.length !== bytes) continue;
      const group = groups.get(cidr.prefixLength) ?? new Map<string, PeerTarget>();
      const word = wordOf(address);
      groups.set(cidr.prefixLength, group.set(keyOf(prefix, cidr.prefixLength), { address, word, framing }));
    }
  return [...groups].map(([length, targets]) => ({ length, targets })).sort((a, b) => b.length - a.length);
}

export class PeerTable {
  readonly #groups4: Groups;
  readonly #groups6: Groups;
  readonly #addresses: ReadonlySet<string>;
  readonly #words: ReadonlySet<number>;
  readonly #short: ReadonlySet<number>;
  /** The last IPv4 destination that was asked for. */
  #last = -1;
  #answer: PeerTarget | undefined;
  readonly #last6 = new Uint8Array(16);
  #hasLast6 = false;
  #answer6: PeerTarget | undefined;

  constructor(peers: readonly PeerRoute[]) {
    this.#groups4 = groupsOf(peers, 4);
    this.#groups6 = groupsOf(peers, 16);
    this.#addresses = new Set(peers.flatMap(({ address, addresses }) => [address, ...addresses]));
    this.#words = new Set([...this.#addresses].map(wordOf));
    const short = peers.filter(({ framing }) => framing === 'kernel');
    this.#short = new Set(short.flatMap(({ address, addresses }) => [address, ...addresses]).map(wordOf));
  }

  hasPeer(address: string): boolean {
    return this.#addresses.has(address);
  }

  /** By the address as it stands in struct sockaddr_in. */
  hasWord(word: number): boolean {
    return this.#words.has(word);
  }

  /** Whether the peer with this address sends what the kernel takes. */
  isShort(word: number): boolean {
    return this.#short.has(word);
  }

  /** The peer for the IPv4 destination at `offset` of `bytes`. */
  find4(bytes: Uint8Array, offset: number): PeerTarget | undefined {
    const key =
      bytes[offset]! * 0x1000000 + (bytes[offset + 1]! << 16) + (bytes[offset + 2]! << 8) + bytes[offset + 3]!;
    if (key !== this.#last) {
      this.#answer = lookUp(this.#groups4, bytes.subarray(offset, offset + 4));
      this.#last = key;
    }
    return this.#answer;
  }

  find6(bytes: Uint8Array, offset: number): PeerTarget | undefined {
    const last = this.#last6;
    let isSame = this.#hasLast6;
    for (let index = 0; isSame && index < 16; index += 1) isSame = bytes[offset + index] === last[index];
    if (!isSame) {
      last.set(bytes.subarray(offset, offset + 16));
      this.#hasLast6 = true;
      this.#answer6 = lookUp(this.#groups6, last);
    }
    return this.#answer6;
  }
}

function lookUp(groups: Groups, address: Uint8Array): PeerTarget | undefined {
  for (const { length, targets } of groups) {
    const target = targets.get(keyOf(address, length));
    if (target !== undefined) return target;
  }
  return undefined;
}
