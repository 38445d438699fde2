/**
 * A BPF program on what a device sends or receives, by way of queueing discipline clsact and its filter of type bpf (tc-bpf(8)).
 * It stays until the device goes, and unlike one of TCX costs that no grace period of the kernel's (10 to 20 ms under load).
 */
import { attribute, nested, NLM_F_CREATE, NLM_F_REPLACE, u32, type NetlinkRequest } from './netlink-socket.ts';

const RTM_NEWQDISC = 36;
const RTM_NEWTFILTER = 44;
const TC_H_CLSACT = 0xffff_fff1;
const clsactHandle = 0xffff_0000;
/** The classes of TC_H_CLSACT. */
const sides = { ingress: 0xffff_fff2, egress: 0xffff_fff3 } as const;
const TCA_KIND = 1;
const TCA_OPTIONS = 2;
const TCA_BPF_FD = 6;
const TCA_BPF_NAME = 7;
const TCA_BPF_FLAGS = 8;
/** The program's answer is what happens. */
const TCA_BPF_FLAG_ACT_DIRECT = 1;
/** Priority 1, packets of all protocols (ETH_P_ALL, in network order). */
const firstOfAll = (1 << 16) | 0x0300;

/** struct tcmsg: family, 3 bytes of padding, link, handle, parent, info. */
function head(link: number, handle: number, parent: number, info: number): Buffer {
  return Buffer.concat([Buffer.alloc(4), u32(link), u32(handle), u32(parent), u32(info)]);
}

export interface LinkProgram {
  readonly link: number;
  readonly side: keyof typeof sides;
  /** Descriptor of the loaded program, and its name for people. */
  readonly program: number;
  readonly name: string;
}

export function linkProgramRequests({ link, side, program, name }: LinkProgram): readonly NetlinkRequest[] {
  const flags = NLM_F_CREATE | NLM_F_REPLACE;
  const options = [
    attribute(TCA_BPF_FD, u32(program)),
    attribute(TCA_BPF_NAME, Buffer.from(`${name}\0`)),
    attribute(TCA_BPF_FLAGS, u32(TCA_BPF_FLAG_ACT_DIRECT)),
  ];
  const kind = (text: string): Buffer => attribute(TCA_KIND, Buffer.from(`${text}\0`));
  return [
    {
      type: RTM_NEWQDISC,
      flags,
      body: Buffer.concat([head(link, clsactHandle, TC_H_CLSACT, 0), kind('clsact')]),
      what: `Preparing link ${link} for a program`,
    },
    {
      type: RTM_NEWTFILTER,
      flags,
      body: Buffer.concat([
        head(link, 1, sides[side], firstOfAll),
        kind('bpf'),
        nested(TCA_OPTIONS, Buffer.concat(options)),
      ]),
      what: `Attaching BPF program ${name} to the ${side} of link ${link}`,
    },
  ];
}
