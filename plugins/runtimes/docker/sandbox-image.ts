/**
 * The image of sandbox containers, made here so that none need be downloaded: a tar with one file, a program that waits
 * for ever. A sandbox container holds a pod's namespaces and nothing else; where the pod's containers share their pid
 * namespace, it is pid 1 there, and the kernel reaps what is left to it because it ignores SIGCHLD.
 *
 *   ELF header       64 bytes
 *   program header   56 bytes: the whole file is mapped at 0x400000, readable and executable
 *   code             rt_sigaction(SIGCHLD, &action, NULL, 8), then pause(2) for ever; on arm64, which has no pause,
 *                    ppoll(NULL, 0, NULL, NULL)
 *   action           32 bytes: handler SIG_IGN (1), and zeros
 */
import { PintleError } from '../../../kernel/contract/index.ts';

export const sandboxRepository = 'pintle/sandbox';
export const sandboxTag = '2';
export const sandboxProgram = '/pause';

const headerBytes = 64 + 56;
const loadAddress = 0x400000;

const action = Buffer.alloc(32);
action.writeBigUInt64LE(1n, 0);

const machines: Readonly<Record<string, { readonly elf: number; readonly code: Buffer }>> = {
  x64: {
    elf: 62,
    code: Buffer.from(
      // mov eax, 13 (rt_sigaction); mov edi, 17; mov esi, action; xor edx, edx; mov r10d, 8; syscall
      'b80d000000' +
        'bf11000000' +
        'be9a004000' +
        '31d2' +
        '41ba08000000' +
        '0f05' +
        // mov eax, 34 (pause); syscall; jmp to the mov
        'b822000000' +
        '0f05' +
        'ebf7',
      'hex',
    ),
  },
  arm64: {
    elf: 183,
    code: Buffer.from(
      // movz x8, 134 (rt_sigaction); movz x0, 17; movz x1, low half of action; movk x1, 0x40, lsl 16; movz x2, 0;
      // movz x3, 8; svc 0
      'c81080d2' +
        '200280d2' +
        '011680d2' +
        '0108a0f2' +
        '020080d2' +
        '030180d2' +
        '010000d4' +
        // movz x8, 73 (ppoll); movz x0..x3, 0; svc 0; b to the first of these
        '280980d2' +
        '000080d2' +
        '010080d2' +
        '020080d2' +
        '030080d2' +
        '010000d4' +
        'faffff17',
      'hex',
    ),
  },
};

function pauseProgram(arch: string): Buffer {
  const machine = machines[arch];
  if (machine === undefined)
    throw new PintleError(
      'UNSUPPORTED',
      `runtime docker has no sandbox program for ${arch}; name an image that waits for ever as sandboxImage in its config`,
    );
  const size = headerBytes + machine.code.length + action.length;
  const bytes = Buffer.alloc(headerBytes);
  bytes.write('\x7fELF', 0, 'latin1');
  // 64 bit, little endian, version 1
  bytes.set([2, 1, 1], 4);
  bytes.writeUInt16LE(2, 16); // executable
  bytes.writeUInt16LE(machine.elf, 18);
  bytes.writeUInt32LE(1, 20);
  bytes.writeBigUInt64LE(BigInt(loadAddress + headerBytes), 24); // entry point
  bytes.writeBigUInt64LE(64n, 32); // where the program headers are
  bytes.writeUInt16LE(64, 52); // size of this header
  bytes.writeUInt16LE(56, 54); // size of a program header
  bytes.writeUInt16LE(1, 56); // how many
  bytes.writeUInt32LE(1, 64); // PT_LOAD
  bytes.writeUInt32LE(5, 68); // readable, executable
  bytes.writeBigUInt64LE(BigInt(loadAddress), 80);
  bytes.writeBigUInt64LE(BigInt(loadAddress), 88);
  bytes.writeBigUInt64LE(BigInt(size), 96);
  bytes.writeBigUInt64LE(BigInt(size), 104);
  bytes.writeBigUInt64LE(0x1000n, 112);
  return Buffer.concat([bytes, machine.code, action]);
}

/** A tar with the program as its only file. */
export function sandboxArchive(arch: string = process.arch): Buffer {
  const program = pauseProgram(arch);
  const header = Buffer.alloc(512);
  const octal = (value: number, at: number, length: number): void => {
    header.write(value.toString(8).padStart(length - 1, '0'), at, 'latin1');
  };
  header.write(sandboxProgram.slice(1), 0, 'latin1');
  octal(0o555, 100, 8);
  octal(0, 108, 8);
  octal(0, 116, 8);
  octal(program.length, 124, 12);
  octal(0, 136, 12);
  header.fill(' ', 148, 156);
  header.write('0', 156, 'latin1');
  header.write('ustar\x0000', 257, 'latin1');
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return Buffer.concat([header, program, Buffer.alloc(512 - (program.length % 512)), Buffer.alloc(1024)]);
}
