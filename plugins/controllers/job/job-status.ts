/** The status of a Job after a pass: counts, times and conditions. */
import type { Job, JobCondition, JobStatus } from '../../../kernel/contract/kubernetes.ts';
import { apiTime } from '../../../kernel/machinery/clock.ts';
import { findCondition } from '../../../kernel/machinery/metadata.ts';
import { stableText } from '../../../kernel/machinery/stable-text.ts';
import type { Tally } from './job-tally.ts';
import { isSuspended, type JobVerdict } from './job-verdict.ts';

export interface StatusInput {
  readonly job: Job;
  readonly counted: Tally;
  /** After what this pass created and deleted. */
  readonly active: number;
  readonly verdict: JobVerdict | undefined;
  readonly now: number;
}

export function jobStatus({ job, counted, active, verdict, now }: StatusInput): JobStatus {
  const before = job.status ?? {};
  const time = apiTime(now);
  let conditions = before.conditions ?? [];
  let { startTime } = before;
  if (verdict === undefined) {
    const wasSuspended = findCondition(conditions, 'Suspended')?.status === 'True';
    if (isSuspended(job))
      conditions = withCondition(conditions, 'Suspended', 'True', 'JobSuspended', 'Job suspended', time);
    else {
      // The deadline of a Job that is resumed begins anew.
      if (wasSuspended) {
        conditions = withCondition(conditions, 'Suspended', 'False', 'JobResumed', 'Job resumed', time);
        startTime = time;
      }
      startTime ??= time;
    }
  } else {
    startTime ??= time;
    const { outcome, reason, message } = verdict;
    const intent = outcome === 'Failed' ? 'FailureTarget' : 'SuccessCriteriaMet';
    conditions = withCondition(conditions, intent, 'True', reason, message, time);
    // Final only when every pod has ended and is counted.
    if (active === 0 && counted.terminating === 0 && counted.active.length === 0 && counted.isSettled)
      conditions = withCondition(conditions, outcome, 'True', reason, message, time);
  }
  const isComplete = findCondition(conditions, 'Complete')?.status === 'True';
  return {
    ...(conditions.length === 0 ? {} : { conditions: [...conditions] }),
    ...(startTime === undefined ? {} : { startTime }),
    ...(isComplete ? { completionTime: before.completionTime ?? time } : {}),
    ...(active > 0 ? { active } : {}),
    ready: Math.min(counted.ready, active),
    terminating: counted.terminating,
    ...counted.counts,
  };
}

function withCondition(
  conditions: readonly JobCondition[],
  type: string,
  status: string,
  reason: string,
  message: string,
  time: string,
): JobCondition[] {
  if (findCondition(conditions, type)?.status === status) return [...conditions];
  const condition: JobCondition = { type, status, lastProbeTime: time, lastTransitionTime: time, reason, message };
  return [...conditions.filter((other) => other.type !== type), condition];
}

export function isSameStatus(before: JobStatus | undefined, after: JobStatus): boolean {
  return plain(before) === plain(after);
}

/** Nothing and zero are the same. */
function plain(status: JobStatus | undefined): string {
  const { uncountedTerminatedPods = {}, ...rest } = status ?? {};
  const entries = Object.entries({
    ...rest,
    waiting: [uncountedTerminatedPods.succeeded ?? [], uncountedTerminatedPods.failed ?? []],
  });
  return stableText(
    Object.fromEntries(entries.filter(([, value]) => value !== 0 && value !== '' && value !== undefined)),
  );
}
