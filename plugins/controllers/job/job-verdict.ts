/** Whether a Job has met its goal or failed, and why: the reasons and words that Kubernetes uses. */
import type { Job, JobCondition, Pod } from '../../../kernel/contract/kubernetes.ts';
import { findCondition } from '../../../kernel/machinery/metadata.ts';
import { parseIndexes } from './index-set.ts';
import { isIndexed, type Tally } from './job-tally.ts';

export interface JobVerdict {
  readonly outcome: 'Complete' | 'Failed';
  readonly reason: string;
  readonly message: string;
}

export function finishedCondition({ status }: Job): JobCondition | undefined {
  return status?.conditions?.find(
    ({ type, status: is }) => (type === 'Complete' || type === 'Failed') && is === 'True',
  );
}

export function isSuspended({ spec }: Job): boolean {
  return spec.suspend === true;
}

/** Once spoken, a verdict stands: it is in the conditions before anything is done about it. */
export function spokenVerdict({ status }: Job): JobVerdict | undefined {
  for (const [type, outcome] of [
    ['FailureTarget', 'Failed'],
    ['SuccessCriteriaMet', 'Complete'],
  ] as const) {
    const condition = findCondition(status?.conditions, type);
    if (condition?.status === 'True')
      return { outcome, reason: condition.reason ?? '', message: condition.message ?? '' };
  }
  return undefined;
}

export function verdict(job: Job, counted: Tally, now: number): JobVerdict | undefined {
  return failure(job, counted, now) ?? success(job, counted);
}

function failure(job: Job, counted: Tally, now: number): JobVerdict | undefined {
  const failed = (reason: string, message: string): JobVerdict => ({ outcome: 'Failed', reason, message });
  const { spec } = job;
  if (counted.failJobMessage !== undefined) return failed('PodFailurePolicy', counted.failJobMessage);
  const backoffLimit = spec.backoffLimit ?? 6;
  if (counted.failed > backoffLimit || isPastRestartLimit(job, counted.active, backoffLimit))
    return failed('BackoffLimitExceeded', 'Job has reached the specified backoff limit');
  const left = msUntilDeadline(job, now);
  if (left !== undefined && left <= 0)
    return failed('DeadlineExceeded', 'Job was active longer than specified deadline');
  const { failedIndexes, completedIndexes } = counted;
  if (failedIndexes === undefined) return undefined;
  if (spec.maxFailedIndexes !== undefined && failedIndexes.size > spec.maxFailedIndexes)
    return failed('MaxFailedIndexesExceeded', 'Job has exceeded the specified maximal number of failed indexes');
  if (failedIndexes.size > 0 && failedIndexes.size + completedIndexes.size >= (spec.completions ?? 0))
    return failed('FailedIndexes', 'Job has failed indexes');
  return undefined;
}

/** Pods that restart in place (OnFailure) never fail: their restarts count instead. */
function isPastRestartLimit(job: Job, active: readonly Pod[], backoffLimit: number): boolean {
  if (job.spec.template.spec?.restartPolicy !== 'OnFailure') return false;
  let restarts = 0;
  for (const { status } of active) {
    if (status?.phase !== 'Running' && status?.phase !== 'Pending') continue;
    for (const { restartCount } of [...(status.initContainerStatuses ?? []), ...(status.containerStatuses ?? [])])
      restarts += restartCount;
  }
  return backoffLimit === 0 ? restarts > 0 : restarts >= backoffLimit;
}

function success(job: Job, counted: Tally): JobVerdict | undefined {
  const reached = (reason: string, message: string): JobVerdict => ({ outcome: 'Complete', reason, message });
  const { completions, successPolicy } = job.spec;
  const all = 'Reached expected number of succeeded pods';
  if (completions === undefined)
    return counted.succeeded > 0 && counted.active.length === 0 ? reached('CompletionsReached', all) : undefined;
  if (counted.succeeded >= completions) return reached('CompletionsReached', all);
  if (!isIndexed(job)) return undefined;
  for (const [index, { succeededIndexes, succeededCount }] of (successPolicy?.rules ?? []).entries()) {
    const wanted = succeededIndexes === undefined ? undefined : parseIndexes(succeededIndexes, completions);
    const met =
      wanted === undefined
        ? counted.completedIndexes
        : [...wanted].filter((each) => counted.completedIndexes.has(each));
    const size = Array.isArray(met) ? met.length : (met as ReadonlySet<number>).size;
    if (size >= (succeededCount ?? wanted?.size ?? Infinity))
      return reached('SuccessPolicy', `Matched rules at index ${index}`);
  }
  return undefined;
}

/** Undefined when none runs: no deadline, not started, suspended. */
export function msUntilDeadline(job: Job, now: number): number | undefined {
  const seconds = job.spec.activeDeadlineSeconds;
  const { startTime } = job.status ?? {};
  if (seconds === undefined || startTime === undefined || isSuspended(job)) return undefined;
  return Date.parse(startTime) + seconds * 1000 - now;
}
