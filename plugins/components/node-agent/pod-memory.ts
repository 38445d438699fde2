/** What the agent's parts share about pods: settings, services, and a memory of each pod that may be lost at any time. */
import type { Pod, PodStatus } from '../../../kernel/contract/kubernetes.ts';
import type {
  Attached,
  Attachment,
  Clock,
  Cluster,
  Container,
  Logger,
  Runtime,
} from '../../../kernel/contract/index.ts';
import type { SpecSources } from './container-spec.ts';
import type { DnsSettings } from './pod-files.ts';
import type { Problem } from './pod-status.ts';
import type { ContainerProbes } from './probes.ts';
import type { PodVolumes } from './volumes.ts';

export interface PodWorkerSettings {
  readonly nodeName: string;
  readonly hostIps: readonly string[];
  readonly maxLogBytes: number;
  readonly maxLogFiles: number;
  readonly backoffMs: number;
  readonly maxBackoffMs: number;
  readonly podPids: number;
  readonly allowedUnsafeSysctls: readonly string[];
  readonly dns: DnsSettings;
  readonly attachmentCapabilities: readonly string[];
}

export interface PodWorkerServices {
  readonly cluster: Cluster;
  readonly runtime: Runtime;
  readonly attachment: Attachment;
  readonly volumes: PodVolumes;
  readonly sources: Omit<SpecSources, 'podIps' | 'hostIps'>;
  readonly clock: Clock;
  readonly log: Logger;
  record(pod: Pod, type: 'Normal' | 'Warning', reason: string, message: string): void;
  /** The pod that the API wants here; undefined when it wants none. */
  desired(uid: string): Pod | undefined;
  /** The pod of the API that shows its status: itself, or for a static pod its mirror, which may not be there yet. */
  shownBy(pod: Pod): Pod | undefined;
  /** Undefined when pods can be connected; otherwise why not yet. */
  networkProblem(): string | undefined;
  /** Why a pod that was bound to this node may not run on it now; undefined: it may. */
  refusal(pod: Pod): Problem | undefined;
  /** Ask for another `sync` of this pod. */
  again(uid: string, afterMs?: number): void;
}

/** A container on its way to its end. */
export interface ContainerStop {
  /** When it will be killed. */
  readonly killMs: number;
  /** It is its turn among the containers of its pod. */
  proceed(): void;
  shorten(killMs: number): void;
}

/** What the agent remembers of a pod between syncs; all of it can be lost. */
export interface PodMemory {
  attached: Attached | undefined;
  readonly problems: Map<string, Problem>;
  readonly probes: Map<string, { readonly containerId: string; readonly live: ContainerProbes }>;
  /** Container name → when it may be started again, and the delay that led there. */
  readonly backoff: Map<string, { readonly untilMs: number; readonly delayMs: number }>;
  /** Container name → how its image's pull stands; "pulled" until a container is made of it. */
  readonly pulls: Map<string, 'pulling' | 'pulled'>;
  /** Ids of containers that are being stopped. */
  readonly stopping: Map<string, ContainerStop>;
  /** Ids of containers whose postStart hook is under way; it is given up with its controller. */
  readonly starting: Map<string, AbortController>;
  /** Ids of containers that this agent itself has tried to start. */
  readonly tried: Set<string>;
  /** Container id → what it wrote to its termination message file. */
  readonly lastWords: Map<string, string>;
  /** Containers that the API knows and the runtime does not; undefined before the runtime was asked. */
  lost: readonly Container[] | undefined;
  failure: Problem | undefined;
  lastStatus: PodStatus | undefined;
  lastPod: Pod | undefined;
  /** The pod as the last status write left it: often newer than what the informer has. */
  written: Pod | undefined;
}

export function newPodMemory(): PodMemory {
  return {
    attached: undefined,
    problems: new Map(),
    probes: new Map(),
    backoff: new Map(),
    pulls: new Map(),
    stopping: new Map(),
    starting: new Map(),
    tried: new Set(),
    lastWords: new Map(),
    lost: undefined,
    failure: undefined,
    lastStatus: undefined,
    lastPod: undefined,
    written: undefined,
  };
}

/** A growing delay for what is tried again and again under `name`: half a second, doubled up to 30 s. */
export function retryDelay(memory: PodMemory, name: string, nowMs: number): number {
  const known = memory.backoff.get(name);
  const delayMs = Math.min(known ? known.delayMs * 2 : 500, 30_000);
  memory.backoff.set(name, { untilMs: nowMs + delayMs, delayMs });
  return delayMs;
}
