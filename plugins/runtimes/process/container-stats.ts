/** What a container uses: from its cgroup, else summed over the processes of its pid namespace. */
import { PintleError, type ContainerStats } from '../../../kernel/contract/index.ts';
import type { CgroupStats } from './cgroups.ts';
import type { ContainerLife } from './container-life.ts';
import { allPids, namespaceOf, residentBytes, statOf } from './procfs.ts';

/** USER_HZ: 100 on every Linux that Node runs on. */
const nanosPerTick = 10_000_000;

export function containerStats(
  life: ContainerLife,
  fromCgroup: CgroupStats | undefined,
  timeMs: number,
): ContainerStats {
  if (fromCgroup !== undefined) return { timeMs, ...fromCgroup };
  const init = life.initProcess;
  const kind = life.record.hostPid ? 'mnt' : 'pid';
  const namespace = init === undefined ? undefined : namespaceOf(init.pid, kind);
  if (namespace === undefined)
    throw new PintleError('CONTAINER_NOT_RUNNING', `container ${life.record.spec.name} does not run`);
  let cpuTicks = 0;
  let memoryBytes = 0;
  for (const pid of allPids()) {
    if (namespaceOf(pid, kind) !== namespace) continue;
    cpuTicks += statOf(pid)?.cpuTicks ?? 0;
    memoryBytes += residentBytes(pid);
  }
  return { timeMs, cpuNanos: cpuTicks * nanosPerTick, memoryBytes, workingSetBytes: memoryBytes };
}
