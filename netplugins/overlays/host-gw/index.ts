import { join } from 'node:path';
import { z } from 'zod';
import { definePlugin } from '../../../kernel/contract/index.ts';
import { bootId } from '../../linux/held-settings.ts';
import { underlayConfig } from '../../linux/overlay/underlay-config.ts';
import { probeRoutes } from '../../linux/probes.ts';
import { HostGwOverlay } from './host-gw-overlay.ts';
import { needsRoot } from '../../linux/privilege.ts';

export default definePlugin({
  kind: 'overlay',
  name: 'host-gw',
  api: 1,
  summary: 'Plain routes between nodes of one link: no encapsulation, the full MTU',
  config: z.strictObject({ underlay: underlayConfig }).prefault({}),
  capabilities: ['ipv4', 'ipv6'],
  preflight: async (host) => {
    if (!host.isPrivileged) return needsRoot('routes');
    const reason = probeRoutes();
    return reason === undefined ? { ok: true } : { ok: false, reason };
  },
  start: async ({ config: options, stateDir, log }) =>
    new HostGwOverlay({ ...options, stateFile: join(stateDir, 'settings.json'), bootId: bootId(), log }),
});
