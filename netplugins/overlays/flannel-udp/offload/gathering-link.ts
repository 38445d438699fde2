/**
 * Where a peer's packets arrive one by one, they are sent through a pair of virtual links whose far end gathers TCP segments
 * (generic receive offload) before the node sees them: as the kernel's own tunnels do, each of which has such a place built
 * in.
 *
 *     underlay -> receiver -> flannel0-gather ~~~ far end: gathers -> (redirect_peer) flannel0-gather -> flannel0
 */
import { availableParallelism } from 'node:os';
import { isPintleError } from '../../../../kernel/contract/index.ts';
import { setOffload } from '../../../linux/ethtool.ts';
import { gatheringName } from '../own-links.ts';
import { writeLinkSetting } from '../../../linux/link-settings.ts';
import { openOwnPair } from './own-pair.ts';

const farName = 'gather';
const mostQueues = 16;
/** One for each processor, up to so many. */
export const gatheringQueues = Math.min(availableParallelism(), mostQueues);

/** Delivers to the link `device`. Returns the index of the end in the node's namespace. Throws KERNEL_REFUSED. */
export function openGatheringLink(device: number): number {
  const link = openOwnPair({
    ...{ name: gatheringName, farName, device },
    queues: gatheringQueues,
    // A veth gathers only what comes from one that does not pass large packets itself.
    passesLarge: false,
    prepare(_links, far) {
      setOffload(farName, 'gro', true);
      return far;
    },
  });
  if (gatheringQueues > 1) spread();
  return link;
}

/** What comes by a queue of the near end is done by the processor of that number (receive packet steering). */
function spread(): void {
  try {
    for (let queue = 0; queue < gatheringQueues; queue += 1)
      writeLinkSetting(gatheringName, `queues/rx-${queue}/rps_cpus`, (1 << queue).toString(16));
  } catch (error) {
    if (!isPintleError(error)) throw error;
    process.stderr.write(`Packets are gathered by the processor that they come to: ${error.message}\n`);
  }
}
