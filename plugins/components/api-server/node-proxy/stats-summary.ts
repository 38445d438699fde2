/** A kubelet's Summary (stats/v1alpha1), as far as there is something to say. */
import type { CpuUsage, FileSystemUsage, MemoryUsage, NodeUsage } from '../../../../kernel/contract/index.ts';

const iso = (ms: number): string => `${new Date(ms).toISOString().slice(0, 19)}Z`;

const cpu = (timeMs: number, { nanoCores, totalNanos }: CpuUsage): object => ({
  time: iso(timeMs),
  usageNanoCores: Math.round(nanoCores),
  usageCoreNanoSeconds: Math.round(totalNanos),
});

const memory = (timeMs: number, { usageBytes, workingSetBytes }: MemoryUsage): object => ({
  time: iso(timeMs),
  usageBytes,
  workingSetBytes,
});

const fileSystem = (timeMs: number, usage: FileSystemUsage): object => ({
  time: iso(timeMs),
  availableBytes: usage.availableBytes,
  capacityBytes: usage.capacityBytes,
  usedBytes: usage.usedBytes,
  inodesFree: usage.inodesFree,
  inodes: usage.inodes,
  inodesUsed: usage.inodes - usage.inodesFree,
});

export function statsSummary(usage: NodeUsage): object {
  const { timeMs } = usage;
  return {
    node: {
      nodeName: usage.nodeName,
      startTime: iso(usage.startedMs),
      cpu: cpu(timeMs, usage.cpu),
      memory: { ...memory(timeMs, usage.memory), availableBytes: usage.memory.availableBytes },
      fs: fileSystem(timeMs, usage.fileSystem),
      runtime: { imageFs: fileSystem(timeMs, usage.fileSystem) },
      rlimit: { time: iso(timeMs), maxpid: usage.processes.max, curproc: usage.processes.count },
    },
    pods: usage.pods.map((pod) => {
      const sum = (of: (each: (typeof pod.containers)[number]) => number): number =>
        pod.containers.reduce((total, each) => total + of(each), 0);
      return {
        podRef: { name: pod.name, namespace: pod.namespace, uid: pod.uid },
        startTime: iso(pod.startedMs),
        containers: pod.containers.map((each) => ({
          name: each.name,
          startTime: iso(each.startedMs),
          cpu: cpu(each.timeMs, each.cpu),
          memory: memory(each.timeMs, each.memory),
        })),
        cpu: cpu(timeMs, {
          nanoCores: sum((each) => each.cpu.nanoCores),
          totalNanos: sum((each) => each.cpu.totalNanos),
        }),
        memory: memory(timeMs, {
          usageBytes: sum((each) => each.memory.usageBytes),
          workingSetBytes: sum((each) => each.memory.workingSetBytes),
        }),
        ...(pod.ephemeralStorageBytes === undefined
          ? {}
          : { 'ephemeral-storage': { time: iso(timeMs), usedBytes: pod.ephemeralStorageBytes } }),
      };
    }),
  };
}
