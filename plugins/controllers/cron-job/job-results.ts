/** What has become of a CronJob's Jobs. */
import type { CronJob, CronJobStatus, Job, ObjectReference } from '../../../kernel/contract/kubernetes.ts';

function finishedAs(job: Job): 'Complete' | 'Failed' | undefined {
  const condition = job.status?.conditions?.find(
    ({ type, status }) => (type === 'Complete' || type === 'Failed') && status === 'True',
  );
  return condition?.type as 'Complete' | 'Failed' | undefined;
}

export function referenceTo(job: Job): ObjectReference {
  const { name, namespace, uid, resourceVersion } = job.metadata;
  return {
    apiVersion: 'batch/v1',
    kind: 'Job',
    name,
    namespace,
    uid,
    ...(resourceVersion === undefined ? {} : { resourceVersion }),
  };
}

export interface JobNews {
  readonly type: 'Normal' | 'Warning';
  readonly reason: string;
  readonly message: string;
}

/** status.active without the Jobs that have finished or are gone, the last success, and what there is to tell. */
export function takeStock(
  cronJob: CronJob,
  jobs: readonly Job[],
): { readonly status: CronJobStatus; readonly news: readonly JobNews[] } {
  const news: JobNews[] = [];
  const before = cronJob.status ?? {};
  let { lastSuccessfulTime } = before;
  const byUid = new Map(jobs.map((job) => [job.metadata.uid, job]));
  const active = (before.active ?? []).filter(({ uid, name }) => {
    const job = byUid.get(uid ?? '');
    if (job === undefined) {
      news.push({ type: 'Normal', reason: 'MissingJob', message: `Active job went missing: ${name}` });
      return false;
    }
    const result = finishedAs(job);
    if (result === undefined) return true;
    const message = `Saw completed job: ${name}, condition: ${result}`;
    news.push({ type: 'Normal', reason: 'SawCompletedJob', message });
    return false;
  });
  for (const job of jobs) {
    const { completionTime } = job.status ?? {};
    if (finishedAs(job) !== 'Complete' || completionTime === undefined) continue;
    if (lastSuccessfulTime === undefined || completionTime > lastSuccessfulTime) lastSuccessfulTime = completionTime;
  }
  const known = new Set((before.active ?? []).map(({ uid }) => uid));
  for (const job of jobs) {
    if (finishedAs(job) !== undefined || known.has(job.metadata.uid)) continue;
    const message = `Saw a job that the controller did not create or forgot: ${job.metadata.name}`;
    news.push({ type: 'Warning', reason: 'UnexpectedJob', message });
  }
  const { lastScheduleTime } = before;
  return {
    status: {
      ...(active.length === 0 ? {} : { active }),
      ...(lastScheduleTime === undefined ? {} : { lastScheduleTime }),
      ...(lastSuccessfulTime === undefined ? {} : { lastSuccessfulTime }),
    },
    news,
  };
}

/** Finished Jobs beyond the history limits, the oldest. */
export function outdatedJobs({ spec }: CronJob, jobs: readonly Job[]): readonly Job[] {
  const beyond = (result: 'Complete' | 'Failed', limit: number) => {
    const finished = jobs
      .filter((job) => finishedAs(job) === result && job.metadata.deletionTimestamp === undefined)
      .toSorted((a, b) =>
        startOf(a) === startOf(b) ? compare(a.metadata.name, b.metadata.name) : compare(startOf(a), startOf(b)),
      );
    return finished.slice(0, Math.max(0, finished.length - limit));
  };
  return [
    ...beyond('Complete', spec.successfulJobsHistoryLimit ?? 3),
    ...beyond('Failed', spec.failedJobsHistoryLimit ?? 1),
  ];
}

function startOf({ status, metadata }: Job): string {
  return status?.startTime ?? metadata.creationTimestamp ?? '';
}

function compare(a: string, b: string): number {
  return a < b ? -1 : 1;
}
