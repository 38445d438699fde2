/** The two programs by which packets come back from the far end of a pair (own-pair.ts). */
import { BpfAssembler } from '../../../linux/bpf-assembler.ts';
import { bpfHelpers, bpfPacket } from '../../../linux/bpf.ts';
import { BPF_F_INGRESS } from './program-parts.ts';

/** In the namespace of the far end `link` of a pair (own-pair.ts): to the near end, at once. */
export function backProgram(link: number): Buffer {
  return new BpfAssembler().set(1, link).set(2, 0).call(bpfHelpers.redirectPeer).exit().assemble();
}

/** Of packets that enter by the near end's own ingress, on a processor that has been chosen for them. */
export const enteringMark = 0x7069_6e74;
/** Of acknowledgements that go back to the TUN device there (acknowledgement-steering.ts). */
export const returningMark = 0x7069_6e75;

/**
 * On the near end `link`, in the node's namespace: as what the TUN device received, unless it is yet to go to the far end, or to
 * leave.
 */
export function deliveryProgram(link: number, device: number): Buffer {
  const program = new BpfAssembler().load('u32', 2, 1, bpfPacket.mark).jumpIf(2, 'equal', enteringMark, 'enter');
  program.jumpIf(2, 'equal', returningMark, 'return');
  program.set(1, device).set(2, BPF_F_INGRESS).call(bpfHelpers.redirect).exit();
  program.label('return').set(1, device).set(2, 0).call(bpfHelpers.redirect).exit();
  program.label('enter').set(2, 0).store('u32', 1, bpfPacket.mark, 2);
  return program.set(1, link).call(bpfHelpers.redirect).exit().assemble();
}
