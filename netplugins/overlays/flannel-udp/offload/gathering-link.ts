/**
 * Where a peer's packets arrive one by one, they are sent through a pair of virtual links whose far end gathers TCP segments
 * (generic receive offload) before the node sees them: as the kernel's own tunnels do, each of which has such a place built
 * in. The far end is in a network namespace of this process's own, so that the pair is gone with the process.
 *
 *     underlay -> receiver -> flannel0-gather ~~~ far end: gathers -> (redirect_peer) flannel0-gather -> flannel0
 *
 * Owns the namespace, the pair and the two programs that lead back.
 */
import { openSync } from 'node:fs';
import { attachProgram } from '../../../linux/bpf.ts';
import { setOffload } from '../../../linux/ethtool.ts';
import { runInNetns, withScratchNetns } from '../../../linux/namespaces.ts';
import { openRtnetlink, type Rtnetlink } from '../../../linux/rtnetlink.ts';
import { writeSysctl } from '../../../linux/sysctl.ts';
import { gatheringName } from '../gathering-name.ts';
import { deliveryProgram, gatheredProgram } from './shortcut-programs.ts';

const farName = 'gather';
/** Of both ends, the same whenever it is made: the pair is seen by nobody else. Whatever the underlay passes has room. */
const near = { mac: '02:70:69:6e:00:01', mtu: 65_535 };
const far = { mac: '02:70:69:6e:00:02', mtu: 65_535 };

export interface GatheringLink {
  /** Of the end in the node's namespace, in the process's own. */
  readonly index: number;
}

/** Delivers to the link `device`. A text says why it cannot be had: packets go one by one then. */
export function openGatheringLink(device: number): GatheringLink | string {
  const links = openRtnetlink();
  try {
    // A predecessor's namespace is gone a moment after it.
    links.deleteLink(gatheringName);
    return { index: withScratchNetns((netns) => join(links, netns, device)) };
  } catch (error) {
    links.deleteLink(gatheringName);
    return (error as Error).message;
  } finally {
    links.close();
  }
}

/** The descriptors that this opens are closed by the end of the process. */
function join(links: Rtnetlink, netns: string, device: number): number {
  links.createVeth({ name: gatheringName, ...near, peer: { name: farName, ...far, netns } });
  writeSysctl(`net.ipv6.conf.${gatheringName}.disable_ipv6`, 1);
  // A veth gathers only what comes from one that does not pass large packets itself.
  setOffload(gatheringName, 'tso', false);
  setOffload(farName, 'gro', true, { netns });
  runInNetns(netns, () => {
    const inside = openRtnetlink();
    try {
      const { index } = inside.getLink(farName)!;
      attachProgram('gathered', gatheredProgram(index), index, 'ingress');
      inside.setLink(index, { up: true });
    } finally {
      inside.close();
    }
  });
  const { index } = links.getLink(gatheringName)!;
  attachProgram('delivery', deliveryProgram(device), index, 'ingress');
  links.setLink(index, { up: true });
  // The namespace lives as long as this process.
  openSync(netns, 'r');
  return index;
}
