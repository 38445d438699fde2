/** Which peer an inner packet goes to: longest prefix first, and the last answer again for the next packet of a burst. */
import { parseCidr, parseIp } from '../../linux/ip-address.ts';

/** How inner packets travel to a peer: see README, "On the wire". */
export type Framing = 'plain' | 'partial' | 'super';

export interface PeerRoute {
  /** Underlay address. */
  readonly address: string;
  readonly podCidrs: readonly string[];
  readonly framing: Framing;
}

export interface PeerTarget {
  readonly address: string;
  readonly framing: Framing;
}

interface PrefixGroup {
  readonly length: number;
  readonly targets: ReadonlyMap<string, PeerTarget>;
}

/** Groups by prefix length, the longest first. */
type Groups = readonly PrefixGroup[];

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
      groups.set(cidr.prefixLength, group.set(keyOf(prefix, cidr.prefixLength), { address, framing }));
    }
  return [...groups].map(([length, targets]) => ({ length, targets })).sort((a, b) => b.length - a.length);
}

export class PeerTable {
  readonly #groups4: Groups;
  readonly #groups6: Groups;
  readonly #addresses: ReadonlySet<string>;
  /** The last IPv4 destination that was asked for. */
  #last = -1;
  #answer: PeerTarget | undefined;

  constructor(peers: readonly PeerRoute[]) {
    this.#groups4 = groupsOf(peers, 4);
    this.#groups6 = groupsOf(peers, 16);
    this.#addresses = new Set(peers.map(({ address }) => address));
  }

  hasPeer(address: string): boolean {
    return this.#addresses.has(address);
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
    return lookUp(this.#groups6, bytes.subarray(offset, offset + 16));
  }
}

function lookUp(groups: Groups, address: Uint8Array): PeerTarget | undefined {
  for (const { length, targets } of groups) {
    const target = targets.get(keyOf(address, length));
    if (target !== undefined) return target;
  }
  return undefined;
}
