import { z } from 'zod';
import { definePlugin } from '../../../kernel/contract/index.ts';
import { probeNft } from '../../linux/probes.ts';
import { NftablesProxy } from './nftables-proxy.ts';
import { probeRules } from './probe-rules.ts';
import { needsRoot } from '../../linux/privilege.ts';

const config = z
  .strictObject({
    families: z
      .array(z.enum(['ipv4', 'ipv6']))
      .min(1)
      .default(['ipv4', 'ipv6'])
      .describe('Address families with a table of their own'),
  })
  .prefault({});

const nftFamily = { ipv4: 'ip', ipv6: 'ip6' } as const;

export default definePlugin({
  kind: 'proxy',
  name: 'nftables',
  api: 1,
  summary: 'Service proxy by nftables maps: cost per packet independent of the number of services',
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
  preflight: async (host, { families }) => {
    if (!host.isPrivileged) return needsRoot('nftables');
    if (host.command('nft') === undefined)
      return { ok: false, reason: 'the command nft is missing', fix: 'apt-get install nftables' };
    const reason = await probeNft(families.map((family) => probeRules(nftFamily[family])).join(''));
    return reason === undefined
      ? { ok: true }
      : {
          ok: false,
          reason,
          fix: 'Linux 5.13 and nft 1.0.1 or newer, with nf_tables, nft_chain_nat, nft_reject and nft_fib',
        };
  },
  start: async ({ config: { families }, log, clock }) =>
    new NftablesProxy({ families: families.map((family) => nftFamily[family]), log, clock }),
});
