/**
 * System calls for data paths that move many packets: read, writev, sendmsg, sendmmsg and recvmmsg on memory outside the
 * JavaScript heap, whose addresses are plain numbers that may stand in iovec and msghdr structures. Owns that memory, which
 * is never given back. The calls block the calling thread: they are for worker threads of a process that ends as a whole.
 *
 * 64-bit little-endian machines only (x64, arm64): the layouts of struct iovec, msghdr and mmsghdr below are theirs.
 */
import { createRequire } from 'node:module';
import type koffiType from 'koffi';

export interface Memory {
  readonly bytes: Buffer;
  readonly view: DataView;
  readonly words: Uint32Array;
  /** Of the first byte: multiple of 64. The whole memory lies within one 4 GiB block, so that only the low half varies. */
  readonly addressLow: number;
  readonly addressHigh: number;
  readonly address: number;
}

/** Results as from the C library: -1 and `errno()` on failure. */
export interface BatchIo {
  read(fd: number, address: number, length: number): number;
  write(fd: number, address: number, length: number): number;
  writev(fd: number, iovecs: number, count: number): number;
  sendmsg(fd: number, message: number, flags: number): number;
  sendmmsg(fd: number, messages: number, count: number, flags: number): number;
  /** The fifth argument of the system call, a time-out, is none. */
  recvmmsg(fd: number, messages: number, count: number, flags: number): number;
  /** Lets another thread have the processor, if one wants it. */
  yield(): void;
  epollCreate(flags: number): number;
  epollControl(epoll: number, operation: number, fd: number, event: number): number;
  epollWait(epoll: number, events: number, count: number, timeoutMs: number): number;
  errno(): number;
  allocate(bytes: number): Memory;
}

export const iovecBytes = 16;
/** struct mmsghdr: struct msghdr, then the number of bytes that were sent or received. */
export const messageBytes = 64;
export const messageLengthAt = 56;
/** Offsets in struct msghdr. */
const nameAt = 0;
const nameLengthAt = 8;
const iovecsAt = 16;
const iovecCountAt = 24;
const controlAt = 32;
export const controlLengthAt = 40;

export const MSG_DONTWAIT = 0x40;

const twoTo32 = 0x1_0000_0000;

/** Why this machine cannot do it; undefined when it can. */
export function batchIoProblem(): string | undefined {
  return ['x64', 'arm64'].includes(process.arch) ? undefined : `it is not made for machines of type ${process.arch}`;
}

let opened: BatchIo | undefined;

export function batchIo(): BatchIo {
  if (opened !== undefined) return opened;
  const koffi = createRequire(import.meta.url)('koffi') as typeof koffiType;
  const library = koffi.load(null);
  const call = (prototype: string) => library.func(prototype) as unknown as (...args: readonly number[]) => number;
  const recvmmsg = call('int recvmmsg(int, uintptr_t, unsigned int, int, uintptr_t)');
  const schedYield = call('int sched_yield()');
  opened = {
    read: call('int64_t read(int, uintptr_t, size_t)'),
    write: call('int64_t write(int, uintptr_t, size_t)'),
    writev: call('int64_t writev(int, uintptr_t, int)'),
    sendmsg: call('int64_t sendmsg(int, uintptr_t, int)'),
    sendmmsg: call('int sendmmsg(int, uintptr_t, unsigned int, int)'),
    recvmmsg: (fd, messages, count, flags) => recvmmsg(fd, messages, count, flags, 0),
    yield: () => void schedYield(),
    epollCreate: call('int epoll_create1(int)'),
    epollControl: call('int epoll_ctl(int, int, int, uintptr_t)'),
    epollWait: call('int epoll_wait(int, uintptr_t, int, int)'),
    errno: () => koffi.errno(),
    allocate: (bytes) => {
      for (;;) {
        const pointer = koffi.alloc('uint8_t', bytes + 64) as unknown;
        const start = Number(koffi.address(pointer));
        const skip = -start & 63;
        const address = start + skip;
        // One that crosses the boundary is kept, so that the next comes from elsewhere.
        if (Math.floor(address / twoTo32) !== Math.floor((address + bytes) / twoTo32)) continue;
        const whole = koffi.view(pointer, bytes + 64);
        const rounded = (bytes + 3) & ~3;
        return {
          bytes: Buffer.from(whole, skip, bytes),
          view: new DataView(whole, skip, bytes),
          words: new Uint32Array(whole, skip, Math.min(rounded, bytes & ~3) >> 2),
          addressLow: address % twoTo32,
          addressHigh: Math.floor(address / twoTo32),
          address,
        };
      }
    },
  };
  return opened;
}

/** Entry `index` of the iovec array in `iovecs`: `length` bytes of `memory` from `offset`. */
export function setIovec(iovecs: Uint32Array, index: number, memory: Memory, offset: number, length: number): void {
  const at = index * 4;
  iovecs[at] = memory.addressLow + offset;
  iovecs[at + 1] = memory.addressHigh;
  iovecs[at + 2] = length;
  iovecs[at + 3] = 0;
}

export interface MessageParts {
  readonly name: Memory;
  readonly nameOffset?: number;
  readonly nameLength: number;
  readonly iovecs: Memory;
  readonly iovecOffset?: number;
  readonly iovecCount: number;
  readonly control?: Memory | undefined;
  readonly controlOffset?: number;
  readonly controlLength?: number;
}

/** Writes struct msghdr at `offset` of `messages`. */
export function setMessage(messages: Memory, offset: number, parts: MessageParts): void {
  const { view } = messages;
  const put = (at: number, value: number): void => view.setBigUint64(offset + at, BigInt(value), true);
  put(nameAt, parts.name.address + (parts.nameOffset ?? 0));
  put(nameLengthAt, parts.nameLength);
  put(iovecsAt, parts.iovecs.address + (parts.iovecOffset ?? 0));
  put(iovecCountAt, parts.iovecCount);
  put(controlAt, parts.control === undefined ? 0 : parts.control.address + (parts.controlOffset ?? 0));
  put(controlLengthAt, parts.controlLength ?? 0);
  put(48, 0);
}

/** Changes what varies from one sending to the next. */
export function setMessageSizes(
  messages: Memory,
  offset: number,
  iovecCount: number,
  controlLength: number,
  iovecStart: number,
): void {
  const at = offset >> 2;
  messages.words[at + (iovecsAt >> 2)] = iovecStart;
  messages.words[at + (iovecCountAt >> 2)] = iovecCount;
  messages.words[at + (controlLengthAt >> 2)] = controlLength;
}

/** Makes a message ready to be received into once more. */
export function resetMessage(messages: Memory, offset: number, nameLength: number, controlLength: number): void {
  const at = offset >> 2;
  messages.words[at + (nameLengthAt >> 2)] = nameLength;
  messages.words[at + (controlLengthAt >> 2)] = controlLength;
}
