/**
 * A link's sending rate, by the queueing discipline tbf (tc-tbf(8), linux/pkt_sched.h): a token bucket. Owns the root
 * discipline of the links that it is given.
 */
import { attribute, nested, NLM_F_CREATE, NLM_F_REPLACE, u32, type NetlinkRequest } from './netlink-socket.ts';

const RTM_NEWQDISC = 36;
const TC_H_ROOT = 0xffffffff;
const TCA_KIND = 1;
const TCA_OPTIONS = 2;
const TCA_TBF_PARMS = 1;
const TCA_TBF_RATE64 = 4;
const TCA_TBF_BURST = 6;
const TC_LINKLAYER_ETHERNET = 1;
/** What may be sent at once: a super-packet of the kernel, or what flows in 50 ms when that is more. */
const leastBurstBytes = 64 * 1024;
const burstSeconds = 0.05;
/** How long a packet may wait: the queue's length follows. */
const latencySeconds = 0.1;

/** struct tcmsg: family, 3 bytes of padding, link, handle, parent, info. */
function head(link: number): Buffer {
  return Buffer.concat([Buffer.alloc(4), u32(link), u32(0), u32(TC_H_ROOT), u32(0)]);
}

export function rateRequest(link: number, bitsPerSecond: number): NetlinkRequest {
  const rate = Math.max(1, Math.floor(bitsPerSecond / 8));
  const burst = Math.min(0x7fffffff, Math.max(leastBurstBytes, Math.ceil(rate * burstSeconds)));
  const limit = Math.min(0x7fffffff, burst + Math.ceil(rate * latencySeconds));
  // struct tc_tbf_qopt: two tc_ratespec of 12 bytes, then limit, buffer, mtu.
  const parameters = Buffer.alloc(36);
  parameters.writeUInt8(TC_LINKLAYER_ETHERNET, 1);
  parameters.writeUInt32LE(Math.min(rate, 0xffffffff), 8);
  parameters.writeUInt32LE(limit, 24);
  const rate64 = Buffer.alloc(8);
  rate64.writeBigUInt64LE(BigInt(rate));
  const options = [
    attribute(TCA_TBF_PARMS, parameters),
    attribute(TCA_TBF_BURST, u32(burst)),
    // Only for rates that do not fit into the struct.
    ...(rate > 0xfffffffe ? [attribute(TCA_TBF_RATE64, rate64)] : []),
  ];
  return {
    type: RTM_NEWQDISC,
    flags: NLM_F_CREATE | NLM_F_REPLACE,
    body: Buffer.concat([
      head(link),
      attribute(TCA_KIND, Buffer.from('tbf\0')),
      nested(TCA_OPTIONS, Buffer.concat(options)),
    ]),
    what: `Limiting link ${link} to ${bitsPerSecond} bit/s`,
  };
}
