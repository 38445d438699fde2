/**
 * Between nodes that both have it, packets need not come to user space: one BPF program puts what leaves through the TUN
 * device into datagrams, another takes them out where they arrive. On the wire it is the same as without: bare inner
 * packets. What the programs do not know (no peer, an end of life, fragments) goes the long way.
 *
 * Owns maps and programs, which end with the process.
 */
import { closeSync } from 'node:fs';
import { parseCidr, parseIp } from '../../../linux/ip-address.ts';
import { attachProgram, createBpfMap, type BpfMap } from '../../../linux/bpf.ts';
import { wordOf, type PeerRoute } from '../peer-table.ts';
import { openGatheringLink, type GatheringLink } from './gathering-link.ts';
import {
  gatheredIndex,
  receivedIndex,
  receiverProgram,
  senderProgram,
  sentIndex,
  type ShortcutPlace,
} from './shortcut-programs.ts';

const mostRoutes = 65_536;

export interface ShortcutOptions extends Pick<ShortcutPlace, 'device' | 'port' | 'checkSource'> {
  /** Underlay address. */
  readonly local: string;
}

export class Shortcut {
  readonly #options: ShortcutOptions;
  readonly #routes: BpfMap;
  readonly #routes6: BpfMap;
  readonly #peers: BpfMap;
  readonly #counters: BpfMap;
  readonly #gathering: GatheringLink | string;
  #attached: readonly number[] = [];
  #underlay: number | undefined;
  /** What stands in the maps, in hexadecimal. */
  #knownRoutes: ReadonlyMap<string, string> = new Map();
  #knownRoutes6: ReadonlyMap<string, string> = new Map();
  #knownPeers: ReadonlyMap<string, string> = new Map();

  /** Throws KERNEL_REFUSED where the kernel cannot, or may not be asked. */
  constructor(options: ShortcutOptions) {
    this.#options = options;
    this.#routes = createBpfMap({ type: 'prefixes', keyBytes: 8, valueBytes: 4, entries: mostRoutes });
    this.#routes6 = createBpfMap({ type: 'prefixes', keyBytes: 20, valueBytes: 4, entries: mostRoutes });
    this.#peers = createBpfMap({ type: 'hash', keyBytes: 4, valueBytes: 4, entries: mostRoutes });
    this.#counters = createBpfMap({ type: 'array', keyBytes: 4, valueBytes: 8, entries: 3 });
    this.#gathering = openGatheringLink(options.device);
  }

  /** Index of the link behind which packets are gathered; undefined: there is none. */
  get gatheringLink(): number | undefined {
    return typeof this.#gathering === 'string' ? undefined : this.#gathering.index;
  }

  /** Why there is none. */
  get gatheringProblem(): string | undefined {
    return typeof this.#gathering === 'string' ? this.#gathering : undefined;
  }

  /** Where datagrams come and go; another link than before: the programs move there. */
  attach(underlay: number): void {
    if (underlay === this.#underlay) return;
    this.detach();
    const { local, ...rest } = this.#options;
    const place: ShortcutPlace = {
      ...rest,
      underlay,
      local: wordOf(local),
      routes: this.#routes.fd,
      routes6: this.#routes6.fd,
      peers: this.#peers.fd,
      counters: this.#counters.fd,
      gathering: this.gatheringLink,
    };
    const attached: number[] = [];
    try {
      // First the side that can take what the other sends.
      attached.push(attachProgram('receiver', receiverProgram(place), underlay, 'ingress'));
      attached.push(attachProgram('sender', senderProgram(place), place.device, 'egress'));
    } catch (error) {
      for (const fd of attached) closeSync(fd);
      throw error;
    }
    this.#attached = attached;
    this.#underlay = underlay;
  }

  /** All packets go the long way. */
  detach(): void {
    for (const fd of this.#attached) closeSync(fd);
    this.#attached = [];
    this.#underlay = undefined;
  }

  setPeers(peers: readonly PeerRoute[]): void {
    const routes = new Map<string, string>();
    const routes6 = new Map<string, string>();
    const known = new Map<string, string>();
    for (const { address, addresses, podCidrs, framing } of peers) {
      const target = parseIp(address).toString('hex');
      for (const one of [address, ...addresses]) known.set(parseIp(one).toString('hex'), '00000000');
      for (const text of podCidrs) {
        const cidr = parseCidr(text);
        const prefix = parseIp(cidr.address);
        const length = Buffer.alloc(4);
        length.writeUInt32LE(cidr.prefixLength);
        // Those that cannot take it are there as well: the longest prefix counts.
        const family = prefix.length === 4 ? routes : routes6;
        family.set(length.toString('hex') + prefix.toString('hex'), framing === 'kernel' ? target : '00000000');
      }
    }
    this.#knownRoutes = change(this.#routes, this.#knownRoutes, routes);
    this.#knownRoutes6 = change(this.#routes6, this.#knownRoutes6, routes6);
    this.#knownPeers = change(this.#peers, this.#knownPeers, known);
  }

  counters(): { readonly sent: number; readonly received: number; readonly gathered: number } {
    const read = (index: number): number => {
      const key = Buffer.alloc(4);
      key.writeUInt32LE(index);
      return Number(this.#counters.get(key)?.readBigUInt64LE() ?? 0n);
    };
    return { sent: read(sentIndex), received: read(receivedIndex), gathered: read(gatheredIndex) };
  }
}

function change(
  map: BpfMap,
  known: ReadonlyMap<string, string>,
  wanted: ReadonlyMap<string, string>,
): ReadonlyMap<string, string> {
  for (const [key, value] of wanted)
    if (known.get(key) !== value) map.set(Buffer.from(key, 'hex'), Buffer.from(value, 'hex'));
  for (const key of known.keys()) if (!wanted.has(key)) map.delete(Buffer.from(key, 'hex'));
  return wanted;
}
