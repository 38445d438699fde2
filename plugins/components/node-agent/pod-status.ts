/** A pod's status as a pure function of its spec and of what runtime, network and probes report. */
import type {
  Container as ContainerDefinition,
  ContainerState,
  ContainerStatus,
  EphemeralContainer,
  Pod,
  PodCondition,
  PodStatus,
} from '../../../kernel/contract/kubernetes.ts';
import type { Container } from '../../../kernel/contract/index.ts';

/** Why a container is not running, found out by the agent and not by the runtime. */
export interface Problem {
  readonly reason: string;
  readonly message?: string | undefined;
}

export interface PodObservation {
  /** Every container of the pod that the runtime has on record, any attempt. */
  readonly containers: readonly Container[];
  readonly podIps: readonly string[];
  readonly hostIps: readonly string[];
  readonly sandboxReady: boolean;
  /** By container name. */
  readonly problems: ReadonlyMap<string, Problem>;
  /** Names of containers whose startup probe has passed, or that have none. */
  readonly started: ReadonlySet<string>;
  /** Names of containers whose readiness probe passes, or that have none. */
  readonly ready: ReadonlySet<string>;
  readonly nowMs: number;
  /** Set when the agent has given up on the pod (evicted, not admitted). */
  readonly failure?: Problem | undefined;
}

export function isSidecar(container: ContainerDefinition): boolean {
  return container.restartPolicy === 'Always';
}

/** Definitions of all containers of a pod, of whatever kind. */
export function allDefinitions(pod: Pod): readonly (ContainerDefinition | EphemeralContainer)[] {
  return [...(pod.spec.initContainers ?? []), ...pod.spec.containers, ...(pod.spec.ephemeralContainers ?? [])];
}

/** The newest attempt of each container name, and the one before it. */
export function attemptsOf(containers: readonly Container[], name: string): readonly Container[] {
  return containers.filter((container) => container.name === name).sort((a, b) => b.attempt - a.attempt);
}

export function isTerminalPhase(phase: string | undefined): boolean {
  return phase === 'Succeeded' || phase === 'Failed';
}

/**
 * Containers whose start came to nothing without the API having heard of it: most likely the agent was killed in the
 * middle of it. They never ran, so that starting them again under the same attempt is no restart.
 */
export function unreportedStarts(pod: Pod, containers: readonly Container[]): readonly Container[] {
  const statuses = [...(pod.status?.initContainerStatuses ?? []), ...(pod.status?.containerStatuses ?? [])];
  const reported = new Set(
    statuses.flatMap((status) => [status.containerID, status.lastState?.terminated?.containerID]),
  );
  return containers.filter(
    (each) => each.state === 'exited' && each.startedMs === undefined && !reported.has(`pintle://${each.id}`),
  );
}

const iso = (ms: number) => new Date(ms).toISOString().replace(/\.\d+Z$/, 'Z');

function terminated(container: Container): ContainerState {
  const exitCode = container.exitCode ?? 137;
  return {
    terminated: {
      exitCode,
      reason: container.reason ?? (exitCode === 0 ? 'Completed' : 'Error'),
      ...(container.message ? { message: container.message } : {}),
      startedAt: iso(container.startedMs ?? container.createdMs),
      finishedAt: iso(container.finishedMs ?? container.createdMs),
      containerID: `pintle://${container.id}`,
    },
  };
}

function stateOf(container: Container | undefined, problem: Problem | undefined, idleReason: string): ContainerState {
  if (container?.state === 'running')
    return { running: { startedAt: iso(container.startedMs ?? container.createdMs) } };
  if (problem) return { waiting: { reason: problem.reason, ...(problem.message ? { message: problem.message } : {}) } };
  if (container?.state === 'exited') return terminated(container);
  return { waiting: { reason: idleReason } };
}

function statusOf(
  definition: ContainerDefinition,
  observed: PodObservation,
  idleReason: string,
  isInit: boolean,
): ContainerStatus {
  const [latest, before] = attemptsOf(observed.containers, definition.name);
  const problem = observed.problems.get(definition.name);
  const state = stateOf(latest, problem, idleReason);
  const dead = state.waiting && latest?.state === 'exited' ? latest : before?.state === 'exited' ? before : undefined;
  const running = latest?.state === 'running';
  const started = running && observed.started.has(definition.name);
  const completedInit = isInit && !isSidecar(definition) && latest?.state === 'exited' && latest.exitCode === 0;
  return {
    name: definition.name,
    state,
    lastState: dead ? terminated(dead) : {},
    ready: completedInit || (running && started && observed.ready.has(definition.name)),
    restartCount: latest?.attempt ?? 0,
    image: definition.image ?? '',
    imageID: latest?.imageId ?? '',
    ...(latest ? { containerID: `pintle://${latest.id}` } : {}),
    started,
  };
}

function condition(pod: Pod, type: string, status: boolean, nowMs: number, why?: Problem): PodCondition {
  const wanted = status ? 'True' : 'False';
  const before = pod.status?.conditions?.find((each) => each.type === type);
  const lastTransitionTime =
    before?.status === wanted && before.lastTransitionTime ? before.lastTransitionTime : iso(nowMs);
  return {
    type,
    status: wanted,
    lastTransitionTime,
    ...(why ? { reason: why.reason, ...(why.message ? { message: why.message } : {}) } : {}),
  };
}

/** True when every init container has done its part: run to success, or, as a sidecar, started. */
export function isInitialized(pod: Pod, observed: PodObservation): boolean {
  // Main containers start after them, so that one of those is proof; a sidecar that crashes later changes nothing.
  if (pod.spec.containers.some((definition) => attemptsOf(observed.containers, definition.name).length > 0))
    return true;
  return (pod.spec.initContainers ?? []).every((definition) => {
    const [latest] = attemptsOf(observed.containers, definition.name);
    if (isSidecar(definition)) return latest?.state === 'running' && observed.started.has(definition.name);
    return latest?.state === 'exited' && latest.exitCode === 0;
  });
}

function phaseOf(pod: Pod, observed: PodObservation): string {
  if (observed.failure) return 'Failed';
  if (isTerminalPhase(pod.status?.phase)) return pod.status!.phase!;
  const policy = pod.spec.restartPolicy ?? 'Always';
  const latest = (definition: ContainerDefinition) => attemptsOf(observed.containers, definition.name)[0];
  const initFailed = (pod.spec.initContainers ?? []).some((definition) => {
    const container = latest(definition);
    return !isSidecar(definition) && container?.state === 'exited' && container.exitCode !== 0 && policy === 'Never';
  });
  if (initFailed) return 'Failed';
  if (!isInitialized(pod, observed)) return 'Pending';
  const mains = pod.spec.containers.map(latest);
  if (mains.some((container) => container === undefined || container.state === 'created')) {
    return mains.some((container) => container?.state === 'running') ? 'Running' : 'Pending';
  }
  if (mains.some((container) => container!.state === 'running')) return 'Running';
  const codes = mains.map((container) => container!.exitCode ?? 137);
  const isDeleted = pod.metadata.deletionTimestamp !== undefined;
  if (policy === 'Always' && !isDeleted) return 'Running';
  if (codes.every((code) => code === 0)) return 'Succeeded';
  return policy === 'Never' || isDeleted ? 'Failed' : 'Running';
}

/** Guaranteed, Burstable or BestEffort, by requests and limits of cpu and memory. */
export function qosClass(pod: Pod): string {
  const all = [...(pod.spec.initContainers ?? []), ...pod.spec.containers];
  let any = false;
  let guaranteed = true;
  for (const { resources } of all) {
    for (const name of ['cpu', 'memory']) {
      const limit = resources?.limits?.[name];
      const request = resources?.requests?.[name] ?? limit;
      if (limit !== undefined || request !== undefined) any = true;
      if (limit === undefined || request !== limit) guaranteed = false;
    }
  }
  return any ? (guaranteed ? 'Guaranteed' : 'Burstable') : 'BestEffort';
}

export function podStatus(pod: Pod, observed: PodObservation): PodStatus {
  const { nowMs } = observed;
  const phase = phaseOf(pod, observed);
  const initialized = isInitialized(pod, observed);
  const initDefinitions = pod.spec.initContainers ?? [];
  const mainIdle = initDefinitions.length > 0 && !initialized ? 'PodInitializing' : 'ContainerCreating';
  const initContainerStatuses = initDefinitions.map((definition) =>
    statusOf(definition, observed, 'PodInitializing', true),
  );
  const containerStatuses = pod.spec.containers.map((definition) => statusOf(definition, observed, mainIdle, false));
  const unready = [
    ...containerStatuses,
    ...initContainerStatuses.filter((_, index) => isSidecar(initDefinitions[index]!)),
  ].filter((status) => !status.ready);
  const ended = isTerminalPhase(phase);
  const whyNotReady: Problem | undefined = ended
    ? { reason: phase === 'Succeeded' ? 'PodCompleted' : 'PodFailed' }
    : unready.length > 0
      ? {
          reason: 'ContainersNotReady',
          message: `containers with unready status: [${unready.map((status) => status.name).join(' ')}]`,
        }
      : undefined;
  const containersReady = whyNotReady === undefined && initialized;
  const failedGates = (pod.spec.readinessGates ?? []).filter(
    (gate) => pod.status?.conditions?.find((each) => each.type === gate.conditionType)?.status !== 'True',
  );
  const whyGate: Problem | undefined =
    failedGates.length > 0
      ? {
          reason: 'ReadinessGatesNotReady',
          message: `corresponding condition of pod readiness gate "${failedGates[0]!.conditionType}" does not exist or is not True`,
        }
      : undefined;
  const whyUninitialized: Problem | undefined = initialized
    ? undefined
    : {
        reason: 'ContainersNotInitialized',
        message: `containers with incomplete status: [${initContainerStatuses
          .filter((status) => !status.ready)
          .map((status) => status.name)
          .join(' ')}]`,
      };
  const own = [
    condition(pod, 'PodReadyToStartContainers', observed.sandboxReady && !ended, nowMs),
    condition(pod, 'Initialized', initialized || ended, nowMs, ended ? undefined : whyUninitialized),
    condition(pod, 'Ready', containersReady && failedGates.length === 0, nowMs, whyNotReady ?? whyGate),
    condition(pod, 'ContainersReady', containersReady, nowMs, whyNotReady),
    condition(pod, 'PodScheduled', true, nowMs),
  ];
  const ownTypes = new Set(own.map((each) => each.type));
  const foreign = (pod.status?.conditions ?? []).filter((each) => !ownTypes.has(each.type));
  const failure = observed.failure ?? (ended && pod.status?.reason ? { reason: pod.status.reason } : undefined);
  return {
    phase,
    conditions: [...own, ...foreign],
    ...(failure ? { reason: failure.reason } : {}),
    ...(failure?.message ? { message: failure.message } : pod.status?.message ? { message: pod.status.message } : {}),
    hostIP: observed.hostIps[0] ?? '',
    hostIPs: observed.hostIps.map((ip) => ({ ip })),
    ...(observed.podIps.length > 0
      ? { podIP: observed.podIps[0]!, podIPs: observed.podIps.map((ip) => ({ ip })) }
      : {}),
    startTime: pod.status?.startTime ?? iso(nowMs),
    ...(initDefinitions.length > 0 ? { initContainerStatuses } : {}),
    containerStatuses,
    qosClass: qosClass(pod),
  } as PodStatus;
}
