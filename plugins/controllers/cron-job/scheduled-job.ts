import type { NewObject } from '../../../kernel/contract/index.ts';
import type { CronJob, Job } from '../../../kernel/contract/kubernetes.ts';
import { apiTime } from '../../../kernel/machinery/clock.ts';
import { ownerReference } from '../../../kernel/machinery/metadata.ts';

/** The same time gives the same name: a Job that was created just before a crash is not created again. */
export function jobName(cronJob: CronJob, at: number): string {
  return `${cronJob.metadata.name}-${Math.floor(at / 60_000)}`;
}

export function scheduledJob(cronJob: CronJob, at: number): NewObject<Job> {
  const { metadata = {}, spec } = cronJob.spec.jobTemplate;
  return {
    metadata: {
      name: jobName(cronJob, at),
      namespace: cronJob.metadata.namespace,
      ...(metadata.labels === undefined ? {} : { labels: metadata.labels }),
      annotations: { ...metadata.annotations, 'batch.kubernetes.io/cronjob-scheduled-timestamp': apiTime(at) },
      ownerReferences: [ownerReference(cronJob)],
    },
    spec: spec as Job['spec'],
  };
}
