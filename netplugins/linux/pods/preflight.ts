/** Whether this host can have an attachment by veth pairs. */
import type { Host, Preflight } from '../../../kernel/contract/index.ts';
import { probeNft, type Probe } from '../probes.ts';
import { renderHostPorts } from './host-ports.ts';
import { renderMasquerade } from './masquerade.ts';
import { needsRoot } from '../privilege.ts';

export async function preflightVeth(
  host: Host,
  links: { readonly probe: () => Probe; readonly fix: string },
): Promise<Preflight> {
  if (!host.isPrivileged) return needsRoot('links and namespaces');
  if (host.command('nft') === undefined)
    return { ok: false, reason: 'the command nft is missing', fix: 'apt-get install nftables' };
  const reason = links.probe();
  if (reason !== undefined) return { ok: false, reason, fix: links.fix };
  const ranges = { podCidrs: ['10.244.1.0/24', 'fd00::/64'], clusterCidrs: ['10.244.0.0/16', 'fd00::/56'] };
  const ips = ['10.244.1.2', 'fd00::2'];
  const hostPorts = [
    { hostIp: undefined, hostPort: 80, containerPort: 80, protocol: 'TCP' as const },
    { hostIp: '192.0.2.1', hostPort: 81, containerPort: 80, protocol: 'SCTP' as const },
  ];
  const lease = { sandboxId: 'example', ips, gateways: [], netns: '', bootId: '', hostPorts };
  const nft = await probeNft(
    renderMasquerade({ table: 'example', ...ranges }) + renderHostPorts('example-ports', [lease]),
  );
  return nft === undefined
    ? { ok: true }
    : { ok: false, reason: nft, fix: 'modprobe nf_tables nft_chain_nat nft_masq nft_fib_inet' };
}
