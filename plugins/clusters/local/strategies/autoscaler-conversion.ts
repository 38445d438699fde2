/**
 * HorizontalPodAutoscaler: v2 is stored. v1 knows one CPU target; what else there is rides in annotations, so that
 * reading and writing back through v1 loses nothing.
 */
import type {
  AutoscalingV1HorizontalPodAutoscaler,
  HorizontalPodAutoscaler,
  HorizontalPodAutoscalerSpec,
  HorizontalPodAutoscalerStatus,
  MetricSpec,
  MetricStatus,
} from '../../../../kernel/contract/kubernetes.ts';
import { PintleError } from '../../../../kernel/contract/index.ts';

const prefix = 'autoscaling.alpha.kubernetes.io/';

function isCpuTarget(metric: MetricSpec): boolean {
  return (
    metric.type === 'Resource' &&
    metric.resource?.name === 'cpu' &&
    metric.resource.target.type === 'Utilization' &&
    metric.resource.target.averageUtilization !== undefined
  );
}

function isCpuStatus(metric: MetricStatus): boolean {
  return (
    metric.type === 'Resource' &&
    metric.resource?.name === 'cpu' &&
    metric.resource.current.averageUtilization !== undefined
  );
}

export function autoscalerFromStored(stored: HorizontalPodAutoscaler): AutoscalingV1HorizontalPodAutoscaler {
  const { scaleTargetRef, minReplicas, maxReplicas, metrics = [], behavior } = stored.spec;
  const cpu = metrics.find(isCpuTarget);
  const extra: Record<string, unknown> = {
    metrics: metrics.filter((metric) => metric !== cpu),
    behavior,
    'current-metrics': stored.status?.currentMetrics?.filter((metric) => !isCpuStatus(metric)),
    conditions: stored.status?.conditions,
  };
  const annotations: Record<string, string> = { ...stored.metadata.annotations };
  for (const [name, value] of Object.entries(extra)) {
    if (value === undefined || (Array.isArray(value) && value.length === 0)) continue;
    annotations[prefix + name] = JSON.stringify(value);
  }
  const metadata = { ...stored.metadata };
  if (Object.keys(annotations).length > 0) metadata.annotations = annotations;
  const target = cpu?.resource?.target.averageUtilization;
  const result: AutoscalingV1HorizontalPodAutoscaler = {
    apiVersion: 'autoscaling/v1',
    kind: 'HorizontalPodAutoscaler',
    metadata,
    spec: {
      scaleTargetRef,
      ...(minReplicas !== undefined && { minReplicas }),
      maxReplicas,
      ...(target !== undefined && { targetCPUUtilizationPercentage: target }),
    },
  };
  if (stored.status) {
    const { observedGeneration, lastScaleTime, currentReplicas = 0, desiredReplicas } = stored.status;
    const current = stored.status.currentMetrics?.find(isCpuStatus)?.resource?.current.averageUtilization;
    result.status = {
      ...(observedGeneration !== undefined && { observedGeneration }),
      ...(lastScaleTime !== undefined && { lastScaleTime }),
      currentReplicas,
      desiredReplicas,
      ...(current !== undefined && { currentCPUUtilizationPercentage: current }),
    };
  }
  return result;
}

export function autoscalerToStored(draft: AutoscalingV1HorizontalPodAutoscaler): HorizontalPodAutoscaler {
  const annotations: Record<string, string> = { ...draft.metadata.annotations };
  const take = (name: string): unknown => {
    const text = annotations[prefix + name];
    delete annotations[prefix + name];
    if (text === undefined) return undefined;
    try {
      return JSON.parse(text);
    } catch {
      throw new PintleError('BAD_REQUEST', `The annotation ${prefix}${name} is not JSON: remove it or repair it.`);
    }
  };
  const metrics = list<MetricSpec>(take('metrics'));
  const behavior = take('behavior') as HorizontalPodAutoscalerSpec['behavior'];
  const currentMetrics = list<MetricStatus>(take('current-metrics'));
  const conditions = list<NonNullable<HorizontalPodAutoscalerStatus['conditions']>[number]>(take('conditions'));
  const { scaleTargetRef, minReplicas, maxReplicas, targetCPUUtilizationPercentage: target } = draft.spec;
  if (target !== undefined) {
    metrics.unshift({
      type: 'Resource',
      resource: { name: 'cpu', target: { type: 'Utilization', averageUtilization: target } },
    });
  }
  const metadata = { ...draft.metadata };
  delete metadata.annotations;
  if (Object.keys(annotations).length > 0) metadata.annotations = annotations;
  const result: HorizontalPodAutoscaler = {
    apiVersion: 'autoscaling/v2',
    kind: 'HorizontalPodAutoscaler',
    metadata,
    spec: {
      scaleTargetRef,
      ...(minReplicas !== undefined && { minReplicas }),
      maxReplicas,
      ...(metrics.length > 0 && { metrics }),
      ...(behavior !== undefined && { behavior }),
    },
  };
  if (draft.status) {
    const { observedGeneration, lastScaleTime, currentReplicas, desiredReplicas } = draft.status;
    const current = draft.status.currentCPUUtilizationPercentage;
    if (current !== undefined) {
      currentMetrics.unshift({ type: 'Resource', resource: { name: 'cpu', current: { averageUtilization: current } } });
    }
    result.status = {
      ...(observedGeneration !== undefined && { observedGeneration }),
      ...(lastScaleTime !== undefined && { lastScaleTime }),
      currentReplicas,
      desiredReplicas,
      ...(currentMetrics.length > 0 && { currentMetrics }),
      ...(conditions.length > 0 && { conditions }),
    };
  }
  return result;
}

function list<T>(value: unknown): T[] {
  return Array.isArray(value) ? (value as T[]) : [];
}
