/** Joins the eviction monitor to the agent: pods and their ends, events, the node's status. */
import type { Clock, Logger, Runtime } from '../../../../kernel/contract/index.ts';
import type { Node, Pod } from '../../../../kernel/contract/kubernetes.ts';
import type { EventRecorder } from '../../../../kernel/machinery/event-recorder.ts';
import { isTerminalPhase, type Problem } from '../pod-status.ts';
import { podDiskUsage } from './disk-usage.ts';
import { EvictionMonitor } from './eviction-monitor.ts';
import { thresholdsOf, type EvictionSettings, type PressureCondition } from './thresholds.ts';

export interface PressureParts {
  readonly nodeName: string;
  readonly reservedMemoryBytes: number;
  readonly runtime: Runtime;
  readonly clock: Clock;
  readonly log: Logger;
  readonly record: EventRecorder;
  readonly worker: {
    fail(pod: Pod, why: Problem): void;
    isFailing(uid: string): boolean;
  };
  pods(): readonly Pod[];
  node(): Node | undefined;
  podFolder(uid: string): string;
  /** The node's conditions are to be written anew. */
  changed(): void;
}

/** Reasons of the node's events: when a pressure comes, when it goes. */
const eventReasons: Readonly<Record<PressureCondition, readonly [there: string, gone: string]>> = {
  MemoryPressure: ['NodeHasInsufficientMemory', 'NodeHasSufficientMemory'],
  DiskPressure: ['NodeHasDiskPressure', 'NodeHasNoDiskPressure'],
  PIDPressure: ['NodeHasInsufficientPID', 'NodeHasSufficientPID'],
};

export interface Pressure {
  readonly monitor: EvictionMonitor;
  /** How many pods were ended, by what the node was short of. */
  readonly evictions: ReadonlyMap<string, number>;
}

export function watchPressure(settings: EvictionSettings, parts: PressureParts): Pressure {
  const { runtime, clock, log, record, worker, nodeName } = parts;
  const evictions = new Map<string, number>();
  let before: readonly PressureCondition[] = [];
  const tellNode = (type: 'Normal' | 'Warning', reason: string, message: string): void => {
    const node = parts.node();
    if (node !== undefined) record(node, type, reason, message);
  };
  const monitor = new EvictionMonitor({
    thresholds: thresholdsOf(settings),
    pressureTransitionMs: settings.pressureTransitionSeconds * 1000,
    maxPodGraceMs: settings.maxPodGraceSeconds * 1000,
    facts: () => ({
      reservedMemoryBytes: parts.reservedMemoryBytes,
      isSimulated: runtime.status().simulated ?? false,
    }),
    clock,
    log,
    pods: () =>
      parts.pods().filter((pod) => !isTerminalPhase(pod.status?.phase) && pod.metadata.deletionTimestamp === undefined),
    containers: async (pod) => {
      const sandboxes = await runtime.listSandboxes(pod.metadata.uid);
      return (await Promise.all(sandboxes.map(({ id }) => runtime.listContainers(id)))).flat();
    },
    diskUsage: (pod, running) => podDiskUsage(pod, running, { runtime, folder: parts.podFolder }),
    evict: (pod, { message, graceMs, resource }) => {
      evictions.set(resource, (evictions.get(resource) ?? 0) + 1);
      worker.fail(pod, { reason: 'Evicted', message, isDisruption: true, graceSeconds: graceMs / 1000 });
    },
    isGoing: (uid) => worker.isFailing(uid),
    changed: () => {
      for (const condition of Object.keys(eventReasons) as PressureCondition[]) {
        const [was, is] = [before.includes(condition), monitor.pressures.includes(condition)];
        if (was === is) continue;
        const reason = eventReasons[condition][is ? 0 : 1];
        tellNode('Normal', reason, `Node ${nodeName} status is now: ${reason}`);
      }
      before = monitor.pressures;
      parts.changed();
    },
    reclaiming: (resource) => tellNode('Warning', 'EvictionThresholdMet', `Attempting to reclaim ${resource}`),
  });
  return { monitor, evictions };
}
