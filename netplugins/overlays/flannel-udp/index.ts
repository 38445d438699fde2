import { join } from 'node:path';
import { z } from 'zod';
import { definePlugin } from '../../../kernel/contract/index.ts';
import { underlayConfig } from '../../linux/overlay/underlay-config.ts';
import { probeTun } from '../../linux/probes.ts';
import { FlannelUdpOverlay } from './flannel-udp-overlay.ts';
import { needsRoot } from '../../linux/privilege.ts';

const config = z
  .strictObject({
    path: z
      .enum(['dgram', 'offload'])
      .default('offload')
      .describe('How packets are carried: offload up to 64 KB at a time, where the kernel can; dgram one by one'),
    port: z.int().min(1).max(65_535).default(8285).describe("UDP port; 8285 is flannel's"),
    inject: z
      .enum(['auto', 'raw-socket', 'tun'])
      .default('auto')
      .describe('How path dgram hands IPv4 packets to the node; auto: package raw-socket where it loads'),
    framing: z
      .enum(['auto', 'plain', 'super'])
      .default('auto')
      .describe(
        'Path offload: auto spares packets the way through user space where both nodes can (BPF); super never does; plain sends single packets only',
      ),
    threads: z
      .union([z.literal('auto'), z.literal([1, 2, 4, 8])])
      .default('auto')
      .describe(
        'Path offload: how many threads carry what comes to user space, each its own flows; auto: one where packets stay in the kernel; else one, two with four processors, four with eight',
      ),
    udpSegment: z
      .boolean()
      .default(true)
      .describe('Path offload: let the kernel cut datagrams (UDP_SEGMENT) where it can'),
    udpGro: z.boolean().default(true).describe('Path offload: let the kernel gather datagrams (UDP_GRO) where it can'),
    mtu: z.int().min(1280).max(65_535).optional().describe("At most this MTU; else the underlay's less 28"),
    checkSource: z
      .boolean()
      .default(true)
      .describe("Drop datagrams that come from no peer's address; false where nodes reach each other through NAT"),
    underlay: underlayConfig,
  })
  .prefault({});

export default definePlugin({
  kind: 'overlay',
  name: 'flannel-udp',
  api: 1,
  summary: "flannel's UDP backend: packets in UDP datagrams, carried by a process of its own",
  config,
  capabilities: ['ipv4', 'ipv6', 'encapsulates'],
  preflight: async (host) => {
    if (!host.isPrivileged) return needsRoot('TUN devices');
    const reason = probeTun();
    return reason === undefined ? { ok: true } : { ok: false, reason, fix: 'modprobe tun' };
  },
  start: async ({ config: options, stateDir, log }) =>
    new FlannelUdpOverlay({
      ...options,
      stateDir: join(stateDir, 'data-path'),
      usesFile: join(stateDir, 'uses.json'),
      log,
    }),
});
