import { z } from 'zod';
import { definePlugin } from '../../../kernel/contract/index.ts';
import { preflightVeth } from '../../linux/pods/preflight.ts';
import { probeVeth } from '../../linux/probes.ts';
import { openPtp } from './ptp-attachment.ts';

export default definePlugin({
  kind: 'attachment',
  name: 'ptp',
  api: 1,
  summary: 'Each pod on a routed link of its own, no bridge',
  config: z.strictObject({}).prefault({}),
  capabilities: ['ipv4', 'ipv6', 'host-ports', 'bandwidth'],
  preflight: (host) => preflightVeth(host, { probe: probeVeth, fix: 'modprobe veth' }),
  start: async ({ stateDir, log }) => openPtp({ stateDir, log }),
});
