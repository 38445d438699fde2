import test from 'ava';
import { BpfAssembler } from '../../../netplugins/linux/bpf-assembler.ts';
import { backProgram, deliveryProgram } from '../../../netplugins/overlays/flannel-udp/offload/pair-programs.ts';
import { receiverProgram } from '../../../netplugins/overlays/flannel-udp/offload/receiver-program.ts';
import { idleProgram, senderProgram } from '../../../netplugins/overlays/flannel-udp/offload/sender-program.ts';

/** As `bpftool prog dump xlated opcodes` and <linux/bpf.h> have them. */
test('instructions have the layout of the kernel', (t) => {
  const cases: readonly (readonly [BpfAssembler, string])[] = [
    [new BpfAssembler().copy(6, 1), 'bf16000000000000'],
    [new BpfAssembler().set(0, -1), 'b7000000ffffffff'],
    [new BpfAssembler().advance(2, -8), '07020000f8ffffff'],
    [new BpfAssembler().load('u32', 2, 6, 16), '6162100000000000'],
    [new BpfAssembler().load('u8', 2, 7, 8), '7172080000000000'],
    [new BpfAssembler().store('u16', 7, 10, 2), '6b270a0000000000'],
    [new BpfAssembler().storeValue('u32', 10, -8, 32), '620af8ff20000000'],
    [new BpfAssembler().compute('and', 2, 0xf0), '54020000f0000000'],
    [new BpfAssembler().computeWith('add', 4, 5), '0c54000000000000'],
    [new BpfAssembler().swap16(4), 'dc04000010000000'],
    [new BpfAssembler().addTo(0, 0, 1), 'db10000000000000'],
    [new BpfAssembler().map(1, 9), '18110000090000000000000000000000'],
    [new BpfAssembler().call(23).exit(), '85000000170000009500000000000000'],
  ];
  for (const [program, bytes] of cases) t.is(program.assemble().toString('hex'), bytes);
});

test('jumps are counted from the instruction behind them, forwards and back', (t) => {
  const program = new BpfAssembler().label('start').jumpIf(2, 'notEqual', 8, 'end').jump('start');
  t.is(
    program.label('end').exit().assemble().toString('hex'),
    '5602010008000000' + '0500feff00000000' + '9500000000000000',
  );
  t.throws(() => new BpfAssembler().jump('nowhere').assemble(), { message: /nowhere/ });
  t.throws(() => new BpfAssembler().label('twice').label('twice'), { message: /twice/ });
});

test('programs end in every way, and fit what the kernel is given', (t) => {
  const place = {
    device: 4,
    underlay: 2,
    local: 0x0163_a8c0,
    port: 8285,
    routes: 5,
    routes6: 8,
    peers: 6,
    counters: 7,
    flows: 9,
    processors: 2,
  };
  const programs = [true, false].map((checkSource) => receiverProgram({ ...place, checkSource }));
  const sender = senderProgram({ ...place, checkSource: true });
  for (const program of [...programs, sender, backProgram(3), deliveryProgram(3, 4), idleProgram()]) {
    t.true(program.length < 8 << 10);
    t.is(program.subarray(-8).toString('hex'), '9500000000000000');
  }
  t.is(new Set(programs.map((program) => program.toString('hex'))).size, 2);
});
