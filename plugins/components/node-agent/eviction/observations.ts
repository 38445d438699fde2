/** What a sampling says of each eviction signal. */
import type { NodeUsage } from '../../../../kernel/contract/index.ts';
import type { Signal } from './thresholds.ts';

export interface Observation {
  readonly available: number;
  readonly capacity: number;
}

export interface ObservationFacts {
  /** Memory of the machine that is not for pods. */
  readonly reservedMemoryBytes: number;
  /** Nothing really runs: what the machine lacks is not this node's trouble. */
  readonly isSimulated: boolean;
}

export function observe(
  { memory, fileSystem, processes, pods }: NodeUsage,
  { reservedMemoryBytes, isSimulated }: ObservationFacts,
): ReadonlyMap<Signal, Observation> {
  const memoryBytes = memory.workingSetBytes + memory.availableBytes;
  const usedByPods = pods
    .flatMap(({ containers }) => containers)
    .reduce((sum, container) => sum + container.memory.workingSetBytes, 0);
  const forPods = Math.max(0, memoryBytes - reservedMemoryBytes);
  const found = new Map<Signal, Observation>([
    ['allocatableMemory.available', { available: Math.max(0, forPods - usedByPods), capacity: forPods }],
  ]);
  if (isSimulated) return found;
  found.set('memory.available', { available: memory.availableBytes, capacity: memoryBytes });
  found.set('nodefs.available', { available: fileSystem.availableBytes, capacity: fileSystem.capacityBytes });
  // Some file systems make inodes as they need them, and say 0.
  if (fileSystem.inodes > 0)
    found.set('nodefs.inodesFree', { available: fileSystem.inodesFree, capacity: fileSystem.inodes });
  found.set('pid.available', { available: Math.max(0, processes.max - processes.count), capacity: processes.max });
  return found;
}
