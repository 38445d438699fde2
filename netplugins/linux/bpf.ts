/**
 * The system call bpf(2): maps, programs that look at a device's packets, and their attachment (TCX, Linux 6.6 and later).
 * Owns descriptors only: what they stand for is gone, and programs are off the device, when the last of them is closed, at
 * the latest with the process. Needs CAP_BPF and CAP_NET_ADMIN of the first user namespace.
 */
import { createRequire } from 'node:module';
import type koffiType from 'koffi';
import { batchIo, type Memory } from './batch-io.ts';
import { kernelRefused, libc } from './libc.ts';

const commands = { createMap: 0, lookUp: 1, update: 2, remove: 3, load: 5, link: 28 } as const;
const BPF_PROG_TYPE_SCHED_CLS = 3;
const BPF_F_NO_PREALLOC = 1;
const mapTypes = { hash: 1, array: 2, prefixes: 11 } as const;
const attachTypes = { ingress: 46, egress: 47 } as const;

/** Of <linux/bpf.h>: functions that programs call, what they return, offsets in struct __sk_buff. */
export const bpfHelpers = {
  mapLookup: 1,
  random: 7,
  processor: 8,
  redirect: 23,
  changeProtocol: 31,
  hash: 34,
  pullData: 39,
  changeHead: 43,
  adjustRoom: 50,
  redirectNeighbour: 152,
  redirectPeer: 155,
} as const;
export const bpfVerdicts = { next: -1, drop: 2 } as const;
export const bpfPacket = {
  length: 0,
  mark: 8,
  queue: 12,
  protocol: 16,
  data: 76,
  dataEnd: 80,
  segmentSize: 176,
} as const;

/** Layout of the memory that is handed to the kernel: attributes, and what they point to. */
const attributesBytes = 128;
const keyAt = 128;
const valueAt = 256;
const licenseAt = 384;
const programAt = 512;
const mostProgramBytes = 8 << 10;
const logAt = programAt + mostProgramBytes;
const logBytes = 64 << 10;

type Field = readonly [at: number, bytes: 4 | 8, value: number];

interface Scratch {
  readonly memory: Memory;
  call(command: number, fields: readonly Field[]): number;
}

let opened: Scratch | undefined;

function scratch(): Scratch {
  if (opened !== undefined) return opened;
  const koffi = createRequire(import.meta.url)('koffi') as typeof koffiType;
  const systemCall = koffi.load(null).func('int64_t syscall(int64_t, int64_t, uintptr_t, uint64_t)') as unknown as (
    ...args: readonly number[]
  ) => number;
  const number = process.arch === 'arm64' ? 280 : 321;
  const memory = batchIo().allocate(logAt + logBytes);
  opened = {
    memory,
    call(command, fields) {
      memory.bytes.fill(0, 0, attributesBytes);
      for (const [at, bytes, value] of fields)
        if (bytes === 4) memory.view.setUint32(at, value >>> 0, true);
        else memory.view.setBigUint64(at, BigInt(value), true);
      return systemCall(number, command, memory.address, attributesBytes);
    },
  };
  return opened;
}

export interface BpfMap {
  readonly fd: number;
  set(key: Uint8Array, value: Uint8Array): void;
  delete(key: Uint8Array): void;
  /** Undefined: no such key. */
  get(key: Uint8Array): Buffer | undefined;
}

export interface NewBpfMap {
  /** `prefixes`: the longest that fits is found; keys are a length in bits, u32, and the address. */
  readonly type: keyof typeof mapTypes;
  readonly keyBytes: number;
  readonly valueBytes: number;
  readonly entries: number;
}

/** Throws KERNEL_REFUSED, as all here. */
export function createBpfMap({ type, keyBytes, valueBytes, entries }: NewBpfMap): BpfMap {
  const { memory, call } = scratch();
  const fd = call(commands.createMap, [
    [0, 4, mapTypes[type]],
    [4, 4, keyBytes],
    [8, 4, valueBytes],
    [12, 4, entries],
    [16, 4, type === 'array' ? 0 : BPF_F_NO_PREALLOC],
  ]);
  if (fd < 0)
    throw kernelRefused(`Creating a BPF map of type ${type}`, libc().errno(), {
      advice: 'BPF needs root of the first user namespace, and a kernel built with it',
    });
  const element = (key: Uint8Array, value?: Uint8Array): readonly Field[] => {
    memory.bytes.set(key, keyAt);
    if (value !== undefined) memory.bytes.set(value, valueAt);
    return [
      [0, 4, fd],
      [8, 8, memory.address + keyAt],
      [16, 8, memory.address + valueAt],
    ];
  };
  return {
    fd,
    set(key, value) {
      if (call(commands.update, element(key, value)) < 0)
        throw kernelRefused(`Writing to a BPF map of type ${type}`, libc().errno());
    },
    delete: (key) => void call(commands.remove, element(key).slice(0, 2)),
    get: (key) =>
      call(commands.lookUp, element(key)) < 0
        ? undefined
        : Buffer.from(memory.bytes.subarray(valueAt, valueAt + valueBytes)),
  };
}

/** A program for packets; its descriptor. What the kernel's verifier says stands in the error. */
export function loadPacketProgram(name: string, program: Uint8Array): number {
  const { memory, call } = scratch();
  if (program.length > mostProgramBytes)
    throw new Error(`BPF program ${name} is longer than ${mostProgramBytes} bytes`);
  memory.bytes.set(program, programAt);
  memory.bytes.write('Dual MIT/GPL\0', licenseAt, 'latin1');
  const load = (verbosity: number): number =>
    call(commands.load, [
      [0, 4, BPF_PROG_TYPE_SCHED_CLS],
      [4, 4, program.length / 8],
      [8, 8, memory.address + programAt],
      [16, 8, memory.address + licenseAt],
      [24, 4, verbosity],
      [28, 4, verbosity === 0 ? 0 : logBytes],
      [32, 8, verbosity === 0 ? 0 : memory.address + logAt],
    ]);
  const fd = load(0);
  if (fd >= 0) return fd;
  const errno = libc().errno();
  memory.bytes.fill(0, logAt, logAt + logBytes);
  const again = load(1);
  if (again >= 0) return again;
  const log = memory.bytes.toString('latin1', logAt, memory.bytes.indexOf(0, logAt)).trim().split('\n');
  throw kernelRefused(`Loading BPF program ${name}`, errno, { extack: log.slice(-4).join(' | ') });
}

/** Lets a program see packets of the device at `link`, after those that are there already. Closing the result takes it off. */
export function attachPacketProgram(program: number, link: number, side: keyof typeof attachTypes): number {
  const fd = scratch().call(commands.link, [
    [0, 4, program],
    [4, 4, link],
    [8, 4, attachTypes[side]],
  ]);
  if (fd < 0)
    throw kernelRefused(`Attaching a BPF program to the ${side} of link ${link}`, libc().errno(), {
      advice: 'TCX needs Linux 6.6 or later',
    });
  return fd;
}
