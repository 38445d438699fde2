import { z } from 'zod';
import { definePlugin, type Host, type Preflight } from '../../../kernel/contract/index.ts';
import { preflightVeth } from '../../linux/pods/preflight.ts';
import { probeIfb, probeVeth } from '../../linux/probes.ts';
import { CniAttachment } from './cni-attachment.ts';
import { builtInList, executablesOf, readList, type NetworkList } from './network-list.ts';
import { missingExecutables } from './run-executable.ts';

const config = z
  .strictObject({
    list: z.looseObject({}).optional().describe('a CNI configuration list, as it stands in a .conflist file'),
    path: z
      .string()
      .regex(/^\//)
      .optional()
      .describe('a .conflist file, or a folder whose first one by name counts: /etc/cni/net.d'),
    binDir: z
      .array(z.string().regex(/^\//))
      .min(1)
      .default(['/usr/lib/cni', '/opt/cni/bin'])
      .describe('folders where the executables are looked for, in this order'),
    timeLimitSeconds: z
      .number()
      .int()
      .min(1)
      .max(600)
      .default(60)
      .describe('an executable that takes longer is killed'),
    masquerade: z
      .boolean()
      .default(true)
      .describe("pod traffic that leaves the cluster takes the node's address; false: the list sees to it"),
  })
  .refine(({ list, path }) => list === undefined || path === undefined, {
    message: 'expected list or path, got both',
  })
  .prefault({});

type Config = z.output<typeof config>;

/** Those that cannot do without the command iptables. */
const usersOfIptables = ['portmap', 'firewall'];

function needsIptables({ plugins }: NetworkList): boolean {
  return plugins.some((plugin) => usersOfIptables.includes(plugin.type) || plugin['ipMasq'] === true);
}

async function preflight(host: Host, { list: given, path, binDir }: Config): Promise<Preflight> {
  const veth = await preflightVeth(host, { probe: probeVeth, fix: 'modprobe veth' });
  if (!veth.ok) return veth;
  let list: NetworkList;
  try {
    const example = { podCidrs: ['10.244.0.0/24'], mtuBytes: 1500, bandwidth: probeIfb() === undefined };
    list = readList({ list: given, path }) ?? builtInList(example);
  } catch (error) {
    return { ok: false, reason: (error as Error).message, fix: 'correct config.list or config.path of attachment cni' };
  }
  const missing = missingExecutables(executablesOf(list), binDir);
  if (missing !== undefined) return { ok: false, ...missing };
  if (needsIptables(list) && host.command('iptables') === undefined)
    return {
      ok: false,
      reason: 'the command iptables is missing, which portmap runs',
      fix: 'apt-get install iptables',
    };
  return { ok: true };
}

export default definePlugin({
  kind: 'attachment',
  name: 'cni',
  api: 1,
  summary: 'Pods by any CNI configuration list and its standard executables',
  config,
  capabilities: ['ipv4', 'ipv6', 'host-ports', 'bandwidth'],
  preflight,
  start: async ({ config: { list, path, binDir, timeLimitSeconds, masquerade }, stateDir, log, cluster }) =>
    new CniAttachment({
      ...{ list, path, masquerade, stateDir, log },
      binDirs: binDir,
      timeLimitMs: timeLimitSeconds * 1000,
      bandwidth: probeIfb() === undefined,
      dns: { server: cluster.dnsServiceIp, domain: cluster.dnsDomain },
    }),
});
