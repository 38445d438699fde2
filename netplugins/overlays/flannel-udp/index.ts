import { join } from 'node:path';
import { z } from 'zod';
import { definePlugin } from '../../../kernel/contract/index.ts';
import { probeTun } from '../../linux/probes.ts';
import { FlannelUdpOverlay } from './flannel-udp-overlay.ts';

const config = z
  .strictObject({
    path: z
      .enum(['dgram', 'offload'])
      .default('dgram')
      .describe('How packets are carried: dgram one by one, portable; offload by the kernel in batches of 64 KB'),
    port: z.int().min(1).max(65_535).default(8285).describe("UDP port; 8285 is flannel's"),
    inject: z
      .enum(['auto', 'raw-socket', 'tun'])
      .default('auto')
      .describe('How path dgram hands IPv4 packets to the node; auto: package raw-socket where it loads'),
    checkSource: z
      .boolean()
      .default(true)
      .describe("Drop datagrams that come from no peer's address; false where nodes reach each other through NAT"),
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
    if (!host.isPrivileged)
      return {
        ok: false,
        reason: 'TUN devices need root of the network namespace',
        fix: 'run as root, or inside "unshare --user --map-root-user --net --mount"',
      };
    const reason = probeTun();
    return reason === undefined ? { ok: true } : { ok: false, reason, fix: 'modprobe tun' };
  },
  start: async ({ config: options, stateDir, log }) =>
    new FlannelUdpOverlay({ ...options, stateDir: join(stateDir, 'data-path'), log }),
});
