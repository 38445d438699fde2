/** The direction from peers to the TUN device: a batch of datagrams a turn. */
import {
  controlLengthAt,
  iovecBytes,
  messageBytes,
  messageLengthAt,
  MSG_DONTWAIT,
  resetMessage,
  setIovec,
  setMessage,
  type BatchIo,
  type Memory,
} from '../../../linux/batch-io.ts';
import { mostSharing, SOL_UDP, UDP_GRO } from '../../../linux/udp-socket.ts';
import { IcmpSender } from '../icmp-sender.ts';
import { countDown, versionOf } from '../inner-packet.ts';
import { Coalescer } from './coalescer.ts';
import { isSuper } from './super-framing.ts';
import { SuperGatherer } from './super-gatherer.ts';
import { counterNames, type FollowedPeers, type WorkerSettings } from './worker-messages.ts';

/** One slot takes what UDP_GRO has gathered, at most 64 KB. */
const slotBytes = 1 << 16;
const mostSlots = 128;
const fewestBatch = 4;
const mostBatch = 64;
/** Looks for the rest of a super-packet before it goes on without. */
const patience = 8;
/** A batch of more than this was of gathered datagrams: fewer slots keep the memory in the processor's cache. */
const largeBatch = 256 << 10;
/** A super-packet cannot take much more than this: to wait for more would only use more memory. */
const enough = 60 << 10;
const nameBytes = 16;
const controlBytes = 64;
/** Between two signs. */
const signEveryMs = 100;
const EBADF = 9;
const receivedAt = counterNames.indexOf('receivedPackets');
const expiredAt = counterNames.indexOf('expired');
const unknownAt = counterNames.indexOf('unknownSource');

export class UdpReader {
  readonly #io: BatchIo;
  readonly #socket: number;
  readonly #checkSource: boolean;
  readonly #peers: FollowedPeers;
  readonly #counters: Float64Array;
  readonly #received: Memory;
  readonly #messages: Memory;
  readonly #names: Memory;
  readonly #controls: Memory;
  readonly #coalescer: Coalescer;
  readonly #gatherer: SuperGatherer;
  readonly #icmp: IcmpSender;
  readonly #onSign: () => void;
  #lastSign = 0;
  /** Slots of one receive call. */
  #batch = fewestBatch;
  /** The first slot that is free; those before hold payloads of what is still being gathered. */
  #next = 0;
  /** Bytes in those before. */
  #gathered = 0;
  #lastSource = 0;
  #isLastKnown = false;
  #isLastShort = false;
  #lastTable: FollowedPeers['table'] | undefined;
  /** The last step took all that was there, and nothing is being gathered. */
  isDrained = false;

  /** `onSign`: called for packets of peers whose packets do not come here, as a rule. */
  constructor(io: BatchIo, settings: WorkerSettings, peers: FollowedPeers, counters: Float64Array, onSign: () => void) {
    this.#onSign = onSign;
    this.#io = io;
    this.#socket = settings.socket;
    this.#checkSource = settings.checkSource;
    this.#peers = peers;
    this.#counters = counters;
    this.#received = io.allocate(mostSlots * slotBytes);
    this.#messages = io.allocate(mostSlots * messageBytes);
    this.#names = io.allocate(mostSlots * nameBytes);
    this.#controls = io.allocate(mostSlots * controlBytes);
    const iovecs = io.allocate(mostSlots * iovecBytes);
    for (let slot = 0; slot < mostSlots; slot += 1) {
      setIovec(iovecs.words, slot, this.#received, slot * slotBytes, slotBytes);
      setMessage(this.#messages, slot * messageBytes, {
        name: this.#names,
        nameOffset: slot * nameBytes,
        nameLength: nameBytes,
        iovecs,
        iovecOffset: slot * iovecBytes,
        iovecCount: 1,
        control: this.#controls,
        controlOffset: slot * controlBytes,
        controlLength: controlBytes,
      });
    }
    this.#coalescer = new Coalescer(io, settings.tun, this.#received);
    this.#gatherer = new SuperGatherer(io, settings.tun, this.#received);
    this.#icmp = new IcmpSender(settings.sources);
  }

  get failed(): number {
    return this.#coalescer.failed + this.#gatherer.failed;
  }

  /** Bytes that were there; 0: none. Throws when the socket has gone. */
  step(): number {
    const isGathering = this.#next > 0;
    const room = Math.min(this.#batch, mostSlots - this.#next);
    const place = this.#messages.address + this.#next * messageBytes;
    let got = this.#io.recvmmsg(this.#socket, place, room, MSG_DONTWAIT);
    // The sender has sent all of a super-packet at once: the rest is on its way.
    for (let count = 0; got < 0 && this.#gatherer.isOpen && count < patience; count += 1) {
      this.#io.yield();
      got = this.#io.recvmmsg(this.#socket, place, room, MSG_DONTWAIT);
    }
    if (got < 0) {
      // Whatever else the network tells of a datagram that was sent is no end.
      if (this.#io.errno() === EBADF) throw new Error('the UDP socket has gone');
      // Nothing more is there: what has been gathered is as long as it gets.
      if (isGathering) this.flush();
      return 0;
    }
    this.#peers.follow();
    let total = 0;
    for (let slot = this.#next; slot < this.#next + got; slot += 1) total += this.#take(slot);
    if (got === room && total < largeBatch) this.#batch = Math.min(this.#batch * 2, mostBatch);
    else if (total > largeBatch) this.#batch = Math.max(this.#batch >> 1, fewestBatch);
    this.#next += got;
    this.#gathered += total;
    const isOpen = this.#coalescer.isOpen || this.#gatherer.isOpen;
    const isEnough = this.#gathered >= enough && !this.#gatherer.isOpen;
    if (!isOpen || isEnough || this.#next === mostSlots) this.flush();
    this.isDrained = got < room && this.#next === 0;
    return total;
  }

  /** Writes what is being gathered. */
  flush(): void {
    this.#coalescer.flush();
    this.#gatherer.flush();
    this.#next = 0;
    this.#gathered = 0;
  }

  #take(slot: number): number {
    const length = this.#messages.words[(slot * messageBytes + messageLengthAt) >> 2]!;
    const size = this.#segmentSize(slot, length);
    const source = this.#names.words[slot * 4 + 1]!;
    const start = slot * slotBytes;
    const isKnown = this.#isKnown(source);
    if (this.#isLastShort) this.#sign();
    if (this.#checkSource && !isKnown) this.#counters[unknownAt]! += 1;
    else if (length > 0 && isSuper(this.#received.bytes[start]!))
      for (let offset = 0; offset < length; offset += size)
        this.#gatherer.take(this.#queueOf(slot), start + offset, Math.min(size, length - offset));
    else
      for (let offset = 0; offset < length; offset += size)
        this.#carry(start + offset, Math.min(size, length - offset));
    resetMessage(this.#messages, slot * messageBytes, nameBytes, controlBytes);
    return length;
  }

  /** Size of the datagrams that slot `slot` holds one after the other; the last may be shorter. */
  #segmentSize(slot: number, length: number): number {
    if (this.#messages.words[(slot * messageBytes + controlLengthAt) >> 2]! < 20) return length;
    // struct cmsghdr: length u64, level i32, type i32; then the size i32.
    const { view } = this.#controls;
    const at = slot * controlBytes;
    if (view.getInt32(at + 8, true) !== SOL_UDP || view.getInt32(at + 12, true) !== UDP_GRO) return length;
    return view.getInt32(at + 16, true) || length;
  }

  /** A number of its own for each thread of each peer: senders choose their ports so. */
  #queueOf(slot: number): number {
    const port = this.#names.view.getUint16(slot * nameBytes + 2);
    return this.#names.words[slot * 4 + 1]! * mostSharing + (port & (mostSharing - 1));
  }

  #sign(): void {
    const now = performance.now();
    if (now - this.#lastSign < signEveryMs) return;
    this.#lastSign = now;
    this.#onSign();
  }

  #isKnown(source: number): boolean {
    const { table } = this.#peers;
    if (source !== this.#lastSource || table !== this.#lastTable) {
      this.#lastSource = source;
      this.#lastTable = table;
      this.#isLastKnown = table.hasWord(source);
      this.#isLastShort = table.isShort(source);
    }
    return this.#isLastKnown;
  }

  #carry(at: number, length: number): void {
    const { bytes, view } = this.#received;
    const version = versionOf(bytes, at, length);
    if (version === undefined) return;
    if (!countDown(bytes, at)) {
      this.#counters[expiredAt]! += 1;
      return this.#icmp.answer(bytes.subarray(at, at + length), 'expired');
    }
    this.#counters[receivedAt]! += 1;
    this.#coalescer.take(at, version === 4 ? view.getUint16(at + 2) : view.getUint16(at + 4) + 40);
  }
}
