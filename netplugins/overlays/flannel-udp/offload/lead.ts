/**
 * Two threads, one a direction, each waiting in one system call that returns with a packet: the shortest way for a single
 * packet. In bulk that wakes both all the time, for data and for its acknowledgements: then the thread with the data takes
 * the lead, the other sleeps, and the first carries both directions until it is quiet again.
 *
 * The threads agree by one shared word. No direction is ever read by both: a thread sleeps only between two packets of its
 * own, and the leader lets go of the other's direction before it wakes it.
 */
export type Side = 0 | 1;

/** States of the word; all but the first in two forms, for the side that it is about. */
const nobody = 0;
/** A side wants the lead, the other has not noticed. */
const wantedBy = (side: Side): number => 1 + side;
/** The other sleeps; the side that wanted it has not noticed. */
const leftTo = (side: Side): number => 3 + side;
const ledBy = (side: Side): number => 5 + side;

/** Large packets, less others, after which a thread wants the lead. */
const bulk = 16;
/** So many turns of the leader without a large packet are the end of it. */
const patience = 64;
/** The side that wanted the lead may have got no more packets since: its direction alone is not worth waiting for. */
const noticeMs = 1;

export class Lead {
  readonly #word: Int32Array;
  readonly #side: Side;
  readonly #other: Side;
  #score = 0;

  constructor(shared: SharedArrayBuffer, side: Side) {
    this.#word = new Int32Array(shared);
    this.#side = side;
    this.#other = side === 0 ? 1 : 0;
  }

  /** After a packet of the own direction. True: the other thread sleeps, and this one is to carry both directions. */
  takes(isLarge: boolean): boolean {
    if (isLarge) {
      if (this.#score < bulk) this.#score += 1;
      else this.#change(nobody, wantedBy(this.#side));
    } else if (this.#score > 0) {
      this.#score -= 1;
      if (this.#score === 0) this.#change(wantedBy(this.#side), nobody);
    }
    if (Atomics.load(this.#word, 0) !== leftTo(this.#side)) return false;
    this.#score = patience;
    return this.#change(leftTo(this.#side), ledBy(this.#side));
  }

  /** Whether the leader, after one more turn, stays it. */
  keeps(isLarge: boolean): boolean {
    this.#score = isLarge ? patience : this.#score - 1;
    return this.#score > 0;
  }

  /** The other thread goes on with its direction. */
  release(): void {
    this.#score = 0;
    Atomics.store(this.#word, 0, nobody);
    Atomics.notify(this.#word, 0);
  }

  /** Whether the other thread wants the lead. */
  get isAskedFor(): boolean {
    return Atomics.load(this.#word, 0) === wantedBy(this.#other);
  }

  /** Leaves both directions to the other thread until it releases them. */
  leave(): void {
    const left = leftTo(this.#other);
    if (!this.#change(wantedBy(this.#other), left)) return;
    this.#score = 0;
    Atomics.wait(this.#word, 0, left, noticeMs);
    if (this.#change(left, nobody)) return;
    const led = ledBy(this.#other);
    while (Atomics.load(this.#word, 0) === led) Atomics.wait(this.#word, 0, led);
  }

  #change(from: number, to: number): boolean {
    return Atomics.compareExchange(this.#word, 0, from, to) === from;
  }
}
