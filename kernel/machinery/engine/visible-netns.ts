/** Where the network namespace that an engine made can be opened from this process. */
import { readFileSync, statfsSync } from 'node:fs';

const nsfsMagic = 0x6e736673;

/**
 * The engine's own mount of it, or its process. Undefined when neither is seen: the engine is in other mount and pid
 * namespaces than this process, or on another machine.
 */
export function visibleNetns(
  mount: string | undefined,
  process: { readonly pid: number; readonly containerId: string },
): string | undefined {
  try {
    if (mount !== undefined && mount !== '' && statfsSync(mount).type === nsfsMagic) return mount;
  } catch {
    // not mounted here
  }
  return isProcessOf(process.pid, process.containerId) ? `/proc/${process.pid}/ns/net` : undefined;
}

/** True when the process of this number is one of the container: in another pid namespace it would be any other. */
export function isProcessOf(pid: number, containerId: string): boolean {
  try {
    return pid > 0 && readFileSync(`/proc/${pid}/cgroup`, 'latin1').includes(containerId);
  } catch {
    return false;
  }
}
