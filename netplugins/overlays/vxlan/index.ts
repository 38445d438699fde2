import { join } from 'node:path';
import { z } from 'zod';
import { definePlugin } from '../../../kernel/contract/index.ts';
import { bootId } from '../../linux/held-settings.ts';
import { underlayConfig } from '../../linux/overlay/underlay-config.ts';
import { probeVxlan } from '../../linux/probes.ts';
import { VxlanOverlay } from './vxlan-overlay.ts';
import { needsRoot } from '../../linux/privilege.ts';

const config = z
  .strictObject({
    vni: z.int().min(1).max(16_777_215).default(1).describe('VXLAN network identifier; the same on all nodes'),
    port: z.int().min(1).max(65_535).default(8472).describe('UDP port; 8472 is the one of Linux and flannel'),
    txChecksumOffload: z
      .enum(['auto', 'on', 'off'])
      .default('auto')
      .describe('Leave transmit checksums to the device; auto: not on kernels that get them wrong after masquerading'),
    directRouting: z
      .boolean()
      .default(false)
      .describe('Reach peers on the same link by a plain route, without the tunnel; the same on all nodes'),
    underlay: underlayConfig,
  })
  .prefault({});

export default definePlugin({
  kind: 'overlay',
  name: 'vxlan',
  api: 1,
  summary: 'Kernel VXLAN tunnels in the layout and with the annotations of flannel',
  config,
  capabilities: ['ipv4', 'ipv6', 'encapsulates'],
  preflight: async (host) => {
    if (!host.isPrivileged) return needsRoot('VXLAN devices');
    const reason = probeVxlan();
    return reason === undefined ? { ok: true } : { ok: false, reason, fix: 'modprobe vxlan' };
  },
  start: async ({ config: options, stateDir, log }) =>
    new VxlanOverlay({ ...options, stateFile: join(stateDir, 'settings.json'), bootId: bootId(), log }),
});
