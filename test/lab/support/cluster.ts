/** Nodes with attachment bridge and overlay vxlan, one pod each, for tests of what runs on top. */
import type { Peer } from '../../../kernel/contract/index.ts';
import { BridgeAttachment } from '../../../netplugins/attachments/bridge/bridge-attachment.ts';
import { VxlanOverlay } from '../../../netplugins/overlays/vxlan/vxlan-overlay.ts';
import { createTopology, nodeAddress, nodeAddress6, podCidr, quiet, type Place, type Topology } from './topology.ts';

export const clusterCidrs = ['10.244.0.0/16', 'fd44::/48'];
export const podCidr6 = (index: number): string => `fd44:0:0:${index + 1}::/64`;

export interface Member {
  readonly node: Place;
  overlay: VxlanOverlay;
  readonly attachment: BridgeAttachment;
  readonly peer: Peer;
  readonly pod: Place;
  readonly ip: string;
}

export function openOverlay(node: Place): VxlanOverlay {
  return new VxlanOverlay({ vni: 1, port: 8472, txChecksumOffload: 'auto', log: quiet, netns: node.netns });
}

interface Scope {
  teardown(undo: () => unknown): void;
}

/** Nodes with bridge and vxlan, one pod each that answers with its node's name on port 80, all knowing each other. */
export async function createCluster(
  t: Scope,
  count: number,
  dual = false,
): Promise<{ members: Member[]; topology: Topology }> {
  const topology = createTopology(t, count);
  const members: Member[] = [];
  for (const [index, node] of topology.nodes.entries()) {
    const overlay = openOverlay(node);
    const name = `node-${index}`;
    const podCidrs = [podCidr(index), ...(dual ? [podCidr6(index)] : [])];
    const addresses = [nodeAddress(index), nodeAddress6(index)];
    const { mtuBytes, annotations } = await overlay.join({ name, podCidrs, clusterCidrs, addresses });
    const attachment = new BridgeAttachment({
      bridge: 'cni0',
      stateDir: `${topology.folder}/state${index}`,
      log: quiet,
      netns: node.netns,
    });
    await attachment.configure({ podCidrs, clusterCidrs, mtuBytes });
    const pod = topology.pod(`pod${index}`);
    const attached = await attachment.add({
      sandboxId: name,
      podNamespace: 'default',
      podName: name,
      netns: pod.netns,
      hostPorts: [],
    });
    await pod.serve(80, name);
    members.push({
      node,
      overlay,
      attachment,
      peer: { name, podCidrs, addresses, annotations },
      pod,
      ip: attached.ips[0] ?? '',
    });
  }
  t.teardown(async () => {
    for (const member of members) {
      await member.overlay[Symbol.asyncDispose]();
      await member.attachment[Symbol.asyncDispose]();
    }
  });
  for (const member of members) await syncAll(member, members);
  return { members, topology };
}

export function peersOf(member: Member, members: readonly Member[]): Peer[] {
  return members.filter((other) => other !== member).map(({ peer }) => peer);
}

export function syncAll(member: Member, members: readonly Member[]): Promise<{ readonly changed: number }> {
  return member.overlay.sync(peersOf(member, members));
}
