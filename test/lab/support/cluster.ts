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

export interface PodOnNode {
  readonly pod: Place;
  readonly ip: string;
  readonly attachment: BridgeAttachment;
}

/** A bridge and one pod on each node; the pods answer with their node's name on port 80. */
export async function createPods(t: Scope, topology: Topology, mtuBytes: number, dual = false): Promise<PodOnNode[]> {
  const pods: PodOnNode[] = [];
  for (const [index, node] of topology.nodes.entries()) {
    const name = `node-${index}`;
    const stateDir = `${topology.folder}/state${index}`;
    const attachment = new BridgeAttachment({ bridge: 'cni0', stateDir, log: quiet, netns: node.netns });
    t.teardown(() => attachment[Symbol.asyncDispose]());
    await attachment.configure({ podCidrs: podCidrsOf(index, dual), clusterCidrs, mtuBytes });
    const pod = topology.pod(`pod${index}`);
    const request = { sandboxId: name, podNamespace: 'default', podName: name, netns: pod.netns, hostPorts: [] };
    const { ips } = await attachment.add(request);
    await pod.serve(80, name);
    pods.push({ pod, ip: ips[0] ?? '', attachment });
  }
  return pods;
}

const podCidrsOf = (index: number, dual: boolean): string[] => [podCidr(index), ...(dual ? [podCidr6(index)] : [])];

/** Nodes with bridge and vxlan, one pod each, all knowing each other. */
export async function createCluster(
  t: Scope,
  count: number,
  dual = false,
): Promise<{ members: Member[]; topology: Topology }> {
  const topology = createTopology(t, count);
  const pods = await createPods(t, topology, dual ? 1430 : 1450, dual);
  const members: Member[] = [];
  for (const [index, node] of topology.nodes.entries()) {
    const overlay = openOverlay(node);
    const name = `node-${index}`;
    const podCidrs = podCidrsOf(index, dual);
    const addresses = [nodeAddress(index), nodeAddress6(index)];
    const { annotations } = await overlay.join({ name, podCidrs, clusterCidrs, addresses });
    const made = pods[index];
    if (made !== undefined) members.push({ node, overlay, peer: { name, podCidrs, addresses, annotations }, ...made });
  }
  t.teardown(async () => {
    for (const member of members) await member.overlay[Symbol.asyncDispose]();
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
