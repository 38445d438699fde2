/**
 * Samples what the node and its running containers use, every few seconds and never because somebody asks: a figure of CPU
 * use is a difference between two samples, and who asks gets the newest.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import {
  isPintleError,
  PintleError,
  type Clock,
  type Container,
  type ContainerStats,
  type ContainerUsage,
  type CpuUsage,
  type Logger,
  type NodeUsage,
  type PodUsage,
  type Runtime,
} from '../../../../kernel/contract/index.ts';
import { pause } from '../../../../kernel/machinery/clock.ts';
import { bootTimeMs, type HostUsage } from './host-usage.ts';

export interface UsageSamplerOptions {
  readonly nodeName: string;
  readonly runtime: Pick<Runtime, 'listSandboxes' | 'listContainers' | 'stats' | 'status'>;
  readonly clock: Clock;
  readonly log: Logger;
  readonly periodMs: number;
  host(): HostUsage | Promise<HostUsage>;
  /** Bytes on disk by pod uid, of the pods that have been measured. */
  storage?(): ReadonlyMap<string, number>;
}

interface Mark {
  readonly timeMs: number;
  readonly cpuNanos: number;
}

/** A container that is younger than so many periods is judged by its whole life: there is no earlier sample. */
const youngPeriods = 3;
/** Containers whose figures are read before other work gets its turn. */
const batch = 16;

export class UsageSampler {
  readonly #options: UsageSamplerOptions;
  #marks: ReadonlyMap<string, Mark> = new Map();
  #hostMark: Mark | undefined;
  #latest: NodeUsage | undefined;
  #bootMs: number | undefined;
  sampleSeconds = 0;
  readonly #listeners: ((usage: NodeUsage) => Promise<void>)[] = [];

  constructor(options: UsageSamplerOptions) {
    this.#options = options;
  }

  latest(): NodeUsage {
    if (this.#latest !== undefined) return this.#latest;
    throw new PintleError('UNAVAILABLE', `node ${this.#options.nodeName} has not sampled its usage yet; ask again`, {
      details: { retryAfterSeconds: 1 },
    });
  }

  /** Called after each sampling; the next waits for it. */
  onSample(listener: (usage: NodeUsage) => Promise<void>): void {
    this.#listeners.push(listener);
  }

  async run(signal: AbortSignal): Promise<void> {
    const { clock, log, periodMs } = this.#options;
    while (!signal.aborted) {
      const began = clock.now();
      try {
        const usage = await this.sample();
        for (const listener of this.#listeners) await listener(usage);
      } catch (error) {
        log.warn('usage could not be sampled', { error: String(error) });
      }
      const leftMs = Math.max(periodMs / 2, periodMs - (clock.now() - began));
      await pause(clock, leftMs, signal);
    }
  }

  async sample(): Promise<NodeUsage> {
    const { runtime, clock, nodeName } = this.#options;
    const began = performance.now();
    const marks = new Map<string, Mark>();
    const pods = await this.#pods(marks);
    const host = await this.#options.host();
    const timeMs = clock.now();
    this.#bootMs ??= await bootTimeMs();
    const isSimulated = runtime.status().simulated ?? false;
    const containers = pods.flatMap((pod) => pod.containers);
    const sum = (of: (container: ContainerUsage) => number): number =>
      containers.reduce((total, container) => total + of(container), 0);
    const before = this.#hostMark;
    this.#hostMark = { timeMs, cpuNanos: host.cpuNanos };
    this.#marks = marks;
    const workingSetBytes = isSimulated
      ? sum(({ memory }) => memory.workingSetBytes)
      : host.memoryTotalBytes - host.memoryAvailableBytes;
    this.#latest = {
      nodeName,
      startedMs: this.#bootMs,
      timeMs,
      windowMs: before === undefined ? 0 : timeMs - before.timeMs,
      cpu: isSimulated
        ? { totalNanos: sum(({ cpu }) => cpu.totalNanos), nanoCores: sum(({ cpu }) => cpu.nanoCores) }
        : cpuUsage({ timeMs, cpuNanos: host.cpuNanos }, before),
      memory: {
        usageBytes: isSimulated ? workingSetBytes : host.memoryUsageBytes,
        workingSetBytes,
        availableBytes: Math.max(0, host.memoryTotalBytes - workingSetBytes),
      },
      fileSystem: host.fileSystem,
      processes: isSimulated ? { ...host.processes, count: containers.length } : host.processes,
      pods,
    };
    this.sampleSeconds = (performance.now() - began) / 1000;
    return this.#latest;
  }

  async #pods(marks: Map<string, Mark>): Promise<readonly PodUsage[]> {
    const { runtime, storage } = this.#options;
    const onDisk = storage?.() ?? new Map<string, number>();
    const bySandbox = new Map<string, Container[]>();
    for (const container of await runtime.listContainers()) {
      if (container.state !== 'running') continue;
      const known = bySandbox.get(container.sandboxId);
      if (known === undefined) bySandbox.set(container.sandboxId, [container]);
      else known.push(container);
    }
    const pods: PodUsage[] = [];
    let read = 0;
    for (const sandbox of await runtime.listSandboxes()) {
      const running = bySandbox.get(sandbox.id);
      if (running === undefined) continue;
      const containers: ContainerUsage[] = [];
      const unsampled: string[] = [];
      for (const container of running) {
        if (++read % batch === 0) await nextTurn();
        const usage = await this.#container(container, marks);
        if (usage === undefined) unsampled.push(container.name);
        else containers.push(usage);
      }
      const { podNamespace: namespace, podName: name, podUid: uid, createdMs: startedMs } = sandbox;
      pods.push({ namespace, name, uid, startedMs, containers, unsampled, ephemeralStorageBytes: onDisk.get(uid) });
    }
    return pods;
  }

  async #container(container: Container, marks: Map<string, Mark>): Promise<ContainerUsage | undefined> {
    let stats: ContainerStats;
    try {
      stats = await this.#options.runtime.stats(container.id);
    } catch (error) {
      // Ended in between.
      if (isPintleError(error, 'CONTAINER_NOT_FOUND', 'CONTAINER_NOT_RUNNING')) return undefined;
      throw error;
    }
    const { timeMs, cpuNanos, memoryBytes, workingSetBytes } = stats;
    marks.set(container.id, { timeMs, cpuNanos });
    const startedMs = container.startedMs ?? container.createdMs;
    const isYoung = timeMs - startedMs <= youngPeriods * this.#options.periodMs;
    const before = this.#marks.get(container.id) ?? (isYoung ? { timeMs: startedMs, cpuNanos: 0 } : undefined);
    if (before === undefined || before.timeMs >= timeMs) return undefined;
    return {
      name: container.name,
      startedMs,
      timeMs,
      windowMs: timeMs - before.timeMs,
      cpu: cpuUsage({ timeMs, cpuNanos }, before),
      memory: { usageBytes: memoryBytes, workingSetBytes },
    };
  }
}

function cpuUsage(now: Mark, before: Mark | undefined): CpuUsage {
  const spanMs = before === undefined ? 0 : now.timeMs - before.timeMs;
  const used = before === undefined ? 0 : Math.max(0, now.cpuNanos - before.cpuNanos);
  return { totalNanos: now.cpuNanos, nanoCores: spanMs > 0 ? Math.round((used * 1000) / spanMs) : 0 };
}
