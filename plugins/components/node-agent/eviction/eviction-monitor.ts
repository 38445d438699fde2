/**
 * Watches the node's signals, sampling by sampling: says which pressures there are, and when a threshold is crossed for as
 * long as it may be, evicts one pod and waits for what that brings.
 */
import type { Clock, Container, Logger, NodeUsage, PodUsage } from '../../../../kernel/contract/index.ts';
import type { Pod } from '../../../../kernel/contract/kubernetes.ts';
import { byteCount } from '../../../../kernel/machinery/quantity.ts';
import type { PodDiskUsage } from './disk-usage.ts';
import { pressureMessage, type ContainerExcess } from './messages.ts';
import { observe, type Observation, type ObservationFacts } from './observations.ts';
import { isCritical, rankByPriority, rankByUse } from './rank-pods.ts';
import { hasStorageLimits, storageExcess } from './storage-limits.ts';
import { conditionOf, resourceOf, type PressureCondition, type Signal, type Threshold } from './thresholds.ts';

export interface Eviction {
  readonly message: string;
  /** What the node, or the pod's own limit, was short of. */
  readonly resource: string;
  readonly graceMs: number;
}

export interface EvictionMonitorOptions {
  readonly thresholds: readonly Threshold[];
  readonly pressureTransitionMs: number;
  readonly maxPodGraceMs: number;
  readonly facts: () => ObservationFacts;
  readonly clock: Clock;
  readonly log: Logger;
  /** Pods of this node that have not ended. */
  pods(): readonly Pod[];
  containers(pod: Pod): Promise<readonly Container[]>;
  diskUsage(pod: Pod, running: readonly Container[]): Promise<PodDiskUsage>;
  evict(pod: Pod, eviction: Eviction): void;
  /** True while an evicted pod has not ended yet. */
  isGoing(uid: string): boolean;
  /** A pressure came or went. */
  changed(): void;
  /** A threshold is crossed, and something will be done about it. */
  reclaiming(resource: string): void;
}

/** How long one eviction is waited for before the next. */
const patienceMs = 30_000;
const allPressures: readonly PressureCondition[] = ['MemoryPressure', 'DiskPressure', 'PIDPressure'];

interface Crossing {
  readonly threshold: Threshold;
  readonly observation: Observation;
}

export class EvictionMonitor {
  readonly #options: EvictionMonitorOptions;
  /** Since when each threshold is crossed without a pause. */
  readonly #since = new Map<Threshold, number>();
  /** When each pressure was seen last. */
  readonly #seen = new Map<PressureCondition, number>();
  readonly #storage = new Map<string, number>();
  #pressures: readonly PressureCondition[] = [];
  #last: { readonly uid: string; readonly atMs: number } | undefined;

  constructor(options: EvictionMonitorOptions) {
    this.#options = options;
  }

  get pressures(): readonly PressureCondition[] {
    return this.#pressures;
  }

  /** Bytes on disk by pod uid, of those that were measured. */
  get storage(): ReadonlyMap<string, number> {
    return this.#storage;
  }

  async heed(usage: NodeUsage): Promise<void> {
    const { clock, pressureTransitionMs } = this.#options;
    const now = clock.now();
    const crossings = this.#crossings(usage, now);
    for (const { threshold } of crossings) this.#seen.set(conditionOf[threshold.signal], now);
    const pressures = allPressures.filter((condition) => {
      const at = this.#seen.get(condition);
      return at !== undefined && (at === now || now - at < pressureTransitionMs);
    });
    if (String(pressures) !== String(this.#pressures)) {
      this.#pressures = pressures;
      this.#options.changed();
    }
    const isDiskShort = crossings.some(({ threshold }) => conditionOf[threshold.signal] === 'DiskPressure');
    const pods = this.#options.pods();
    const disk = await this.#measure(isDiskShort ? pods : pods.filter(hasStorageLimits));
    if (this.#keepLimits(pods, disk)) return;
    if (this.#isWaiting(now)) return;
    // Memory first: its shortage ends processes at random.
    const [worst] = crossings.toSorted((a, b) => order(a) - order(b));
    if (worst !== undefined) this.#reclaim(worst, usage, pods, disk);
  }

  /** The thresholds that are crossed, soft ones when their grace is over. */
  #crossings(usage: NodeUsage, now: number): readonly Crossing[] {
    const observations = observe(usage, this.#options.facts());
    return this.#options.thresholds.flatMap((threshold) => {
      const observation = observations.get(threshold.signal);
      if (observation === undefined) return [];
      const wasCrossed = this.#since.has(threshold);
      const limit = threshold.limit(observation.capacity) + (wasCrossed ? threshold.reclaim(observation.capacity) : 0);
      if (observation.available >= limit) {
        this.#since.delete(threshold);
        return [];
      }
      const since = this.#since.get(threshold) ?? now;
      this.#since.set(threshold, since);
      return now - since >= threshold.graceMs ? [{ threshold, observation }] : [];
    });
  }

  async #measure(pods: readonly Pod[]): Promise<ReadonlyMap<string, PodDiskUsage>> {
    const found = new Map<string, PodDiskUsage>();
    for (const pod of pods) {
      const { uid } = pod.metadata;
      const running = (await this.#options.containers(pod)).filter(({ state }) => state === 'running');
      found.set(uid, await this.#options.diskUsage(pod, running));
    }
    this.#storage.clear();
    for (const [uid, { totalBytes }] of found) this.#storage.set(uid, totalBytes);
    return found;
  }

  /** Who breaks a limit of its own goes whatever the node has left. True when one did. */
  #keepLimits(pods: readonly Pod[], disk: ReadonlyMap<string, PodDiskUsage>): boolean {
    let hasEvicted = false;
    for (const pod of pods) {
      const usage = disk.get(pod.metadata.uid);
      const message = usage && storageExcess(pod, usage);
      if (message === undefined || isCritical(pod) || this.#options.isGoing(pod.metadata.uid)) continue;
      this.#evict(pod, { message, graceMs: 0, resource: 'ephemeral-storage' });
      hasEvicted = true;
    }
    return hasEvicted;
  }

  #isWaiting(now: number): boolean {
    return this.#last !== undefined && this.#options.isGoing(this.#last.uid) && now - this.#last.atMs < patienceMs;
  }

  #reclaim(
    { threshold, observation }: Crossing,
    usage: NodeUsage,
    pods: readonly Pod[],
    disk: ReadonlyMap<string, PodDiskUsage>,
  ): void {
    const resource = resourceOf[threshold.signal];
    this.#options.reclaiming(resource);
    const used = usesOf(threshold.signal, usage.pods, disk);
    const ranked =
      threshold.signal === 'pid.available'
        ? rankByPriority(pods)
        : rankByUse(pods, used, conditionOf[threshold.signal] === 'DiskPressure' ? 'ephemeral-storage' : 'memory');
    const victim = ranked.find((pod) => !isCritical(pod) && !this.#options.isGoing(pod.metadata.uid));
    if (victim === undefined) {
      this.#options.log.warn(`the node is low on ${resource}, and there is no pod to evict`);
      return;
    }
    const containers = excessOf(threshold.signal, victim, usage.pods, disk);
    const limit = threshold.limit(observation.capacity);
    const ownGraceMs = (victim.spec.terminationGracePeriodSeconds ?? 30) * 1000;
    this.#evict(victim, {
      resource,
      message: pressureMessage(resource, limit, observation.available, victim, containers),
      graceMs: threshold.isHard ? 0 : Math.min(ownGraceMs, this.#options.maxPodGraceMs),
    });
  }

  #evict(pod: Pod, eviction: Eviction): void {
    this.#last = { uid: pod.metadata.uid, atMs: this.#options.clock.now() };
    this.#options.evict(pod, eviction);
  }
}

function order({ threshold: { signal, isHard } }: Crossing): number {
  return (conditionOf[signal] === 'MemoryPressure' ? 0 : 2) + (isHard ? 0 : 1);
}

function usesOf(
  signal: Signal,
  pods: readonly PodUsage[],
  disk: ReadonlyMap<string, PodDiskUsage>,
): ReadonlyMap<string, number> {
  if (conditionOf[signal] === 'DiskPressure')
    return new Map([...disk].map(([uid, { totalBytes }]) => [uid, totalBytes]));
  return new Map(
    pods.map(({ uid, containers }) => [uid, containers.reduce((sum, { memory }) => sum + memory.workingSetBytes, 0)]),
  );
}

/** The containers that use more than they requested. */
function excessOf(
  signal: Signal,
  pod: Pod,
  pods: readonly PodUsage[],
  disk: ReadonlyMap<string, PodDiskUsage>,
): readonly ContainerExcess[] {
  if (signal === 'pid.available' || signal === 'nodefs.inodesFree') return [];
  const isDisk = conditionOf[signal] === 'DiskPressure';
  const all: readonly ContainerExcess[] = isDisk
    ? [...(disk.get(pod.metadata.uid)?.containers ?? [])].map(([name, usedBytes]) => ({ name, usedBytes }))
    : (pods.find(({ uid }) => uid === pod.metadata.uid)?.containers ?? []).map(({ name, memory }) => ({
        name,
        usedBytes: memory.workingSetBytes,
      }));
  const resource = isDisk ? 'ephemeral-storage' : 'memory';
  return all.filter(({ name, usedBytes }) => {
    const request = pod.spec.containers.find((each) => each.name === name)?.resources?.requests?.[resource];
    return usedBytes > (request === undefined ? 0 : byteCount(request));
  });
}
