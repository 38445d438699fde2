/** Columns of apps, batch, autoscaling and policy. */
import type {
  AutoscalingV1HorizontalPodAutoscaler,
  ControllerRevision,
  CronJob,
  DaemonSet,
  Deployment,
  HorizontalPodAutoscaler,
  Job,
  MetricTarget,
  MetricValueStatus,
  PodDisruptionBudget,
  ReplicaSet,
  Scale,
  StatefulSet,
} from '../../../../kernel/contract/kubernetes.ts';
import {
  ageColumn,
  ageOf,
  containerImages,
  containerNames,
  humanDuration,
  integer,
  labelsText,
  nameColumn,
  orNone,
  selectorText,
  since,
  table,
  text,
  wide,
  type Column,
  type ColumnTable,
} from './column.ts';

const templateColumns: readonly Column[] = [wide(text('Containers')), wide(text('Images')), wide(text('Selector'))];

function jobStatus(job: Job): string {
  const has = (type: string): boolean =>
    job.status?.conditions?.some((condition) => condition.type === type && condition.status === 'True') ?? false;
  if (has('Complete')) return 'Complete';
  if (has('Failed')) return 'Failed';
  if (job.metadata.deletionTimestamp !== undefined) return 'Terminating';
  if (has('Suspended')) return 'Suspended';
  if (has('FailureTarget')) return 'FailureTarget';
  if (has('SuccessCriteriaMet')) return 'SuccessCriteriaMet';
  return 'Running';
}

function jobCompletions(job: Job): string {
  const succeeded = job.status?.succeeded ?? 0;
  if (job.spec?.completions !== undefined) return `${succeeded}/${job.spec.completions}`;
  const parallelism = job.spec?.parallelism ?? 0;
  return parallelism > 1 ? `${succeeded}/1 of ${parallelism}` : `${succeeded}/1`;
}

function jobDuration(job: Job, now: number): string {
  const begin = Date.parse(job.status?.startTime ?? '');
  if (Number.isNaN(begin)) return '';
  const end = Date.parse(job.status?.completionTime ?? '');
  return humanDuration((Number.isNaN(end) ? now : end) - begin);
}

function targetText(target: MetricTarget | undefined, current: MetricValueStatus | undefined): string {
  if (target?.averageUtilization !== undefined)
    return `${current?.averageUtilization === undefined ? '<unknown>' : `${current.averageUtilization}%`}/${target.averageUtilization}%`;
  if (target?.averageValue !== undefined) return `${current?.averageValue ?? '<unknown>'}/${target.averageValue} (avg)`;
  return `${current?.value ?? '<unknown>'}/${target?.value ?? '<unknown>'}`;
}

function autoscalerTargets(autoscaler: HorizontalPodAutoscaler): string {
  const metrics = (autoscaler.spec?.metrics ?? []).map((metric, index) => {
    const current = autoscaler.status?.currentMetrics?.[index];
    switch (metric.type) {
      case 'Resource':
        return `${metric.resource?.name ?? ''}: ${targetText(metric.resource?.target, current?.resource?.current)}`;
      case 'ContainerResource':
        return `${metric.containerResource?.name ?? ''}: ${targetText(metric.containerResource?.target, current?.containerResource?.current)}`;
      case 'Pods':
        return targetText(metric.pods?.target, current?.pods?.current);
      case 'Object':
        return targetText(metric.object?.target, current?.object?.current);
      case 'External':
        return targetText(metric.external?.target, current?.external?.current);
      default:
        return '<unknown type>';
    }
  });
  if (metrics.length === 0) return '<none>';
  return metrics.length > 2 ? `${metrics.slice(0, 2).join(', ')} + ${metrics.length - 2} more...` : metrics.join(', ');
}

const autoscalerColumns: readonly Column[] = [
  nameColumn,
  text('Reference'),
  text('Targets'),
  text('MinPods'),
  text('MaxPods'),
  integer('Replicas'),
  ageColumn,
];

export const workloadColumns: ColumnTable = {
  'apps/deployments': table<Deployment>(
    [
      nameColumn,
      text('Ready', 'Ready replicas, of those wanted.'),
      integer('Up-to-date'),
      integer('Available'),
      ageColumn,
      ...templateColumns,
    ],
    (deployment, now) => [
      deployment.metadata.name,
      `${deployment.status?.readyReplicas ?? 0}/${deployment.spec?.replicas ?? 0}`,
      deployment.status?.updatedReplicas ?? 0,
      deployment.status?.availableReplicas ?? 0,
      ageOf(deployment, now),
      containerNames(deployment.spec?.template),
      containerImages(deployment.spec?.template),
      selectorText(deployment.spec?.selector),
    ],
  ),
  'apps/replicasets': table<ReplicaSet>(
    [nameColumn, integer('Desired'), integer('Current'), integer('Ready'), ageColumn, ...templateColumns],
    (set, now) => [
      set.metadata.name,
      set.spec?.replicas ?? 0,
      set.status?.replicas ?? 0,
      set.status?.readyReplicas ?? 0,
      ageOf(set, now),
      containerNames(set.spec?.template),
      containerImages(set.spec?.template),
      selectorText(set.spec?.selector),
    ],
  ),
  'apps/statefulsets': table<StatefulSet>(
    [nameColumn, text('Ready'), ageColumn, wide(text('Containers')), wide(text('Images'))],
    (set, now) => [
      set.metadata.name,
      `${set.status?.readyReplicas ?? 0}/${set.spec?.replicas ?? 0}`,
      ageOf(set, now),
      containerNames(set.spec?.template),
      containerImages(set.spec?.template),
    ],
  ),
  'apps/daemonsets': table<DaemonSet>(
    [
      nameColumn,
      integer('Desired'),
      integer('Current'),
      integer('Ready'),
      integer('Up-to-date'),
      integer('Available'),
      text('Node Selector'),
      ageColumn,
      ...templateColumns,
    ],
    (set, now) => [
      set.metadata.name,
      set.status?.desiredNumberScheduled ?? 0,
      set.status?.currentNumberScheduled ?? 0,
      set.status?.numberReady ?? 0,
      set.status?.updatedNumberScheduled ?? 0,
      set.status?.numberAvailable ?? 0,
      labelsText(set.spec?.template?.spec?.nodeSelector),
      ageOf(set, now),
      containerNames(set.spec?.template),
      containerImages(set.spec?.template),
      selectorText(set.spec?.selector),
    ],
  ),
  'apps/controllerrevisions': table<ControllerRevision>(
    [nameColumn, text('Controller'), integer('Revision'), ageColumn],
    (revision, now) => {
      const owner = revision.metadata.ownerReferences?.find((reference) => reference.controller === true);
      const group = owner?.apiVersion.includes('/') === true ? `.${owner.apiVersion.split('/')[0] ?? ''}` : '';
      return [
        revision.metadata.name,
        owner === undefined ? '<none>' : `${owner.kind.toLowerCase()}${group}/${owner.name}`,
        revision.revision,
        ageOf(revision, now),
      ];
    },
  ),
  'batch/jobs': table<Job>(
    [nameColumn, text('Status'), text('Completions'), text('Duration'), ageColumn, ...templateColumns],
    (job, now) => [
      job.metadata.name,
      jobStatus(job),
      jobCompletions(job),
      jobDuration(job, now),
      ageOf(job, now),
      containerNames(job.spec?.template),
      containerImages(job.spec?.template),
      selectorText(job.spec?.selector),
    ],
  ),
  'batch/cronjobs': table<CronJob>(
    [
      nameColumn,
      text('Schedule'),
      text('Timezone'),
      text('Suspend'),
      integer('Active'),
      text('Last Schedule'),
      ageColumn,
      ...templateColumns,
    ],
    (cron, now) => {
      const template = cron.spec?.jobTemplate?.spec?.template;
      const last = cron.status?.lastScheduleTime;
      return [
        cron.metadata.name,
        cron.spec?.schedule ?? '',
        orNone(cron.spec?.timeZone),
        cron.spec?.suspend === undefined ? '<unset>' : cron.spec.suspend ? 'True' : 'False',
        cron.status?.active?.length ?? 0,
        last === undefined ? '<none>' : since(last, now),
        ageOf(cron, now),
        containerNames(template),
        containerImages(template),
        selectorText(cron.spec?.jobTemplate?.spec?.selector),
      ];
    },
  ),
  'autoscaling/v2/horizontalpodautoscalers': table<HorizontalPodAutoscaler>(autoscalerColumns, (autoscaler, now) => [
    autoscaler.metadata.name,
    `${autoscaler.spec?.scaleTargetRef.kind ?? ''}/${autoscaler.spec?.scaleTargetRef.name ?? ''}`,
    autoscalerTargets(autoscaler),
    autoscaler.spec?.minReplicas === undefined ? '<unset>' : String(autoscaler.spec.minReplicas),
    String(autoscaler.spec?.maxReplicas ?? 0),
    autoscaler.status?.currentReplicas ?? 0,
    ageOf(autoscaler, now),
  ]),
  'autoscaling/v1/horizontalpodautoscalers': table<AutoscalingV1HorizontalPodAutoscaler>(
    autoscalerColumns,
    (autoscaler, now) => {
      const { spec, status } = autoscaler;
      const wanted = spec?.targetCPUUtilizationPercentage;
      const used = status?.currentCPUUtilizationPercentage;
      return [
        autoscaler.metadata.name,
        `${spec?.scaleTargetRef.kind ?? ''}/${spec?.scaleTargetRef.name ?? ''}`,
        wanted === undefined ? '<none>' : `cpu: ${used === undefined ? '<unknown>' : `${used}%`}/${wanted}%`,
        spec?.minReplicas === undefined ? '<unset>' : String(spec.minReplicas),
        String(spec?.maxReplicas ?? 0),
        status?.currentReplicas ?? 0,
        ageOf(autoscaler, now),
      ];
    },
  ),
  'autoscaling/scales': table<Scale>(
    [nameColumn, integer('Desired'), integer('Available'), ageColumn],
    (scale, now) => [scale.metadata.name, scale.spec?.replicas ?? 0, scale.status?.replicas ?? 0, ageOf(scale, now)],
  ),
  'policy/poddisruptionbudgets': table<PodDisruptionBudget>(
    [nameColumn, text('Min Available'), text('Max Unavailable'), integer('Allowed Disruptions'), ageColumn],
    (budget, now) => [
      budget.metadata.name,
      String(budget.spec?.minAvailable ?? 'N/A'),
      String(budget.spec?.maxUnavailable ?? 'N/A'),
      budget.status?.disruptionsAllowed ?? 0,
      ageOf(budget, now),
    ],
  ),
};
