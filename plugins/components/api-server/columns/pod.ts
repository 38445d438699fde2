/** Columns of Pod: the status text is worked out of phase, conditions and container states, as kubectl users know it. */
import type { ContainerState, ContainerStatus, Pod } from '../../../../kernel/contract/kubernetes.ts';
import { ageColumn, ageOf, humanDuration, nameColumn, orNone, table, text, wide } from './column.ts';

export const podColumns = table<Pod>(
  [
    nameColumn,
    text('Ready', 'Containers that are ready, of all.'),
    text('Status', 'What the pod is doing.'),
    text('Restarts', 'Restarts of its containers, and when the last one was.'),
    ageColumn,
    wide(text('IP', 'Address of the pod.')),
    wide(text('Node', 'Node that runs the pod.')),
    wide(text('Nominated Node', 'Node that preemption makes room on.')),
    wide(text('Readiness Gates', 'Readiness gates that hold, of all.')),
  ],
  (pod, now) => {
    const facts = podFacts(pod);
    return [
      pod.metadata.name,
      `${facts.ready}/${facts.total}`,
      facts.status,
      facts.restarts > 0 && facts.lastRestart !== undefined
        ? `${facts.restarts} (${humanDuration(now - facts.lastRestart)} ago)`
        : String(facts.restarts),
      ageOf(pod, now),
      orNone(pod.status?.podIPs?.[0]?.ip ?? pod.status?.podIP),
      orNone(pod.spec?.nodeName),
      orNone(pod.status?.nominatedNodeName),
      readinessGates(pod),
    ];
  },
);

interface PodFacts {
  readonly status: string;
  readonly ready: number;
  readonly total: number;
  readonly restarts: number;
  /** Milliseconds since 1970. */
  readonly lastRestart: number | undefined;
}

function podFacts(pod: Pod): PodFacts {
  const { status } = pod;
  const isGated = status?.conditions?.some(
    (condition) => condition.type === 'PodScheduled' && condition.reason === 'SchedulingGated',
  );
  const phase = status?.phase ?? 'Unknown';
  const initial =
    status?.reason !== undefined && status.reason !== '' ? status.reason : isGated === true ? 'SchedulingGated' : phase;
  const init = initFacts(pod);
  const isInitialized =
    status?.conditions?.some((condition) => condition.type === 'Initialized' && condition.status === 'True') ?? false;
  let facts: PodFacts;
  if (init.reason !== undefined && !isInitialized)
    facts = {
      status: init.reason,
      ready: init.readySidecars,
      total: init.total,
      restarts: init.restarts,
      lastRestart: init.lastRestart,
    };
  else facts = containerFacts(pod, init, initial);
  if (pod.metadata.deletionTimestamp === undefined) return facts;
  if (status?.reason === 'NodeLost') return { ...facts, status: 'Unknown' };
  return phase === 'Succeeded' || phase === 'Failed' ? facts : { ...facts, status: 'Terminating' };
}

interface InitFacts {
  /** Set while an init container is not done. */
  readonly reason: string | undefined;
  readonly readySidecars: number;
  /** Containers and sidecars. */
  readonly total: number;
  readonly restarts: number;
  readonly lastRestart: number | undefined;
  readonly sidecarRestarts: number;
  readonly lastSidecarRestart: number | undefined;
}

function initFacts(pod: Pod): InitFacts {
  const specs = pod.spec?.initContainers ?? [];
  const sidecars = new Set(
    specs.filter((container) => container.restartPolicy === 'Always').map((container) => container.name),
  );
  const statuses = pod.status?.initContainerStatuses ?? [];
  const restarts = restartFacts(statuses);
  const ofSidecars = restartFacts(statuses.filter((status) => sidecars.has(status.name)));
  let reason: string | undefined;
  let readySidecars = 0;
  for (const [index, status] of statuses.entries()) {
    const terminated = status.state?.terminated;
    if (terminated?.exitCode === 0) continue;
    if (sidecars.has(status.name) && status.started === true) {
      if (status.ready) readySidecars++;
      continue;
    }
    const waiting = status.state?.waiting?.reason ?? '';
    if (terminated !== undefined) reason = `Init:${endText(terminated)}`;
    else if (waiting !== '' && waiting !== 'PodInitializing') reason = `Init:${waiting}`;
    else reason = `Init:${index}/${specs.length}`;
    break;
  }
  return {
    reason,
    readySidecars,
    total: (pod.spec?.containers.length ?? 0) + sidecars.size,
    restarts: restarts.count,
    lastRestart: restarts.last,
    sidecarRestarts: ofSidecars.count,
    lastSidecarRestart: ofSidecars.last,
  };
}

function containerFacts(pod: Pod, init: InitFacts, initial: string): PodFacts {
  const statuses = pod.status?.containerStatuses ?? [];
  const restarts = restartFacts(statuses);
  let status = initial;
  let ready = init.readySidecars;
  let hasRunning = false;
  for (const container of statuses.toReversed()) {
    const { waiting, terminated, running } = container.state ?? {};
    if ((waiting?.reason ?? '') !== '') status = waiting?.reason ?? status;
    else if (terminated !== undefined) status = endText(terminated);
    else if (container.ready && running !== undefined) {
      hasRunning = true;
      ready++;
    }
  }
  // One container is done, another runs: the pod is not completed.
  if (status === 'Completed' && hasRunning) {
    const isReady = pod.status?.conditions?.some(
      (condition) => condition.type === 'Ready' && condition.status === 'True',
    );
    status = isReady === true ? 'Running' : 'NotReady';
  }
  return {
    status,
    ready,
    total: init.total,
    restarts: restarts.count + init.sidecarRestarts,
    lastRestart: latest(restarts.last, init.lastSidecarRestart),
  };
}

function endText(terminated: NonNullable<ContainerState['terminated']>): string {
  if ((terminated.reason ?? '') !== '') return terminated.reason ?? '';
  return (terminated.signal ?? 0) !== 0 ? `Signal:${terminated.signal}` : `ExitCode:${terminated.exitCode}`;
}

function restartFacts(statuses: readonly ContainerStatus[]): {
  readonly count: number;
  readonly last: number | undefined;
} {
  let count = 0;
  let last: number | undefined;
  for (const status of statuses) {
    count += status.restartCount;
    const finished = Date.parse(status.lastState?.terminated?.finishedAt ?? '');
    if (!Number.isNaN(finished)) last = latest(last, finished);
  }
  return { count, last };
}

function latest(a: number | undefined, b: number | undefined): number | undefined {
  if (a === undefined || b === undefined) return a ?? b;
  return Math.max(a, b);
}

function readinessGates(pod: Pod): string {
  const gates = pod.spec?.readinessGates ?? [];
  if (gates.length === 0) return '<none>';
  const held = gates.filter((gate) =>
    pod.status?.conditions?.some((condition) => condition.type === gate.conditionType && condition.status === 'True'),
  );
  return `${held.length}/${gates.length}`;
}
