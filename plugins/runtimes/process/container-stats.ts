/** What a container uses: from its cgroup, else summed over the processes of its pid namespace. */
import { PintleError, type ContainerStats } from '../../../kernel/contract/index.ts';
import type { CgroupStats } from './cgroups.ts';
import type { ContainerLife } from './container-life.ts';
import type { NamespaceUsage } from './namespace-usage.ts';
import { namespaceOf } from './procfs.ts';

/** USER_HZ: 100 on every Linux that Node runs on. */
const nanosPerTick = 10_000_000;

export function containerStats(
  life: ContainerLife,
  fromCgroup: CgroupStats | undefined,
  fromProcesses: NamespaceUsage,
  timeMs: number,
): ContainerStats {
  if (fromCgroup !== undefined) return { timeMs, ...fromCgroup };
  const init = life.initProcess;
  const kind = life.record.hostPid ? 'mnt' : 'pid';
  const namespace = init === undefined ? undefined : namespaceOf(init.pid, kind);
  if (namespace === undefined)
    throw new PintleError('CONTAINER_NOT_RUNNING', `container ${life.record.spec.name} does not run`);
  const sum = fromProcesses.of(kind, namespace);
  return {
    timeMs: sum.timeMs,
    cpuNanos: sum.cpuTicks * nanosPerTick,
    memoryBytes: sum.memoryBytes,
    workingSetBytes: sum.memoryBytes,
  };
}
