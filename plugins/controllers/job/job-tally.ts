/**
 * What has become of a Job's pods. No result is ever lost or counted twice: a pod carries a finalizer until its uid
 * stands in status.uncountedTerminatedPods, and its uid stands there until the finalizer is off. So a count moves in
 * three writes, each of which may be the last before a crash: uid noted, finalizer removed, number raised.
 */
import type { Job, JobStatus, Pod } from '../../../kernel/contract/kubernetes.ts';
import { isPodActive, isPodReady, isPodTerminal } from '../../../kernel/machinery/pod-status.ts';
import { formatIndexes, parseIndexes } from './index-set.ts';
import { indexHistory, indexOf } from './job-pod.ts';
import { trackingFinalizer } from './job-names.ts';
import { judgeFailure } from './pod-failure-policy.ts';

export interface Tally {
  readonly active: readonly Pod[];
  /** Being deleted, and perhaps still running. */
  readonly terminating: number;
  readonly ready: number;
  /** Those that are noted or numbered, and those of this pass. */
  readonly succeeded: number;
  /** As succeeded; with the failures that wait for their successor to take them over. */
  readonly failed: number;
  readonly completedIndexes: ReadonlySet<number>;
  /** Undefined without backoffLimitPerIndex. */
  readonly failedIndexes: ReadonlySet<number> | undefined;
  /** Of the first pod of this pass that fails the whole Job. */
  readonly failJobMessage: string | undefined;
  /** Ended in this pass, for the backoff. */
  readonly newlyFailed: readonly Pod[];
  readonly newlySucceeded: readonly Pod[];
  /** Their finalizers may go once the status is written. */
  readonly released: readonly Pod[];
  /** Nothing waits to be counted. */
  readonly isSettled: boolean;
  readonly counts: Pick<
    JobStatus,
    'succeeded' | 'failed' | 'completedIndexes' | 'failedIndexes' | 'uncountedTerminatedPods'
  >;
}

export function isTracked(pod: Pod): boolean {
  return pod.metadata.finalizers?.includes(trackingFinalizer) === true;
}

export function isIndexed(job: Job): boolean {
  return job.spec.completionMode === 'Indexed';
}

/** True when a pod is replaced only once it has really ended. */
export function replacesOnlyFailed(job: Job): boolean {
  return job.spec.podReplacementPolicy === 'Failed';
}

/** `isFinishing`: the Job has failed already or met its goal, and its pods are on their way out. */
export function tally(job: Job, pods: readonly Pod[], isFinishing: boolean): Tally {
  const status = job.status ?? {};
  const limit = job.spec.completions ?? 0;
  const completed = parseIndexes(status.completedIndexes, limit);
  const failedIndexes =
    job.spec.backoffLimitPerIndex === undefined ? undefined : parseIndexes(status.failedIndexes, limit);
  const byUid = new Map(pods.map((pod) => [pod.metadata.uid, pod]));
  const noted = (uids: readonly string[] | undefined) => {
    const waiting = (uids ?? []).filter((uid) => isTracked(byUid.get(uid) ?? ({ metadata: {} } as Pod)));
    return { waiting, numbered: (uids?.length ?? 0) - waiting.length };
  };
  const good = noted(status.uncountedTerminatedPods?.succeeded);
  const bad = noted(status.uncountedTerminatedPods?.failed);
  const known = new Set([...good.waiting, ...bad.waiting]);
  const released: Pod[] = [...known].map((uid) => byUid.get(uid) as Pod);
  const newlyFailed: Pod[] = [];
  const newlySucceeded: Pod[] = [];
  const newGood: string[] = [];
  const newBad: string[] = [];
  let delayed = 0;
  let failJobMessage: string | undefined;
  for (const pod of pods) {
    if (!isTracked(pod) || known.has(pod.metadata.uid)) continue;
    const index = isIndexed(job) ? indexOf(pod) : undefined;
    if (isIndexed(job) && (index === undefined || index >= limit)) {
      if (!isPodActive(pod)) released.push(pod);
      continue;
    }
    if (pod.status?.phase === 'Succeeded') {
      newlySucceeded.push(pod);
      released.push(pod);
      if (index === undefined) newGood.push(pod.metadata.uid);
      else completed.add(index);
      continue;
    }
    if (!isFailed(job, pod, isFinishing)) continue;
    newlyFailed.push(pod);
    const verdict = judgeFailure(job, pod);
    if (verdict.action === 'FailJob') failJobMessage ??= verdict.message;
    if (failedIndexes !== undefined && index !== undefined) {
      const isLast = indexHistory(pod).failures >= (job.spec.backoffLimitPerIndex ?? 0) && verdict.action !== 'Ignore';
      if (isLast || verdict.action === 'FailIndex') failedIndexes.add(index);
      // Its successor takes over how often this index has failed; until then the pod is the only one who knows.
      else if (!isFinishing && !completed.has(index) && !hasSuccessor(pod, index, pods)) {
        if (verdict.action !== 'Ignore') delayed++;
        continue;
      }
    }
    released.push(pod);
    if (verdict.action !== 'Ignore') newBad.push(pod.metadata.uid);
  }
  if (failedIndexes !== undefined) for (const index of completed) failedIndexes.delete(index);
  const succeededNumber = isIndexed(job) ? completed.size : (status.succeeded ?? 0) + good.numbered;
  const failedNumber = (status.failed ?? 0) + bad.numbered;
  const uncounted = { succeeded: [...good.waiting, ...newGood], failed: [...bad.waiting, ...newBad] };
  const active = pods.filter(isPodActive);
  return {
    active,
    terminating: pods.filter((pod) => pod.metadata.deletionTimestamp !== undefined && !isPodTerminal(pod)).length,
    ready: active.filter(isPodReady).length,
    succeeded: isIndexed(job) ? completed.size : succeededNumber + uncounted.succeeded.length,
    failed: failedNumber + uncounted.failed.length + delayed,
    completedIndexes: completed,
    failedIndexes,
    failJobMessage,
    newlyFailed,
    newlySucceeded,
    released,
    isSettled: released.length === 0 && delayed === 0,
    counts: {
      succeeded: succeededNumber,
      failed: failedNumber,
      ...(isIndexed(job) && completed.size > 0 ? { completedIndexes: formatIndexes(completed) } : {}),
      ...(failedIndexes === undefined ? {} : { failedIndexes: formatIndexes(failedIndexes) }),
      uncountedTerminatedPods: {
        ...(uncounted.succeeded.length === 0 ? {} : { succeeded: uncounted.succeeded }),
        ...(uncounted.failed.length === 0 ? {} : { failed: uncounted.failed }),
      },
    },
  };
}

/** A pod that is being deleted counts at once, unless the Job waits for pods to really end. */
function isFailed(job: Job, pod: Pod, isFinishing: boolean): boolean {
  if (pod.status?.phase === 'Failed') return true;
  return pod.metadata.deletionTimestamp !== undefined && (isFinishing || !replacesOnlyFailed(job));
}

function hasSuccessor(pod: Pod, index: number, pods: readonly Pod[]): boolean {
  const { failures, ignored } = indexHistory(pod);
  return pods.some((other) => {
    if (other === pod || indexOf(other) !== index) return false;
    const later = indexHistory(other);
    return later.failures + later.ignored > failures + ignored;
  });
}
