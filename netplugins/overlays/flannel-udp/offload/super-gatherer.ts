/**
 * Puts super-packets together again from their datagrams, in whatever order they come, and hands them to the TUN device;
 * with datagrams missing, as the runs between. One at a time for each thread of each peer. Payloads go from the memory that they were
 * received into straight to the kernel; the caller closes all with `flush` before it uses that memory again.
 */
import { iovecBytes, setIovec, type BatchIo, type Memory } from '../../../linux/batch-io.ts';
import { countDown } from '../inner-packet.ts';
import { finishHead } from './super-packet.ts';
import { headPieces, isLastChunk, longestHead, mostChunks, pieceLength, superHeaderBytes } from './super-framing.ts';
import { packetAt, TCP, TCP_PSH, vnetAt, vnetHeaderBytes } from './tunnel-memory.ts';

interface Chunk {
  at: number;
  length: number;
}

/** The super-packet that is being gathered from one sender. */
interface State {
  isOpen: boolean;
  id: number;
  /** Bit n: piece n of the head is there. */
  pieces: number;
  piece: number;
  readonly head: Memory;
  readonly chunks: readonly Chunk[];
  received: number;
  /** Index of the last chunk; -1: not seen yet. */
  last: number;
  highest: number;
}

const allPieces = (1 << headPieces) - 1;

export class SuperGatherer {
  readonly #io: BatchIo;
  readonly #tun: number;
  readonly #received: Memory;
  readonly #iovecs: Memory;
  /** What is written: a copy of the head, changed for each run. */
  readonly #out: Memory;
  readonly #states = new Map<number, State>();
  #lastSource = -1;
  #lastState: State | undefined;
  #open = 0;
  /** Super-packets whose time to live had ended. */
  expired = 0;
  /** Those that were written, whole or in runs. */
  packets = 0;
  failed = 0;

  constructor(io: BatchIo, tun: number, received: Memory) {
    this.#io = io;
    this.#tun = tun;
    this.#received = received;
    this.#iovecs = io.allocate((mostChunks + 1) * iovecBytes);
    this.#out = io.allocate(packetAt + longestHead);
  }

  get isOpen(): boolean {
    return this.#open > 0;
  }

  /** A datagram of the sender with number `source`: `length` bytes from `at`. */
  take(source: number, at: number, length: number): void {
    const { bytes } = this.#received;
    const first = bytes[at]!;
    const piece = pieceLength(first);
    const index = bytes[at + 1]!;
    const skip = superHeaderBytes + piece;
    if (length <= skip || index >= mostChunks) return;
    const id = (bytes[at + 2]! << 8) | bytes[at + 3]!;
    const state = source === this.#lastSource ? this.#lastState! : this.#stateOf(source);
    if (state.isOpen && (state.id !== id || state.piece !== piece)) this.#write(state);
    if (!state.isOpen) this.#begin(state, id, piece);
    const chunk = state.chunks[index]!;
    // A repeated datagram.
    if (chunk.length > 0) return;
    chunk.at = at + skip;
    chunk.length = length - skip;
    const which = index & (headPieces - 1);
    if ((state.pieces & (1 << which)) === 0) {
      bytes.copy(state.head.bytes, packetAt + which * piece, at + superHeaderBytes, at + skip);
      state.pieces |= 1 << which;
    }
    state.received += 1;
    if (index > state.highest) state.highest = index;
    if (isLastChunk(first)) state.last = index;
    if (state.received === state.last + 1) this.#write(state);
  }

  /** Writes all that is open. */
  flush(): void {
    if (this.#open === 0) return;
    for (const state of this.#states.values()) if (state.isOpen) this.#write(state);
  }

  /** Forgets peers that are no more; the memory of a state is not given back, so it is kept for the next. */
  #stateOf(source: number): State {
    let state = this.#states.get(source);
    if (state === undefined) {
      state = {
        ...{ isOpen: false, id: 0, pieces: 0, piece: 0, received: 0, last: -1, highest: -1 },
        head: this.#io.allocate(packetAt + longestHead),
        chunks: Array.from({ length: mostChunks }, () => ({ at: 0, length: 0 })),
      };
      this.#states.set(source, state);
    }
    this.#lastSource = source;
    this.#lastState = state;
    return state;
  }

  #begin(state: State, id: number, piece: number): void {
    state.isOpen = true;
    state.id = id;
    state.piece = piece;
    state.pieces = 0;
    state.received = 0;
    state.last = -1;
    state.highest = -1;
    this.#open += 1;
  }

  #write(state: State): void {
    state.isOpen = false;
    this.#open -= 1;
    const { chunks, highest, last } = state;
    const tcp = state.pieces === allPieces ? tcpOffset(state.head, headPieces * state.piece) : undefined;
    const isAlive = tcp !== undefined && countDown(state.head.bytes, packetAt);
    if (tcp !== undefined && !isAlive) this.expired += 1;
    if (isAlive) this.packets += 1;
    // All are of one size but the last, which is never longer.
    let size = 0;
    for (let index = 0; index <= highest; index += 1) if (chunks[index]!.length > size) size = chunks[index]!.length;
    for (let index = 0; index <= highest;) {
      if (chunks[index]!.length === 0) {
        index += 1;
        continue;
      }
      const from = index;
      let payload = 0;
      let count = 0;
      for (; index <= highest && chunks[index]!.length > 0; index += 1) {
        const chunk = chunks[index]!;
        count += 1;
        setIovec(this.#iovecs.words, count, this.#received, chunk.at, chunk.length);
        payload += chunk.length;
        chunk.length = 0;
      }
      if (isAlive) this.#writeRun(state, tcp, { from, count, payload, size, hasEnd: index - 1 === last });
    }
  }

  #writeRun(
    { head }: State,
    tcp: number,
    run: {
      readonly from: number;
      readonly count: number;
      readonly payload: number;
      readonly size: number;
      readonly hasEnd: boolean;
    },
  ): void {
    const out = this.#out;
    const headers = tcp + (head.bytes[packetAt + tcp + 12]! >> 4) * 4;
    head.bytes.copy(out.bytes, packetAt, packetAt, packetAt + headers);
    const sequence = out.view.getUint32(packetAt + tcp + 4);
    out.view.setUint32(packetAt + tcp + 4, (sequence + run.from * run.size) >>> 0);
    if (!run.hasEnd) out.bytes[packetAt + tcp + 13]! &= ~TCP_PSH;
    finishHead(out, { tcp, headers, payload: run.payload, segment: run.size, count: run.count });
    setIovec(this.#iovecs.words, 0, out, vnetAt, vnetHeaderBytes + headers);
    if (this.#io.writev(this.#tun, this.#iovecs.address, run.count + 1) < 0) this.failed += 1;
  }
}

/** Where the TCP header begins in a head of at most `length` bytes; undefined: it is none of TCP. */
function tcpOffset({ bytes }: Memory, length: number): number | undefined {
  const version = bytes[packetAt]! >> 4;
  const tcp = version === 4 ? (bytes[packetAt]! & 15) * 4 : 40;
  const protocol = version === 4 ? bytes[packetAt + 9] : version === 6 ? bytes[packetAt + 6] : undefined;
  if (protocol !== TCP || tcp < 20 || length < tcp + 20) return undefined;
  const own = (bytes[packetAt + tcp + 12]! >> 4) * 4;
  return own >= 20 && tcp + own <= length ? tcp : undefined;
}
