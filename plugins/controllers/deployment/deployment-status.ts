/** Status and conditions of a Deployment, as `kubectl rollout status` and `kubectl wait` read them. */
import type {
  Deployment,
  DeploymentCondition,
  DeploymentStatus,
  ReplicaSet,
} from '../../../kernel/contract/kubernetes.ts';
import { apiTime } from '../../../kernel/machinery/clock.ts';
import { findCondition } from '../../../kernel/machinery/metadata.ts';
import { isComplete, maxUnavailable, specReplicas, statusSum, wantedReplicas } from './rollout-math.ts';

/** math.MaxInt32 stands for "no deadline". */
const noDeadline = 2_147_483_647;

export function progressDeadlineMs(deployment: Deployment): number | undefined {
  const seconds = deployment.spec.progressDeadlineSeconds ?? 600;
  return seconds === noDeadline ? undefined : seconds * 1000;
}

/** A list with this condition; lastTransitionTime moves with the status, lastUpdateTime with every replacement. */
export function withCondition(
  conditions: readonly DeploymentCondition[],
  condition: { readonly type: string; readonly status: string; readonly reason: string; readonly message: string },
  now: number,
  refresh = false,
): readonly DeploymentCondition[] {
  const before = findCondition(conditions, condition.type);
  if (!refresh && before?.status === condition.status && before.reason === condition.reason) return conditions;
  const time = apiTime(now);
  const lastTransitionTime = before?.status === condition.status ? (before.lastTransitionTime ?? time) : time;
  const next = { ...condition, lastUpdateTime: time, lastTransitionTime };
  return [...conditions.filter((other) => other.type !== condition.type), next];
}

/** Everything but Progressing, which depends on what was before. */
function countedStatus(
  deployment: Deployment,
  all: readonly ReplicaSet[],
  newSet: ReplicaSet | undefined,
  now: number,
): DeploymentStatus {
  const availableReplicas = statusSum(all, 'availableReplicas');
  const before = deployment.status ?? {};
  const isAvailable = availableReplicas >= wantedReplicas(deployment) - maxUnavailable(deployment);
  let conditions: readonly DeploymentCondition[] = withCondition(
    before.conditions ?? [],
    isAvailable
      ? {
          type: 'Available',
          status: 'True',
          reason: 'MinimumReplicasAvailable',
          message: 'Deployment has minimum availability.',
        }
      : {
          type: 'Available',
          status: 'False',
          reason: 'MinimumReplicasUnavailable',
          message: 'Deployment does not have minimum availability.',
        },
    now,
  );
  const failure = [newSet, ...all]
    .map((set) => findCondition(set?.status?.conditions, 'ReplicaFailure'))
    .find((condition) => condition !== undefined);
  conditions =
    failure === undefined
      ? conditions.filter((condition) => condition.type !== 'ReplicaFailure')
      : withCondition(
          conditions,
          {
            type: 'ReplicaFailure',
            status: failure.status,
            reason: failure.reason ?? '',
            message: failure.message ?? '',
          },
          now,
        );
  return {
    ...(before.collisionCount === undefined ? {} : { collisionCount: before.collisionCount }),
    observedGeneration: deployment.metadata.generation ?? 0,
    replicas: statusSum(all, 'replicas'),
    updatedReplicas: newSet?.status?.replicas ?? 0,
    readyReplicas: statusSum(all, 'readyReplicas'),
    availableReplicas,
    unavailableReplicas: Math.max(0, specReplicas(all) - availableReplicas),
    terminatingReplicas: statusSum(all, 'terminatingReplicas'),
    conditions: [...conditions],
  };
}

/** `isRollout`: false while the Deployment is paused or scaled, when the deadline does not run. */
export function deploymentStatus(
  deployment: Deployment,
  all: readonly ReplicaSet[],
  newSet: ReplicaSet | undefined,
  isRollout: boolean,
  now: number,
): DeploymentStatus {
  const status = countedStatus(deployment, all, newSet, now);
  const conditions = status.conditions ?? [];
  const deadlineMs = progressDeadlineMs(deployment);
  if (!isRollout) return status;
  if (deadlineMs === undefined)
    return { ...status, conditions: conditions.filter((condition) => condition.type !== 'Progressing') };
  const current = findCondition(conditions, 'Progressing');
  // A finished rollout that loses a pod does not begin to progress anew.
  const wasComplete = current?.reason === 'NewReplicaSetAvailable' && status.replicas === status.updatedReplicas;
  if (wasComplete) return status;
  const what =
    newSet === undefined ? `Deployment "${deployment.metadata.name}"` : `ReplicaSet "${newSet.metadata.name}"`;
  const progressing = (state: string, reason: string, message: string, refresh: boolean) => ({
    ...status,
    conditions: [...withCondition(conditions, { type: 'Progressing', status: state, reason, message }, now, refresh)],
  });
  if (isComplete(deployment, status))
    return progressing('True', 'NewReplicaSetAvailable', `${what} has successfully progressed.`, false);
  if (hasProgressed(deployment.status ?? {}, status))
    return progressing('True', 'ReplicaSetUpdated', `${what} is progressing.`, true);
  if (current !== undefined && isTimedOut(current, deadlineMs, now))
    return progressing('False', 'ProgressDeadlineExceeded', `${what} has timed out progressing.`, false);
  return status;
}

function hasProgressed(before: DeploymentStatus, after: DeploymentStatus): boolean {
  const count = (
    status: DeploymentStatus,
    field: 'replicas' | 'updatedReplicas' | 'readyReplicas' | 'availableReplicas',
  ) => status[field] ?? 0;
  const old = (status: DeploymentStatus) => count(status, 'replicas') - count(status, 'updatedReplicas');
  return (
    count(after, 'updatedReplicas') > count(before, 'updatedReplicas') ||
    old(after) < old(before) ||
    count(after, 'readyReplicas') > count(before, 'readyReplicas') ||
    count(after, 'availableReplicas') > count(before, 'availableReplicas')
  );
}

function isTimedOut(current: DeploymentCondition, deadlineMs: number, now: number): boolean {
  if (current.reason === 'NewReplicaSetAvailable') return false;
  if (current.reason === 'ProgressDeadlineExceeded') return true;
  return msLeft(current, deadlineMs, now) < 0;
}

function msLeft(current: DeploymentCondition, deadlineMs: number, now: number): number {
  return Date.parse(current.lastUpdateTime ?? '') + deadlineMs - now;
}

/** When to look again whether the rollout is stuck; undefined when its deadline does not run. */
export function msUntilDeadline(deployment: Deployment, status: DeploymentStatus, now: number): number | undefined {
  const deadlineMs = progressDeadlineMs(deployment);
  const current = findCondition(status.conditions, 'Progressing');
  if (deadlineMs === undefined || current === undefined || isComplete(deployment, status)) return undefined;
  if (current.reason === 'NewReplicaSetAvailable' || current.reason === 'ProgressDeadlineExceeded') return undefined;
  if (deployment.spec.paused === true) return undefined;
  return Math.max(0, msLeft(current, deadlineMs, now)) + 1000;
}

export function isSameStatus(before: DeploymentStatus | undefined, after: DeploymentStatus): boolean {
  if (before === undefined) return false;
  const counts = [
    'observedGeneration',
    'replicas',
    'updatedReplicas',
    'readyReplicas',
    'availableReplicas',
    'unavailableReplicas',
    'terminatingReplicas',
    'collisionCount',
  ] as const;
  const text = (status: DeploymentStatus) =>
    JSON.stringify(
      (status.conditions ?? []).map(({ type, status: state, reason, message, lastUpdateTime, lastTransitionTime }) => [
        type,
        state,
        reason,
        message,
        lastUpdateTime,
        lastTransitionTime,
      ]),
    );
  return counts.every((name) => (before[name] ?? 0) === (after[name] ?? 0)) && text(before) === text(after);
}
