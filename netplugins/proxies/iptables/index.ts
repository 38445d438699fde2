import { join } from 'node:path';
import { z } from 'zod';
import { definePlugin } from '../../../kernel/contract/index.ts';
import { installedBackends } from '../../linux/iptables.ts';
import { IptablesProxy } from './iptables-proxy.ts';
import { probeIptables } from './probe.ts';
import { needsRoot } from '../../linux/privilege.ts';

const config = z
  .strictObject({
    families: z
      .array(z.enum(['ipv4', 'ipv6']))
      .min(1)
      .default(['ipv4', 'ipv6'])
      .describe('Address families with chains of their own'),
    backend: z
      .enum(['auto', 'nft', 'legacy'])
      .default('auto')
      .describe('iptables back end; auto: the one that this host uses'),
    masqueradeBit: z
      .int()
      .min(0)
      .max(31)
      .default(12)
      .describe('Bit of the packet mark that asks for masquerade; kube-proxy uses 14'),
  })
  .prefault({});

const families = { ipv4: 'ip', ipv6: 'ip6' } as const;

export default definePlugin({
  kind: 'proxy',
  name: 'iptables',
  api: 1,
  summary: 'Service proxy by iptables chains, laid out as kube-proxy does: for hosts that live by iptables',
  config,
  capabilities: [
    'ipv4',
    'ipv6',
    'tcp',
    'udp',
    'sctp',
    'node-port',
    'affinity',
    'affinity-time-out',
    'source-ranges',
    'client-address',
    'outlives-agent',
    'explain',
  ],
  preflight: async (host, { families: wanted, backend }) => {
    if (!host.isPrivileged) return needsRoot('iptables');
    const own = wanted.map((family) => families[family]);
    const installed = installedBackends(own);
    if (installed.length === 0 || (backend !== 'auto' && !installed.includes(backend)))
      return {
        ok: false,
        reason: `the commands iptables-${backend === 'auto' ? 'nft' : backend}-restore and -save are missing`,
        fix: 'apt-get install iptables',
      };
    const reasons = await Promise.all(
      (backend === 'auto' ? installed : [backend]).map((each) => probeIptables(own, each)),
    );
    // One that works is enough: which is used is decided when it starts.
    return reasons.includes(undefined)
      ? { ok: true }
      : {
          ok: false,
          reason: reasons.join('; '),
          fix: 'Linux with xt_statistic, xt_recent, xt_addrtype, xt_conntrack, xt_comment, xt_mark, NAT and REJECT; apt-get install iptables',
        };
  },
  start: async ({ config: { families: wanted, backend, masqueradeBit }, log, clock, stateDir }) =>
    new IptablesProxy({
      families: wanted.map((family) => families[family]),
      backend,
      markBit: masqueradeBit,
      lockFile: join(stateDir, 'xtables.lock'),
      log,
      clock,
    }),
});
