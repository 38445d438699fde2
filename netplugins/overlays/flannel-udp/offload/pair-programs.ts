/** The two programs by which packets come back from the far end of a pair (own-pair.ts). */
import { BpfAssembler } from '../../../linux/bpf-assembler.ts';
import { bpfHelpers } from '../../../linux/bpf.ts';
import { BPF_F_INGRESS } from './program-parts.ts';

/** In the namespace of the far end `link` of a pair (own-pair.ts): to the near end, at once. */
export function backProgram(link: number): Buffer {
  return new BpfAssembler().set(1, link).set(2, 0).call(bpfHelpers.redirectPeer).exit().assemble();
}

/** On the end in the node's namespace: as what the TUN device received. */
export function deliveryProgram(device: number): Buffer {
  return new BpfAssembler().set(1, device).set(2, BPF_F_INGRESS).call(bpfHelpers.redirect).exit().assemble();
}
