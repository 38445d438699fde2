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

/** So long packets may wait for more of their kind, in ns, unless they say that they are the last: enough for 64 KB. */
const flushTimeout = 50_000;
/** Looks in vain, each so much later, before it sleeps. */
const emptyLooks = 2;

/**
 * Without, one processor does all: what sent the packet there if that is this machine too, what the underlay's link costs, and
 * this. A thread of the kernel's own goes where there is room, and is gone with the link. It looks sooner than 64 KB have come,
 * so it must be told not to pass on at once what it has.
 */
function gatherInThread(): void {
  try {
    writeLinkSetting(farName, 'threaded', '1');
    writeLinkSetting(farName, 'gro_flush_timeout', String(flushTimeout));
    writeLinkSetting(farName, 'napi_defer_hard_irqs', String(emptyLooks));
  } catch (error) {
    if (!isPintleError(error)) throw error;
    process.stderr.write(`Packets are gathered without a thread of their own: ${error.message}\n`);
  }
}

/** Delivers to the link `device`. Returns the index of the end in the node's namespace. Throws KERNEL_REFUSED. */
export function openGatheringLink(device: number): number {
  return openOwnPair({
    ...{ name: gatheringName, farName, device },
    // Packets stay on the queue that they came by, so that processors share the work as the underlay's card spreads it.
    queues: Math.min(availableParallelism(), mostQueues),
    // A veth gathers only what comes from one that does not pass large packets itself.
    passesLarge: false,
    prepare(_links, far) {
      setOffload(farName, 'gro', true);
      if (availableParallelism() > 1) gatherInThread();
      return far;
    },
  });
}
