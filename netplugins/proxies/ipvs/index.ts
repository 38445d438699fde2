import { z } from 'zod';
import { definePlugin } from '../../../kernel/contract/index.ts';
import { installedBackends } from '../../linux/iptables.ts';
import { IpvsProxy } from './ipvs-proxy.ts';
import { probeIpvs } from './probe.ts';
import { schedulers } from './schedulers.ts';

const seconds = z.int().min(1).max(2_592_000);

const config = z
  .strictObject({
    families: z
      .array(z.enum(['ipv4', 'ipv6']))
      .min(1)
      .default(['ipv4', 'ipv6'])
      .describe('Address families that are served'),
    scheduler: z.enum(schedulers).default('rr').describe('How IPVS chooses an endpoint'),
    affinityScheduler: z
      .enum(schedulers)
      .default('mh')
      .describe(
        'The same for Services with session affinity; mh sends a client to one endpoint by all their addresses',
      ),
    device: z
      .string()
      .regex(/^[a-zA-Z0-9_.-]{1,15}$/)
      .default('kube-ipvs0')
      .describe('Dummy link that the routes of service addresses lead to'),
    backend: z
      .enum(['auto', 'nft', 'legacy'])
      .default('auto')
      .describe('iptables back end; auto: the one that this host uses'),
    masqueradeBit: z.int().min(0).max(31).default(12).describe("Bit of a connection's mark that asks for masquerade"),
    timeouts: z
      .strictObject({ tcpSeconds: seconds, tcpFinSeconds: seconds, udpSeconds: seconds })
      .optional()
      .describe('How long IPVS keeps idle connections; the kernel: 900, 120 and 300'),
  })
  .prefault({});

const families = { ipv4: 'ip', ipv6: 'ip6' } as const;

export default definePlugin({
  kind: 'proxy',
  name: 'ipvs',
  api: 1,
  summary: "Service proxy by IPVS, the kernel's layer-4 balancer, with its schedulers",
  config,
  capabilities: [
    'ipv4',
    'ipv6',
    'tcp',
    'udp',
    'sctp',
    'node-port',
    'affinity',
    'source-ranges',
    'client-address',
    'outlives-agent',
    'explain',
  ],
  preflight: async (host, { families: wanted, backend, scheduler, affinityScheduler }) => {
    if (!host.isPrivileged)
      return { ok: false, reason: 'IPVS needs root of the network namespace', fix: 'run as root' };
    const own = wanted.map((family) => families[family]);
    const installed = installedBackends(own).filter((each) => backend === 'auto' || each === backend);
    if (installed.length === 0)
      return {
        ok: false,
        reason: `the commands iptables-${backend === 'auto' ? 'nft' : backend}-restore and -save are missing`,
        fix: 'apt-get install iptables',
      };
    const missing = await probeIpvs(own, installed, [scheduler, affinityScheduler]);
    return missing === undefined ? { ok: true } : { ok: false, ...missing };
  },
  start: async ({ config: { families: wanted, masqueradeBit, ...options }, log, clock, stateDir }) =>
    new IpvsProxy({
      ...options,
      families: wanted.map((family) => families[family]),
      markBit: masqueradeBit,
      stateDir,
      log,
      clock,
    }),
});
