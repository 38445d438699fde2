/**
 * The image of sandbox containers, made here so that none need be downloaded: a tar with one file, a program that waits
 * for ever. A sandbox container holds a pod's namespaces and nothing else.
 *
 *   ELF header       64 bytes
 *   program header   56 bytes: the whole file is mapped at 0x400000, readable and executable
 *   code             pause(2), again and again; on arm64, which has no pause, ppoll(NULL, 0, NULL, NULL)
 */
import { PintleError } from '../../../kernel/contract/index.ts';

export const sandboxRepository = 'pintle/sandbox';
export const sandboxTag = '1';
export const sandboxProgram = '/pause';

const headerBytes = 64 + 56;
const loadAddress = 0x400000;

const machines: Readonly<Record<string, { readonly elf: number; readonly code: Buffer }>> = {
  x64: {
    elf: 62,
    // mov eax, 34 (pause); syscall; jmp to the mov
    code: Buffer.from('b8220000000f05ebf7', 'hex'),
  },
  arm64: {
    elf: 183,
    // movz x8, 73 (ppoll); movz x0..x3, 0; svc 0; b to the first
    code: Buffer.from('280980d2000080d2010080d2020080d2030080d2010000d4faffff17', 'hex'),
  },
};

function pauseProgram(arch: string): Buffer {
  const machine = machines[arch];
  if (machine === undefined)
    throw new PintleError(
      'UNSUPPORTED',
      `runtime docker has no sandbox program for ${arch}; name an image that waits for ever as sandboxImage in its config`,
    );
  const size = headerBytes + machine.code.length;
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
  return Buffer.concat([bytes, machine.code]);
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
