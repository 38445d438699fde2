/**
 * Writes programs for the kernel's BPF machine, instruction by instruction, with labels for jumps. Pure. What the machine is:
 * registers r0 to r10 (r0 result, r1 to r5 arguments and lost in calls, r6 to r9 kept, r10 the frame), eight bytes an
 * instruction: operation u8, registers u8 (source above, destination below), offset i16, immediate i32.
 */
export type Register = 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9 | 10;
export type Width = 'u8' | 'u16' | 'u32' | 'u64';

const sizes: Readonly<Record<Width, number>> = { u32: 0x00, u16: 0x08, u8: 0x10, u64: 0x18 };
/** Of 32-bit arithmetic (class ALU), which clears the upper half. */
const operations = {
  add: 0x00,
  sub: 0x10,
  or: 0x40,
  and: 0x50,
  shiftRight: 0x70,
  modulo: 0x90,
  xor: 0xa0,
  move: 0xb0,
} as const;
/** Of 32-bit comparisons (class JMP32), unsigned. */
const comparisons = { equal: 0x10, greater: 0x20, notEqual: 0x50, atMost: 0xb0 } as const;

const ALU = 0x04;
const ALU64 = 0x07;
const JMP = 0x05;
const JMP32 = 0x06;
const fromRegister = 0x08;
const pseudoMapFd = 1;

interface Instruction {
  readonly operation: number;
  readonly destination: number;
  readonly source: number;
  readonly offset: number;
  readonly immediate: number;
  readonly target?: string | undefined;
}

export class BpfAssembler {
  readonly #instructions: Instruction[] = [];
  readonly #labels = new Map<string, number>();

  label(name: string): this {
    if (this.#labels.has(name)) throw new Error(`BPF program has label ${name} twice`);
    this.#labels.set(name, this.#instructions.length);
    return this;
  }

  /** 64 bits, pointers too. */
  copy(to: Register, from: Register): this {
    return this.#add({ operation: ALU64 | fromRegister | operations.move, destination: to, source: from });
  }

  /** 64 bits, sign-extended. */
  set(to: Register, value: number): this {
    return this.#add({ operation: ALU64 | operations.move, destination: to, immediate: value });
  }

  /** Pointer arithmetic. */
  advance(pointer: Register, bytes: number): this {
    return this.#add({ operation: ALU64 | operations.add, destination: pointer, immediate: bytes });
  }

  compute(operation: keyof typeof operations, to: Register, value: number): this {
    return this.#add({ operation: ALU | operations[operation], destination: to, immediate: value });
  }

  computeWith(operation: keyof typeof operations, to: Register, from: Register): this {
    return this.#add({ operation: ALU | fromRegister | operations[operation], destination: to, source: from });
  }

  /** Swaps the bytes of the lower 16 bits, and clears the rest. */
  swap16(register: Register): this {
    return this.#add({ operation: ALU | fromRegister | 0xd0, destination: register, immediate: 16 });
  }

  load(width: Width, to: Register, from: Register, offset: number): this {
    return this.#add({ operation: 0x61 | sizes[width], destination: to, source: from, offset });
  }

  store(width: Width, to: Register, offset: number, from: Register): this {
    return this.#add({ operation: 0x63 | sizes[width], destination: to, source: from, offset });
  }

  storeValue(width: Width, to: Register, offset: number, value: number): this {
    return this.#add({ operation: 0x62 | sizes[width], destination: to, offset, immediate: value });
  }

  /** Adds to a 64-bit word in memory, atomically. */
  addTo(to: Register, offset: number, from: Register): this {
    return this.#add({ operation: 0xdb, destination: to, source: from, offset });
  }

  map(to: Register, descriptor: number): this {
    this.#add({ operation: 0x18, destination: to, source: pseudoMapFd, immediate: descriptor });
    return this.#add({ operation: 0 });
  }

  jump(target: string): this {
    return this.#add({ operation: JMP, target });
  }

  /** If the lower 32 bits of `register` are ... than `value`. */
  jumpIf(register: Register, comparison: keyof typeof comparisons, value: number, target: string): this {
    return this.#add({
      operation: JMP32 | comparisons[comparison],
      destination: register,
      immediate: value | 0,
      target,
    });
  }

  /** 64 bits: also whether a pointer is beyond another, or none. */
  jumpIfBeyond(register: Register, other: Register, target: string): this {
    return this.#add({ operation: JMP | fromRegister | 0x20, destination: register, source: other, target });
  }

  jumpIfNone(pointer: Register, target: string): this {
    return this.#add({ operation: JMP | 0x10, destination: pointer, target });
  }

  jumpIfDifferent(register: Register, other: Register, target: string): this {
    return this.#add({
      operation: JMP32 | fromRegister | comparisons.notEqual,
      destination: register,
      source: other,
      target,
    });
  }

  call(helper: number): this {
    return this.#add({ operation: 0x85, immediate: helper });
  }

  exit(): this {
    return this.#add({ operation: 0x95 });
  }

  assemble(): Buffer {
    const bytes = Buffer.alloc(this.#instructions.length * 8);
    for (const [index, one] of this.#instructions.entries()) {
      bytes[index * 8] = one.operation;
      bytes[index * 8 + 1] = (one.source << 4) | one.destination;
      bytes.writeInt16LE(one.target === undefined ? one.offset : this.#distance(index, one.target), index * 8 + 2);
      bytes.writeInt32LE(one.immediate | 0, index * 8 + 4);
    }
    return bytes;
  }

  #distance(from: number, target: string): number {
    const to = this.#labels.get(target);
    if (to === undefined) throw new Error(`BPF program jumps to ${target}, which it does not have`);
    return to - from - 1;
  }

  #add(part: Pick<Instruction, 'operation'> & Partial<Instruction>): this {
    this.#instructions.push({ destination: 0, source: 0, offset: 0, immediate: 0, ...part });
    return this;
  }
}
