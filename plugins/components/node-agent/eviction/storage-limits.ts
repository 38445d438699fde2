/** Limits that a pod has set itself on its disk: ephemeral storage of containers and of the pod. Pure. */
import type { Pod } from '../../../../kernel/contract/kubernetes.ts';
import { byteCount } from '../../../../kernel/machinery/quantity.ts';
import type { PodDiskUsage } from './disk-usage.ts';
import { bytesText, containerStorageMessage, podStorageMessage } from './messages.ts';

const resource = 'ephemeral-storage';

export function hasStorageLimits({ spec }: Pod): boolean {
  const containers = [...spec.containers, ...(spec.initContainers ?? [])];
  return containers.some(({ resources }) => resources?.limits?.[resource] !== undefined);
}

/** What it is evicted for; undefined when it keeps its limits. */
export function storageExcess(pod: Pod, usage: PodDiskUsage): string | undefined {
  const limits = pod.spec.containers.map(({ name, resources }) => ({ name, limit: resources?.limits?.[resource] }));
  // A pod has a limit only when each of its containers does.
  if (limits.length > 0 && limits.every(({ limit }) => limit !== undefined)) {
    const sum = limits.reduce((total, { limit }) => total + byteCount(limit!), 0);
    if (usage.totalBytes > sum) return podStorageMessage(bytesText(sum));
  }
  for (const { name, limit } of limits)
    if (limit !== undefined && (usage.containers.get(name) ?? 0) > byteCount(limit))
      return containerStorageMessage(name, limit);
  return undefined;
}
