import { z } from 'zod';
import { definePlugin } from '../../../kernel/contract/index.ts';
import { probeBridge, probeNft } from '../../linux/probes.ts';
import { BridgeAttachment } from './bridge-attachment.ts';
import { renderMasquerade } from './masquerade.ts';

const config = z
  .strictObject({
    bridge: z
      .string()
      .regex(/^[a-zA-Z][a-zA-Z0-9_.-]{0,14}$/)
      .default('cni0')
      .describe("Name of the node's bridge"),
  })
  .prefault({});

export default definePlugin({
  kind: 'attachment',
  name: 'bridge',
  api: 1,
  summary: 'Pods on a bridge of the node, every packet routed by the node',
  config,
  capabilities: ['ipv4', 'ipv6'],
  preflight: async (host) => {
    if (!host.isPrivileged)
      return {
        ok: false,
        reason: 'links and namespaces need root of the network namespace',
        fix: 'run as root, or inside "unshare --user --map-root-user --net --mount"',
      };
    if (host.command('nft') === undefined)
      return { ok: false, reason: 'the command nft is missing', fix: 'apt-get install nftables' };
    const links = probeBridge();
    if (links !== undefined) return { ok: false, reason: links, fix: 'modprobe bridge veth' };
    const example = { podCidrs: ['10.244.1.0/24', 'fd00::/64'], clusterCidrs: ['10.244.0.0/16', 'fd00::/56'] };
    const nft = await probeNft(renderMasquerade(example));
    return nft === undefined
      ? { ok: true }
      : { ok: false, reason: nft, fix: 'modprobe nf_tables nft_chain_nat nft_masq' };
  },
  start: async ({ config: { bridge }, stateDir, log }) => new BridgeAttachment({ bridge, stateDir, log }),
});
