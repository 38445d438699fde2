/**
 * Waits until one of a few descriptors has something to read (epoll, level-triggered): unlike with poll(2), the kernel does
 * not put the caller on each descriptor's list and take it off again each time. Owns the epoll descriptor, which lives as long
 * as the process.
 */
import { kernelRefused } from './libc.ts';
import type { BatchIo, Memory } from './batch-io.ts';

const EPOLL_CLOEXEC = 0o2000000;
const EPOLL_CTL_ADD = 1;
const EPOLLIN = 1;
/** struct epoll_event, in words: events u32, data u64; x64 has no room between them. */
const dataAt = process.arch === 'x64' ? 1 : 2;
const eventWords = dataAt + 2;

export class ReadWatch {
  readonly #io: BatchIo;
  readonly #epoll: number;
  readonly #events: Memory;
  readonly #count: number;

  /** Throws KERNEL_REFUSED. */
  constructor(io: BatchIo, descriptors: readonly number[]) {
    this.#io = io;
    this.#count = descriptors.length;
    this.#events = io.allocate(descriptors.length * eventWords * 4);
    this.#epoll = io.epollCreate(EPOLL_CLOEXEC);
    if (this.#epoll < 0) throw kernelRefused('Opening an epoll descriptor', io.errno());
    for (const [index, descriptor] of descriptors.entries()) {
      this.#events.words.fill(0);
      this.#events.words[0] = EPOLLIN;
      this.#events.words[dataAt] = 1 << index;
      if (io.epollControl(this.#epoll, EPOLL_CTL_ADD, descriptor, this.#events.address) < 0)
        throw kernelRefused(`Watching descriptor ${descriptor}`, io.errno());
    }
  }

  /** Bit n: descriptor n has something, or has failed. 0: time is up, or a signal came. A time-out of -1 is none. */
  wait(timeoutMs: number): number {
    const count = this.#io.epollWait(this.#epoll, this.#events.address, this.#count, timeoutMs);
    let ready = 0;
    for (let index = 0; index < count; index += 1) ready |= this.#events.words[index * eventWords + dataAt]!;
    return ready;
  }
}
