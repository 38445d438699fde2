/** Builds a lab's links, addresses and routes in the namespace of the calling process, which must be private. */
import { mkdirSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { createNetns } from '../netplugins/linux/namespaces.ts';
import { openRtnetlink, type Rtnetlink } from '../netplugins/linux/rtnetlink.ts';
import type { LabNode, LabPlan } from './lab-plan.ts';

export const underlayBridge = 'underlay';

function linkIndex(handle: Rtnetlink, name: string): number {
  const link = handle.getLink(name);
  if (!link) throw new Error(`link ${name} is missing right after it was made`);
  return link.index;
}

function prefixLengthOf({ prefixLength, ipv6 }: LabPlan, address: string): number {
  return ipv6 !== undefined && address.includes(':') ? ipv6.prefixLength : prefixLength;
}

function connectNode(root: Rtnetlink, plan: LabPlan, node: LabNode, bridge: number): void {
  mkdirSync(dirname(node.netns), { recursive: true });
  // A file of this name is what an earlier lab left; its mount went with its mount namespace.
  rmSync(node.netns, { force: true });
  createNetns(node.netns);
  const mtu = plan.underlayMtuBytes;
  root.createVeth({ name: node.name, mtu, up: true, master: bridge, peer: { name: 'eth0', mtu, netns: node.netns } });
  const inside = openRtnetlink({ netns: node.netns });
  try {
    inside.setLink('lo', { up: true });
    inside.setLink('eth0', { up: true });
    const eth0 = linkIndex(inside, 'eth0');
    for (const address of node.addresses) inside.addAddress(eth0, `${address}/${prefixLengthOf(plan, address)}`);
    inside.addRoute({ destination: '0.0.0.0/0', gateway: plan.gateway, link: eth0 });
    if (plan.ipv6 !== undefined) inside.addRoute({ destination: '::/0', gateway: plan.ipv6.gateway, link: eth0 });
  } finally {
    inside.close();
  }
}

export function buildNetwork(plan: LabPlan): void {
  const root = openRtnetlink();
  try {
    root.setLink('lo', { up: true });
    root.createBridge({ name: underlayBridge, mtu: plan.underlayMtuBytes });
    const bridge = linkIndex(root, underlayBridge);
    root.setLink(underlayBridge, { up: true });
    for (const gateway of [plan.gateway, ...(plan.ipv6 === undefined ? [] : [plan.ipv6.gateway])])
      root.addAddress(bridge, `${gateway}/${prefixLengthOf(plan, gateway)}`);
    for (const node of plan.nodes) connectNode(root, plan, node, bridge);
  } finally {
    root.close();
  }
}
