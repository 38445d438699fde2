/** Nodes with an attachment and an overlay, one pod each, for tests of what runs on top. */
import { existsSync } from 'node:fs';
import type { Attachment, Overlay, Peer } from '../../../kernel/contract/index.ts';
import { openBridge } from '../../../netplugins/attachments/bridge/bridge-attachment.ts';
import { CniAttachment, type CniOptions } from '../../../netplugins/attachments/cni/cni-attachment.ts';
import { openPtp } from '../../../netplugins/attachments/ptp/ptp-attachment.ts';
import type { VethOptions } from '../../../netplugins/linux/pods/veth-attachment.ts';
import {
  FlannelUdpOverlay,
  type FlannelUdpOptions,
} from '../../../netplugins/overlays/flannel-udp/flannel-udp-overlay.ts';
import { HostGwOverlay, type HostGwOptions } from '../../../netplugins/overlays/host-gw/host-gw-overlay.ts';
import { VxlanOverlay, type VxlanOptions } from '../../../netplugins/overlays/vxlan/vxlan-overlay.ts';
import { createTopology, nodeAddress, nodeAddress6, podCidr, quiet, type Place, type Topology } from './topology.ts';

export const clusterCidrs = ['10.244.0.0/16', 'fd44::/48'];
export const serviceCidrs = ['10.96.0.0/12', 'fd96::/108'];
export const podCidr6 = (index: number): string => `fd44:0:0:${index + 1}::/64`;

export interface Member {
  readonly node: Place;
  overlay: Overlay & AsyncDisposable;
  readonly attachment: Attachment & AsyncDisposable;
  readonly peer: Peer;
  readonly pod: Place;
  readonly ip: string;
}

export const overlayNames = ['vxlan', 'host-gw', 'flannel-udp'] as const;
export type OverlayName = (typeof overlayNames)[number];

export interface ClusterShape {
  readonly dual?: boolean;
  readonly attachment?: AttachmentName;
  readonly overlay?: OverlayName;
}

export const attachments = {
  bridge: (options: VethOptions) => openBridge({ ...options, bridge: 'cni0' }),
  ptp: openPtp,
  cni: (options: VethOptions) => openCni(options),
} as const;
export type AttachmentName = keyof typeof attachments;

/** Those that this host can run: cni needs Debian's package containernetworking-plugins. */
export const attachmentNames = (['bridge', 'ptp', 'cni'] as const).filter(
  (name) => name !== 'cni' || existsSync('/usr/lib/cni/ptp'),
);

/** Debian's package containernetworking-plugins, with the built-in list unless told otherwise. */
export function openCni(options: VethOptions, more: Partial<CniOptions> = {}): CniAttachment {
  return new CniAttachment({
    ...options,
    binDirs: ['/usr/lib/cni'],
    timeLimitMs: 30_000,
    masquerade: true,
    bandwidth: true,
    dns: { server: '10.96.0.10', domain: 'cluster.local' },
    ...more,
  });
}

/** What each overlay leaves of an underlay of 1500 bytes, with the family that costs most. */
export const mtuOf = ({ overlay = 'vxlan', dual = false }: ClusterShape): number =>
  overlay === 'host-gw' ? 1500 : overlay === 'flannel-udp' ? 1472 : dual ? 1430 : 1450;

export function openHostGw(node: Place, folder: string, options: Partial<HostGwOptions> = {}): HostGwOverlay {
  const stateFile = `${folder}/host-gw-${node.netns.split('/').at(-1)}.json`;
  return new HostGwOverlay({ underlay: {}, stateFile, bootId: 'boot-1', log: quiet, netns: node.netns, ...options });
}

export function openOverlay(node: Place, folder: string, options: Partial<VxlanOptions> = {}): VxlanOverlay {
  const stateFile = `${folder}/vxlan-${node.netns.split('/').at(-1)}.json`;
  const usual = { vni: 1, port: 8472, txChecksumOffload: 'auto', directRouting: false, underlay: {} } as const;
  return new VxlanOverlay({ ...usual, stateFile, bootId: 'boot-1', log: quiet, netns: node.netns, ...options });
}

export function flannelUdpOptions(node: Place, folder: string): Omit<FlannelUdpOptions, 'log' | 'netns'> {
  return {
    port: 8285,
    path: 'offload',
    inject: 'auto',
    framing: 'auto',
    threads: 'auto',
    udpSegment: true,
    udpGro: true,
    checkSource: true,
    underlay: {},
    stateDir: `${folder}/flannel-udp-${node.netns.split('/').at(-1)}`,
  };
}

export function openFlannelUdp(
  node: Place,
  folder: string,
  options: Partial<FlannelUdpOptions> = {},
): FlannelUdpOverlay {
  return new FlannelUdpOverlay({ ...flannelUdpOptions(node, folder), ...options, log: quiet, netns: node.netns });
}

const openers = { vxlan: openOverlay, 'host-gw': openHostGw, 'flannel-udp': openFlannelUdp } as const;

interface Scope {
  teardown(undo: () => unknown): void;
}

export interface PodOnNode {
  readonly pod: Place;
  readonly ip: string;
  readonly attachment: Attachment & AsyncDisposable;
}

/** An attachment and one pod on each node; the pods answer with their node's name on port 80. */
export async function createPods(
  t: Scope,
  topology: Topology,
  shape: ClusterShape,
  mtuBytes = mtuOf(shape),
): Promise<PodOnNode[]> {
  const pods: PodOnNode[] = [];
  for (const [index, node] of topology.nodes.entries()) {
    const name = `node-${index}`;
    const stateDir = `${topology.folder}/state${index}`;
    const attachment = attachments[shape.attachment ?? 'bridge']({ stateDir, log: quiet, netns: node.netns });
    t.teardown(() => attachment[Symbol.asyncDispose]());
    await attachment.configure({ podCidrs: podCidrsOf(index, shape.dual ?? false), clusterCidrs, mtuBytes });
    const pod = topology.pod(`pod${index}`);
    const request = { sandboxId: name, podNamespace: 'default', podName: name, netns: pod.netns, hostPorts: [] };
    const { ips } = await attachment.add(request);
    await pod.serve(80, name);
    pods.push({ pod, ip: ips[0] ?? '', attachment });
  }
  return pods;
}

const podCidrsOf = (index: number, dual: boolean): string[] => [podCidr(index), ...(dual ? [podCidr6(index)] : [])];

/** Nodes with bridge and vxlan unless told otherwise, one pod each, all knowing each other. */
export async function createCluster(
  t: Scope,
  count: number,
  shape: ClusterShape = {},
): Promise<{ members: Member[]; topology: Topology }> {
  const topology = createTopology(t, count);
  const pods = await createPods(t, topology, shape);
  const members: Member[] = [];
  for (const [index, node] of topology.nodes.entries()) {
    const open = openers[shape.overlay ?? 'vxlan'];
    const overlay = open(node, topology.folder);
    // What carries packets by a process of its own goes on until somebody leaves.
    t.teardown(async () => {
      const last = open(node, topology.folder);
      await last.leave();
      await last[Symbol.asyncDispose]();
    });
    const name = `node-${index}`;
    const podCidrs = podCidrsOf(index, shape.dual ?? false);
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
