/** The receiver's place on the underlay's link, which is not our own: TCX (Linux 6.6), on older kernels a filter of clsact. */
import { closeSync } from 'node:fs';
import { attachPacketProgram, loadPacketProgram } from '../../../linux/bpf.ts';
import { isRefused } from '../../../linux/libc.ts';
import type { Rtnetlink } from '../../../linux/rtnetlink.ts';

export interface UnderlayProgram {
  /** Else it is off the link when the process ends, however that ends. */
  readonly outlivesProcess: boolean;
  remove(): void;
}

/** Throws KERNEL_REFUSED. */
export function attachToUnderlay(links: Rtnetlink, link: number, bytes: Buffer): UnderlayProgram {
  const name = 'receiver';
  const side = 'ingress';
  const program = loadPacketProgram(name, bytes);
  try {
    const attachment = attachByTcx(program, link);
    if (attachment !== undefined) return { outlivesProcess: false, remove: () => closeSync(attachment) };
    links.attachProgram({ link, side, program, name, isShared: true });
    return { outlivesProcess: true, remove: () => void links.detachProgram({ link, side }) };
  } finally {
    closeSync(program);
  }
}

/** Undefined: this kernel has no TCX. */
function attachByTcx(program: number, link: number): number | undefined {
  try {
    return attachPacketProgram(program, link, 'ingress');
  } catch (error) {
    if (isRefused(error, 'EINVAL')) return undefined;
    throw error;
  }
}
