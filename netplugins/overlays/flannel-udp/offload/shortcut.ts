/**
 * Between nodes that both have it, IPv4 packets need not come to user space: one BPF program puts what leaves through the TUN
 * device into datagrams, another takes them out where they arrive. On the wire it is the same as without: bare inner
 * packets. What the programs do not know (no peer, an end of life, IPv6, fragments) goes the long way.
 *
 * Owns maps and programs, which end with the process.
 */
import { closeSync } from 'node:fs';
import { parseCidr, parseIp } from '../../../linux/ip-address.ts';
import { attachPacketProgram, createBpfMap, loadPacketProgram, type BpfMap } from '../../../linux/bpf.ts';
import { wordOf, type PeerRoute } from '../peer-table.ts';
import { receivedIndex, receiverProgram, senderProgram, sentIndex, type ShortcutPlace } from './shortcut-programs.ts';

const mostRoutes = 65_536;

export interface ShortcutOptions extends Pick<ShortcutPlace, 'device' | 'port' | 'checkSource'> {
  /** Underlay address. */
  readonly local: string;
}

export class Shortcut {
  readonly #options: ShortcutOptions;
  readonly #routes: BpfMap;
  readonly #peers: BpfMap;
  readonly #counters: BpfMap;
  #attached: readonly number[] = [];
  #underlay: number | undefined;
  /** What stands in the two maps, in hexadecimal. */
  #knownRoutes: ReadonlyMap<string, string> = new Map();
  #knownPeers: ReadonlyMap<string, string> = new Map();

  /** Throws KERNEL_REFUSED where the kernel cannot, or may not be asked. */
  constructor(options: ShortcutOptions) {
    this.#options = options;
    this.#routes = createBpfMap({ type: 'prefixes', keyBytes: 8, valueBytes: 4, entries: mostRoutes });
    this.#peers = createBpfMap({ type: 'hash', keyBytes: 4, valueBytes: 4, entries: mostRoutes });
    this.#counters = createBpfMap({ type: 'array', keyBytes: 4, valueBytes: 8, entries: 2 });
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
      peers: this.#peers.fd,
      counters: this.#counters.fd,
    };
    const attached: number[] = [];
    try {
      // First the side that can take what the other sends.
      attached.push(attachOnce('receiver', receiverProgram(place), underlay, 'ingress'));
      attached.push(attachOnce('sender', senderProgram(place), place.device, 'egress'));
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
    const known = new Map<string, string>();
    for (const { address, addresses, podCidrs, framing } of peers) {
      const target = parseIp(address).toString('hex');
      for (const one of [address, ...addresses]) known.set(parseIp(one).toString('hex'), '00000001');
      for (const text of podCidrs) {
        const cidr = parseCidr(text);
        const prefix = parseIp(cidr.address);
        if (prefix.length !== 4) continue;
        const length = Buffer.alloc(4);
        length.writeUInt32LE(cidr.prefixLength);
        // Those that cannot take it are there as well: the longest prefix counts.
        routes.set(length.toString('hex') + prefix.toString('hex'), framing === 'kernel' ? target : '00000000');
      }
    }
    this.#knownRoutes = change(this.#routes, this.#knownRoutes, routes);
    this.#knownPeers = change(this.#peers, this.#knownPeers, known);
  }

  counters(): { readonly sent: number; readonly received: number } {
    const read = (index: number): number => {
      const key = Buffer.alloc(4);
      key.writeUInt32LE(index);
      return Number(this.#counters.get(key)?.readBigUInt64LE() ?? 0n);
    };
    return { sent: read(sentIndex), received: read(receivedIndex) };
  }
}

function attachOnce(name: string, program: Buffer, link: number, side: 'ingress' | 'egress'): number {
  const loaded = loadPacketProgram(name, program);
  try {
    return attachPacketProgram(loaded, link, side);
  } finally {
    // The attachment holds it.
    closeSync(loaded);
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
