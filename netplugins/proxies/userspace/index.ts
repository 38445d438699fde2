import { join } from 'node:path';
import { z } from 'zod';
import { definePlugin } from '../../../kernel/contract/index.ts';
import { installedBackends } from '../../linux/iptables.ts';
import { UserspaceProxy } from './userspace-proxy.ts';
import { privilegedBy } from '../../linux/privilege.ts';

const config = z
  .strictObject({
    families: z
      .array(z.enum(['ipv4', 'ipv6']))
      .min(1)
      .default(['ipv4', 'ipv6'])
      .describe('Address families that are served'),
    redirect: z
      .enum(['auto', 'nft', 'iptables', 'none'])
      .default('auto')
      .describe('What brings traffic to the listeners; none: only NodePorts answer'),
    udpIdleSeconds: z.number().positive().default(60).describe('A UDP client that is silent for so long is forgotten'),
  })
  .prefault({});

const families = { ipv4: 'ip', ipv6: 'ip6' } as const;

export default definePlugin({
  kind: 'proxy',
  name: 'userspace',
  api: 1,
  summary: 'Service proxy in the agent itself, round robin over its own sockets: for odd hosts and for comparison',
  config,
  capabilities: [
    'ipv4',
    'ipv6',
    'tcp',
    'udp',
    'node-port',
    'affinity',
    'affinity-time-out',
    'source-ranges',
    'explain',
  ],
  preflight: async (host, { redirect, families: wanted }) => {
    const has = {
      nft: host.command('nft') !== undefined,
      iptables: installedBackends(wanted.map((family) => families[family])).length > 0,
    };
    const missing = (what: string): { ok: false; reason: string; fix: string } => ({
      ok: false,
      reason: `redirect is "${what}", but its command is missing`,
      fix: `apt-get install ${what === 'nft' ? 'nftables' : what}, or set redirect to "none"`,
    });
    if (redirect === 'nft' && !has.nft) return missing('nft');
    if (redirect === 'iptables' && !has.iptables) return missing('iptables');
    if (redirect !== 'none' && (has.nft || has.iptables) && !host.isPrivileged)
      return {
        ok: false,
        reason: 'redirecting traffic needs root of the network namespace',
        fix: `${privilegedBy}, or set redirect to "none"`,
      };
    return { ok: true };
  },
  start: async ({ config: { families: wanted, redirect, udpIdleSeconds }, log, clock, stateDir }) =>
    new UserspaceProxy({
      families: wanted.map((family) => families[family]),
      redirect,
      udpIdleMs: udpIdleSeconds * 1_000,
      lockFile: join(stateDir, 'xtables.lock'),
      log,
      clock,
    }),
});
