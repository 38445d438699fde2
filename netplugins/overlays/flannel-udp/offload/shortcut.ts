/**
 * Between nodes that both have it, packets need not come to user space: one BPF program puts what leaves through the TUN
 * device into datagrams, another takes them out where they arrive. On the wire it is the same as without: bare inner
 * packets. What the programs do not know (no peer, an end of life, fragments) goes the long way.
 *
 * Owns maps and programs, which end with the process.
 */
import { closeSync } from 'node:fs';
import { parseCidr, parseIp } from '../../../linux/ip-address.ts';
import { createBpfMap, loadPacketProgram, type BpfMap } from '../../../linux/bpf.ts';
import { wordOf, type PeerRoute } from '../peer-table.ts';
import { isRefused } from '../../../linux/libc.ts';
import { openRtnetlink } from '../../../linux/rtnetlink.ts';
import { flowBytes, flowEntries } from './acknowledgement-steering.ts';
import { gatheringQueues, openGatheringLink } from './gathering-link.ts';
import { openTunnelLink } from './tunnel-link.ts';
import { attachToUnderlay, type UnderlayProgram } from './underlay-program.ts';
import {
  counterEntries,
  gatheredIndex,
  gatheringIndex,
  receivedIndex,
  sentIndex,
  steeredIndex,
  tunnelIndex,
  unmarkedIndex,
  type ShortcutPlace,
} from './program-parts.ts';
import { patience, peerBytes, receiverProgram, singlesAt } from './receiver-program.ts';
import { idleProgram, senderProgram } from './sender-program.ts';

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
  readonly #flows: BpfMap;
  readonly #links = openRtnetlink();
  #receiver: UnderlayProgram | undefined;
  #gathering: number | undefined;
  #tunnel: number | undefined;
  #underlay: number | undefined;
  #sender: Buffer | undefined;
  /** What stands in the maps, in hexadecimal. */
  #knownRoutes: ReadonlyMap<string, string> = new Map();
  #knownRoutes6: ReadonlyMap<string, string> = new Map();
  #knownPeers: ReadonlyMap<string, string> = new Map();

  /** Throws KERNEL_REFUSED where the kernel cannot, or may not be asked. */
  constructor(options: ShortcutOptions) {
    this.#options = options;
    this.#routes = createBpfMap({ type: 'prefixes', keyBytes: 8, valueBytes: 4, entries: mostRoutes });
    this.#routes6 = createBpfMap({ type: 'prefixes', keyBytes: 20, valueBytes: 4, entries: mostRoutes });
    this.#peers = createBpfMap({ type: 'hash', keyBytes: 4, valueBytes: peerBytes, entries: mostRoutes });
    this.#counters = createBpfMap({ type: 'array', keyBytes: 4, valueBytes: 8, entries: counterEntries });
    this.#flows = createBpfMap({ type: 'array', keyBytes: 4, valueBytes: flowBytes, entries: flowEntries });
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
      flows: this.#flows.fd,
      processors: gatheringQueues,
    };
    // First the side that can take what the other sends.
    this.#receiver = attachToUnderlay(this.#links, underlay, receiverProgram(place));
    try {
      this.#setSender(senderProgram(place));
    } catch (error) {
      this.detach();
      throw error;
    }
    this.#underlay = underlay;
  }

  /** All packets go the long way. */
  detach(): void {
    if (this.#underlay !== undefined) this.#setSender(idleProgram());
    this.#receiver?.remove();
    this.#receiver = undefined;
    this.#underlay = undefined;
  }

  /** Takes off what the process's end would not. */
  close(): void {
    if (this.#receiver?.outlivesProcess === true) this.#receiver.remove();
  }

  /**
   * Called on a sign that packets of a peer may arrive one by one: makes the link that gathers them, and returns its index.
   * Undefined: it is there, or none is needed. Throws KERNEL_REFUSED.
   */
  gatherIfNeeded(): number | undefined {
    if (this.#gathering !== undefined) return undefined;
    const isWanted = (key: string): boolean =>
      (this.#peers.get(Buffer.from(key, 'hex'))?.readUInt32LE(singlesAt) ?? 0) > patience;
    if (![...this.#knownPeers.keys()].some(isWanted)) return undefined;
    this.#gathering = openGatheringLink(this.#options.device);
    this.#lead(gatheringIndex, this.#gathering);
    return this.#gathering;
  }

  /**
   * Whether what passes the underlay whole goes on by a bridge. Returns the index of a link that it made for that. Throws
   * KERNEL_REFUSED.
   */
  setBridged(isBridged: boolean): number | undefined {
    const isNew = isBridged && this.#tunnel === undefined;
    if (isNew) this.#tunnel = openTunnelLink(this.#options.device);
    this.#lead(tunnelIndex, isBridged ? this.#tunnel : undefined);
    return isNew ? this.#tunnel : undefined;
  }

  /** Tells the receiver of a link. */
  #lead(index: number, link = 0): void {
    const value = Buffer.alloc(8);
    value.writeUInt32LE(link);
    this.#counters.set(keyOf(index), value);
  }

  /** The program goes with the device. One that somebody takes off is put there again. */
  #setSender(bytes: Buffer): void {
    const name = 'sender';
    const side = 'egress';
    const link = this.#options.device;
    const program = loadPacketProgram(name, bytes);
    try {
      this.#links.attachProgram({ link, side, program, name });
    } finally {
      closeSync(program);
    }
    if (this.#sender === undefined) this.#links.watchPrograms({ link, side }, () => this.#restoreSender());
    this.#sender = bytes;
  }

  /** Without it packets go the long way, which is open. */
  #restoreSender(): void {
    try {
      if (this.#sender !== undefined) this.#setSender(this.#sender);
    } catch (error) {
      // A device that is going takes it along.
      if (!isRefused(error, 'ENODEV')) throw error;
    }
  }

  setPeers(peers: readonly PeerRoute[]): void {
    const routes = new Map<string, string>();
    const routes6 = new Map<string, string>();
    const known = new Map<string, string>();
    for (const { address, addresses, podCidrs, framing } of peers) {
      const target = parseIp(address).toString('hex');
      for (const one of [address, ...addresses]) known.set(parseIp(one).toString('hex'), '00'.repeat(peerBytes));
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

  counters(): Readonly<Record<'sent' | 'received' | 'gathered' | 'unmarked' | 'steered', number>> {
    const read = (index: number): number => Number(this.#counters.get(keyOf(index))?.readBigUInt64LE() ?? 0n);
    const [gathered, unmarked] = [read(gatheredIndex), read(unmarkedIndex)];
    return {
      sent: read(sentIndex),
      received: read(receivedIndex) + gathered + unmarked,
      gathered,
      unmarked,
      steered: read(steeredIndex),
    };
  }
}

/** Of an element of the map of counters. */
function keyOf(index: number): Buffer {
  const key = Buffer.alloc(4);
  key.writeUInt32LE(index);
  return key;
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
