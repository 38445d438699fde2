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
  /** The node ended the pod for its own sake: condition DisruptionTarget tells Jobs that it was no fault of the pod's. */
  readonly isDisruption?: boolean | undefined;
  /** How long its containers may take to end, when that is not as the pod says. */
  readonly graceSeconds?: number | undefined;
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

/** Of an init container. */
export function isSidecar(container: ContainerDefinition | EphemeralContainer): boolean {
  return container.restartPolicy === 'Always';
}

/** Definitions of all containers of a pod, of whatever kind. */
export function allDefinitions(pod: Pod): readonly (ContainerDefinition | EphemeralContainer)[] {
  return [...(pod.spec.initContainers ?? []), ...pod.spec.containers, ...(pod.spec.ephemeralContainers ?? [])];
}

/** Whether a container that has ended is started again. */
export function restarts(pod: Pod, definition: ContainerDefinition, ended: Container): boolean {
  const exitCode = ended.exitCode ?? 137;
  for (const { action, exitCodes } of definition.restartPolicyRules ?? []) {
    const isListed = exitCodes?.values?.includes(exitCode) ?? false;
    if (action === 'Restart' && exitCodes && isListed === (exitCodes.operator === 'In')) return true;
  }
  const policy = definition.restartPolicy ?? pod.spec.restartPolicy ?? 'Always';
  return policy === 'Always' || (policy === 'OnFailure' && exitCode !== 0);
}

/** What the API has been told of a pod's containers, of whatever kind. */
export function reportedStatuses(pod: Pod): readonly ContainerStatus[] {
  const { initContainerStatuses, containerStatuses, ephemeralContainerStatuses } = pod.status ?? {};
  return [...(initContainerStatuses ?? []), ...(containerStatuses ?? []), ...(ephemeralContainerStatuses ?? [])];
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
  const statuses = reportedStatuses(pod);
  const reported = new Set(
    statuses.flatMap((status) => [status.containerID, status.lastState?.terminated?.containerID]),
  );
  return containers.filter(
    (each) => each.state === 'exited' && each.startedMs === undefined && !reported.has(`pintle://${each.id}`),
  );
}

/** Of a container that was there, as the API knows, and that no runtime of this node has on record any more. */
export const lostReason = 'ContainerStatusUnknown';

/**
 * The pod's containers as the API knows them, for a node that has no record of any: its runtime is another one now, or was
 * emptied. Those that ran have ended nobody knows how, so that the pod goes on, or ends, by its restart policy.
 */
export function lostContainers(pod: Pod, nowMs: number): readonly Container[] {
  return reportedStatuses(pod).flatMap((status): readonly Container[] => {
    const { name, restartCount, containerID, image, imageID, state, lastState } = status;
    const [, id] = /^pintle:\/\/(.+)$/.exec(containerID ?? '') ?? [];
    if (id === undefined) return [];
    const ended = state?.terminated ?? (state?.waiting ? lastState?.terminated : undefined);
    const startedMs = Date.parse(ended?.startedAt ?? state?.running?.startedAt ?? '') || nowMs;
    return [
      {
        ...{ id, name, attempt: restartCount, image, imageId: imageID, sandboxId: '', labels: {}, logPath: '' },
        state: 'exited',
        createdMs: startedMs,
        startedMs,
        finishedMs: Date.parse(ended?.finishedAt ?? '') || nowMs,
        exitCode: ended?.exitCode ?? 137,
        reason: ended ? ended.reason : lostReason,
        message: ended ? ended.message : 'The container could not be located when the pod was terminated',
      },
    ];
  });
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
  definition: ContainerDefinition | EphemeralContainer,
  observed: PodObservation,
  idleReason: string,
  kind: 'init' | 'main' | 'ephemeral',
): ContainerStatus {
  const [latest, before] = attemptsOf(observed.containers, definition.name);
  const problem = observed.problems.get(definition.name);
  const state = stateOf(latest, problem, idleReason);
  const dead = state.waiting && latest?.state === 'exited' ? latest : before?.state === 'exited' ? before : undefined;
  const running = latest?.state === 'running';
  const started = running && observed.started.has(definition.name);
  const isStep = kind === 'init' && !isSidecar(definition);
  const isDone = isStep && latest?.state === 'exited' && latest.exitCode === 0;
  const isReady = kind !== 'ephemeral' && running && started && observed.ready.has(definition.name);
  return {
    name: definition.name,
    state,
    lastState: dead ? terminated(dead) : {},
    ready: isDone || isReady,
    restartCount: latest?.attempt ?? 0,
    image: definition.image ?? '',
    imageID: latest?.imageId ?? '',
    ...(latest ? { containerID: `pintle://${latest.id}` } : {}),
    ...(kind === 'ephemeral' ? {} : { started }),
    ...(latest && definition.resources ? { resources: definition.resources } : {}),
  };
}

function condition(pod: Pod, type: string, status: boolean, nowMs: number, why?: Problem): PodCondition {
  const wanted = status ? 'True' : 'False';
  const { generation } = pod.metadata;
  const before = pod.status?.conditions?.find((each) => each.type === type);
  const lastTransitionTime =
    before?.status === wanted && before.lastTransitionTime ? before.lastTransitionTime : iso(nowMs);
  return {
    type,
    ...(generation === undefined ? {} : { observedGeneration: generation }),
    status: wanted,
    lastTransitionTime,
    ...(why ? { reason: why.reason, ...(why.message ? { message: why.message } : {}) } : {}),
  };
}

/** True when every init container has done its part: run to success, or, as a sidecar, started. */
export function isInitialized(pod: Pod, observed: Pick<PodObservation, 'containers' | 'started'>): boolean {
  // Main containers start after them, so that one of those is proof; a sidecar that crashes later changes nothing.
  if (pod.spec.containers.some((definition) => attemptsOf(observed.containers, definition.name).length > 0))
    return true;
  return (pod.spec.initContainers ?? []).every((definition) => {
    const [latest] = attemptsOf(observed.containers, definition.name);
    if (isSidecar(definition)) return latest?.state === 'running' && observed.started.has(definition.name);
    return latest?.state === 'exited' && latest.exitCode === 0;
  });
}

type Ended = Pick<PodObservation, 'containers' | 'started' | 'failure'>;

/** True when the pod's work is over for good, whatever of it (sidecars) still runs. */
export function isOver(pod: Pod, containers: readonly Container[], failure?: Problem): boolean {
  return isTerminalPhase(phaseOf(pod, { containers, started: new Set(), failure }));
}

function phaseOf(pod: Pod, observed: Ended): string {
  if (observed.failure) return 'Failed';
  if (isTerminalPhase(pod.status?.phase)) return pod.status!.phase!;
  const isDeleted = pod.metadata.deletionTimestamp !== undefined;
  const latest = (definition: ContainerDefinition) => attemptsOf(observed.containers, definition.name)[0];
  const initFailed = (pod.spec.initContainers ?? []).some((definition) => {
    const container = latest(definition);
    if (isSidecar(definition) || container?.state !== 'exited' || container.exitCode === 0) return false;
    return !restarts(pod, definition, container);
  });
  if (initFailed) return 'Failed';
  if (!isInitialized(pod, observed)) return 'Pending';
  const mains = pod.spec.containers.map(latest);
  if (mains.some((container) => container === undefined || container.state === 'created')) {
    return mains.some((container) => container?.state === 'running') ? 'Running' : 'Pending';
  }
  if (mains.some((container) => container!.state === 'running')) return 'Running';
  const goesOn = pod.spec.containers.some((definition, index) => restarts(pod, definition, mains[index]!));
  if (goesOn && !isDeleted) return 'Running';
  return mains.every((container) => container!.exitCode === 0) ? 'Succeeded' : 'Failed';
}

/** The API hears of the end when nothing runs any more: whoever acts on it may count on that. */
function reportedPhase(pod: Pod, observed: PodObservation): string {
  const phase = phaseOf(pod, observed);
  const isHeld = isTerminalPhase(phase) && observed.containers.some((each) => each.state === 'running');
  if (!isHeld || isTerminalPhase(pod.status?.phase)) return phase;
  return isInitialized(pod, observed) ? 'Running' : 'Pending';
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
  const phase = reportedPhase(pod, observed);
  const initialized = isInitialized(pod, observed);
  const initDefinitions = pod.spec.initContainers ?? [];
  const mainIdle = initDefinitions.length > 0 && !initialized ? 'PodInitializing' : 'ContainerCreating';
  const initContainerStatuses = initDefinitions.map((definition) =>
    statusOf(definition, observed, 'PodInitializing', 'init'),
  );
  const containerStatuses = pod.spec.containers.map((definition) => statusOf(definition, observed, mainIdle, 'main'));
  const ephemeralContainerStatuses = (pod.spec.ephemeralContainers ?? []).map((definition) =>
    statusOf(definition, observed, 'ContainerCreating', 'ephemeral'),
  );
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
  // A pod that its init containers failed never was; of one that has ended what is on record may be gone by now.
  const wasInitialized = pod.status?.conditions?.some(
    ({ type, status }) => type === 'Initialized' && status === 'True',
  );
  const isCompleted = phase === 'Succeeded';
  const whyInitialized: Problem | undefined = isCompleted ? { reason: 'PodCompleted' } : undefined;
  const everInitialized = initialized || isCompleted || (ended && wasInitialized === true);
  const own = [
    condition(pod, 'PodReadyToStartContainers', observed.sandboxReady && !ended, nowMs),
    condition(pod, 'Initialized', everInitialized, nowMs, everInitialized ? whyInitialized : whyUninitialized),
    condition(pod, 'Ready', containersReady && failedGates.length === 0, nowMs, whyNotReady ?? whyGate),
    condition(pod, 'ContainersReady', containersReady, nowMs, whyNotReady),
    condition(pod, 'PodScheduled', true, nowMs),
    ...(observed.failure?.isDisruption === true
      ? [
          condition(pod, 'DisruptionTarget', true, nowMs, {
            reason: 'TerminationByKubelet',
            message: observed.failure.message,
          }),
        ]
      : []),
  ];
  const ownTypes = new Set(own.map((each) => each.type));
  const foreign = (pod.status?.conditions ?? []).filter((each) => !ownTypes.has(each.type));
  const failure = observed.failure ?? (ended && pod.status?.reason ? { reason: pod.status.reason } : undefined);
  // Nothing of it was ever made: kubectl shows the reason of the pod then, not that of a container.
  const wasBegun =
    observed.failure === undefined ||
    observed.containers.length > 0 ||
    reportedStatuses(pod).some((each) => each.containerID);
  const { generation } = pod.metadata;
  return {
    ...(generation === undefined ? {} : { observedGeneration: generation }),
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
    ...(wasBegun && initDefinitions.length > 0 ? { initContainerStatuses } : {}),
    ...(wasBegun ? { containerStatuses } : pod.status?.containerStatuses ? { containerStatuses: [] } : {}),
    ...(ephemeralContainerStatuses.length > 0 ? { ephemeralContainerStatuses } : {}),
    qosClass: qosClass(pod),
  } as PodStatus;
}
