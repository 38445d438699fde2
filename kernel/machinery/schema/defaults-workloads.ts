/** Defaults of the groups apps, batch and autoscaling. */
import { child, ensure, fill, hasItems, isUnset, type Defaulter } from './defaulter.ts';
import { own, type JsonObject } from '../json-value.ts';

const maxInt32 = 2 ** 31 - 1;

const deployment: Defaulter = (object) => {
  const spec = ensure(object, 'spec');
  fill(spec, { replicas: 1, revisionHistoryLimit: 10, progressDeadlineSeconds: 600 });
  const strategy = ensure(spec, 'strategy');
  fill(strategy, { type: 'RollingUpdate' });
  if (strategy['type'] === 'RollingUpdate')
    fill(ensure(strategy, 'rollingUpdate'), { maxUnavailable: '25%', maxSurge: '25%' });
};

const daemonSet: Defaulter = (object) => {
  const spec = ensure(object, 'spec');
  fill(spec, { revisionHistoryLimit: 10 });
  const strategy = ensure(spec, 'updateStrategy');
  fill(strategy, { type: 'RollingUpdate' });
  if (strategy['type'] === 'RollingUpdate') fill(ensure(strategy, 'rollingUpdate'), { maxUnavailable: 1, maxSurge: 0 });
};

const statefulSet: Defaulter = (object) => {
  const spec = ensure(object, 'spec');
  fill(spec, { podManagementPolicy: 'OrderedReady', replicas: 1, revisionHistoryLimit: 10 });
  const strategy = ensure(spec, 'updateStrategy');
  if (isUnset(strategy, 'type')) {
    strategy['type'] = 'RollingUpdate';
    ensure(strategy, 'rollingUpdate');
  }
  const rolling = child(strategy, 'rollingUpdate');
  if (strategy['type'] === 'RollingUpdate' && rolling) fill(rolling, { partition: 0 });
  fill(ensure(spec, 'persistentVolumeClaimRetentionPolicy'), { whenDeleted: 'Retain', whenScaled: 'Retain' });
};

const job: Defaulter = (object) => {
  const spec = ensure(object, 'spec');
  if (isUnset(spec, 'completions') && isUnset(spec, 'parallelism')) spec['completions'] = 1;
  fill(spec, {
    parallelism: 1,
    backoffLimit: isUnset(spec, 'backoffLimitPerIndex') ? 6 : maxInt32,
    completionMode: 'NonIndexed',
    suspend: false,
    podReplacementPolicy: child(spec, 'podFailurePolicy') ? 'Failed' : 'TerminatingOrFailed',
    manualSelector: false,
  });
  const labels = child(child(child(spec, 'template'), 'metadata'), 'labels');
  const metadata = ensure(object, 'metadata');
  if (labels && !hasItems(own(metadata, 'labels'))) metadata['labels'] = { ...labels };
};

const cronJob: Defaulter = (object) =>
  fill(ensure(object, 'spec'), {
    concurrencyPolicy: 'Allow',
    suspend: false,
    successfulJobsHistoryLimit: 3,
    failedJobsHistoryLimit: 1,
  });

const scaleUp = (): JsonObject => ({
  stabilizationWindowSeconds: 0,
  selectPolicy: 'Max',
  policies: [
    { type: 'Pods', value: 4, periodSeconds: 15 },
    { type: 'Percent', value: 100, periodSeconds: 15 },
  ],
});
const scaleDown = (): JsonObject => ({
  selectPolicy: 'Max',
  policies: [{ type: 'Percent', value: 100, periodSeconds: 15 }],
});

const horizontalPodAutoscaler: Defaulter = (object) => {
  const spec = ensure(object, 'spec');
  fill(spec, { minReplicas: 1 });
  if (!hasItems(own(spec, 'metrics')))
    spec['metrics'] = [
      { type: 'Resource', resource: { name: 'cpu', target: { type: 'Utilization', averageUtilization: 80 } } },
    ];
  const behavior = child(spec, 'behavior');
  if (!behavior) return;
  fill(ensure(behavior, 'scaleUp'), scaleUp());
  fill(ensure(behavior, 'scaleDown'), scaleDown());
};

export const workloadDefaults: Readonly<Record<string, Defaulter>> = {
  'apps/v1.Deployment': deployment,
  'apps/v1.DaemonSet': daemonSet,
  'apps/v1.StatefulSet': statefulSet,
  'apps/v1.ReplicaSet': (object) => fill(ensure(object, 'spec'), { replicas: 1 }),
  'batch/v1.Job': job,
  'batch/v1.CronJob': cronJob,
  'batch/v1.PodFailurePolicyOnPodConditionsPattern': (object) => fill(object, { status: 'True' }),
  'autoscaling/v1.HorizontalPodAutoscaler': (object) => fill(ensure(object, 'spec'), { minReplicas: 1 }),
  'autoscaling/v2.HorizontalPodAutoscaler': horizontalPodAutoscaler,
};
