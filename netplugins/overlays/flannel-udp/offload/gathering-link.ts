/**
 * Where a peer's packets arrive one by one, they are sent through a pair of virtual links whose far end gathers TCP segments
 * (generic receive offload) before the node sees them: as the kernel's own tunnels do, each of which has such a place built
 * in. The far end is in a network namespace of this process's own, so that the pair is gone with the process.
 *
 *     underlay -> receiver -> flannel0-gather ~~~ far end: gathers -> (redirect_peer) flannel0-gather -> flannel0
 *
 * Owns the namespace, the pair and the two programs that lead back.
 */
import { closeSync, openSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { loadPacketProgram } from '../../../linux/bpf.ts';
import { setOffload } from '../../../linux/ethtool.ts';
import { runInNetns, withScratchNetns } from '../../../linux/namespaces.ts';
import { openRtnetlink, type Rtnetlink } from '../../../linux/rtnetlink.ts';
import { writeSysctl } from '../../../linux/sysctl.ts';
import { gatheringName } from '../gathering-name.ts';
import { deliveryProgram, gatheredProgram } from './shortcut-programs.ts';

const farName = 'gather';
const mostQueues = 16;
/** Of both ends, the same whenever it is made: the pair is seen by nobody else. Whatever the underlay passes has room. */
const near = { mac: '02:70:69:6e:00:01', mtu: 65_535 };
const far = { mac: '02:70:69:6e:00:02', mtu: 65_535 };

/** Delivers to the link `device`. Returns the index of the end in the node's namespace. Throws KERNEL_REFUSED. */
export function openGatheringLink(device: number): number {
  const links = openRtnetlink();
  try {
    // A predecessor's namespace is gone a moment after it.
    links.deleteLink(gatheringName);
    return withScratchNetns((netns) => join(links, netns, device));
  } catch (error) {
    links.deleteLink(gatheringName);
    throw error;
  } finally {
    links.close();
  }
}

function join(links: Rtnetlink, netns: string, device: number): number {
  // Packets stay on the queue that they came by, so that processors share the work as the underlay's card spreads it.
  const queues = Math.min(availableParallelism(), mostQueues);
  links.createVeth({ name: gatheringName, queues, ...near, peer: { name: farName, ...far, netns } });
  writeSysctl(`net.ipv6.conf.${gatheringName}.disable_ipv6`, 1);
  // A veth gathers only what comes from one that does not pass large packets itself.
  setOffload(gatheringName, 'tso', false);
  setOffload(farName, 'gro', true, { netns });
  runInNetns(netns, () => {
    const inside = openRtnetlink();
    try {
      const { index } = inside.getLink(farName)!;
      attach(inside, index, 'gathered', gatheredProgram(index));
      inside.setLink(index, { up: true });
    } finally {
      inside.close();
    }
  });
  const { index } = links.getLink(gatheringName)!;
  attach(links, index, 'delivery', deliveryProgram(device));
  links.setLink(index, { up: true });
  // The namespace lives as long as this process, which never closes this.
  openSync(netns, 'r');
  return index;
}

function attach(links: Rtnetlink, link: number, name: string, bytes: Buffer): void {
  const program = loadPacketProgram(name, bytes);
  try {
    links.attachProgram({ link, side: 'ingress', program, name });
  } finally {
    closeSync(program);
  }
}
