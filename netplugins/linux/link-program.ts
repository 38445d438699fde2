/**
 * A BPF program on what a device sends or receives, by way of queueing discipline clsact and its filter of type bpf (tc-bpf(8)).
 * It stays until the device goes, and unlike one of TCX costs that no grace period of the kernel's (10 to 20 ms under load).
 * On a device of others it stands beside what they have there, and must be taken off again.
 */
import {
  attribute,
  nested,
  NLM_F_CREATE,
  NLM_F_DUMP,
  NLM_F_EXCL,
  NLM_F_REPLACE,
  u32,
  type NetlinkRequest,
} from './netlink-socket.ts';

const RTM_NEWQDISC = 36;
const RTM_DELQDISC = 37;
const RTM_NEWTFILTER = 44;
const RTM_DELTFILTER = 45;
const RTM_GETTFILTER = 46;
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
/** Packets of all protocols (ETH_P_ALL, in network order). */
const allProtocols = 0x0300;
/** On a device of our own it is the first filter. */
const own = { priority: 1, handle: 1 } as const;
/** On one of others it is after most, and known by these. */
const shared = { priority: 0xb1e7, handle: 0x7069_6e74 } as const;

/** struct tcmsg: family, 3 bytes of padding, link, handle, parent, info. */
function head(link: number, handle: number, parent: number, info: number): Buffer {
  return Buffer.concat([Buffer.alloc(4), u32(link), u32(handle), u32(parent), u32(info)]);
}

const kind = (text: string): Buffer => attribute(TCA_KIND, text);
const info = (priority: number): number => ((priority << 16) | allProtocols) >>> 0;

export interface LinkSide {
  readonly link: number;
  readonly side: keyof typeof sides;
}

export interface LinkProgram extends LinkSide {
  /** Descriptor of the loaded program, and its name for people. */
  readonly program: number;
  readonly name: string;
  /** The device is not our own. */
  readonly isShared?: boolean;
}

/** `qdisc` is refused with EEXIST when there is one on a shared device; either kind of it will do. */
export function linkProgramRequests({ link, side, program, name, isShared = false }: LinkProgram): {
  readonly qdisc: NetlinkRequest;
  readonly filter: NetlinkRequest;
} {
  const { priority, handle } = isShared ? shared : own;
  const options = [
    attribute(TCA_BPF_FD, u32(program)),
    attribute(TCA_BPF_NAME, name),
    attribute(TCA_BPF_FLAGS, u32(TCA_BPF_FLAG_ACT_DIRECT)),
  ];
  return {
    qdisc: {
      type: RTM_NEWQDISC,
      flags: NLM_F_CREATE | (isShared ? NLM_F_EXCL : NLM_F_REPLACE),
      body: Buffer.concat([head(link, clsactHandle, TC_H_CLSACT, 0), kind('clsact')]),
      what: `Preparing link ${link} for a program`,
    },
    filter: {
      type: RTM_NEWTFILTER,
      flags: NLM_F_CREATE | NLM_F_REPLACE,
      body: Buffer.concat([
        head(link, handle, sides[side], info(priority)),
        kind('bpf'),
        nested(TCA_OPTIONS, Buffer.concat(options)),
      ]),
      what: `Attaching BPF program ${name} to the ${side} of link ${link}`,
    },
  };
}

/** Takes a program off a shared device. */
export function detachRequest({ link, side }: LinkSide): NetlinkRequest {
  return {
    type: RTM_DELTFILTER,
    flags: 0,
    body: Buffer.concat([head(link, shared.handle, sides[side], info(shared.priority)), kind('bpf')]),
    what: `Taking a BPF program off the ${side} of link ${link}`,
  };
}

/** Whatever filters a side has. */
export function filtersRequest({ link, side }: LinkSide): NetlinkRequest {
  return {
    type: RTM_GETTFILTER,
    flags: NLM_F_DUMP,
    body: head(link, 0, sides[side], 0),
    what: `Listing the filters on the ${side} of link ${link}`,
  };
}

export function dropQdiscRequest(link: number): NetlinkRequest {
  return {
    type: RTM_DELQDISC,
    flags: 0,
    body: Buffer.concat([head(link, clsactHandle, TC_H_CLSACT, 0), kind('clsact')]),
    what: `Removing the place for programs from link ${link}`,
  };
}
