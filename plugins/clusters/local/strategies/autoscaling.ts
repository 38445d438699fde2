/** HorizontalPodAutoscalers, in the stored version. */
import type { HorizontalPodAutoscaler, HPAScalingRules, MetricSpec } from '../../../../kernel/contract/kubernetes.ts';
import { isQuantity, parseQuantity } from '../../../../kernel/machinery/quantity.ts';
import type { FieldErrors } from '../validation/field-errors.ts';
import type { Strategy } from './strategy.ts';

export const horizontalPodAutoscaler: Strategy<HorizontalPodAutoscaler> = {
  initialStatus: () => ({ currentReplicas: 0, desiredReplicas: 0 }),
  validate({ spec }, errors) {
    const { minReplicas, maxReplicas, scaleTargetRef } = spec;
    if (minReplicas !== undefined && minReplicas < 1) {
      errors.invalid('spec.minReplicas', minReplicas, 'must be greater than or equal to 1');
    }
    if (!(maxReplicas >= 1)) errors.invalid('spec.maxReplicas', maxReplicas ?? 0, 'must be greater than 0');
    else if (minReplicas !== undefined && maxReplicas < minReplicas) {
      errors.invalid('spec.maxReplicas', maxReplicas, 'must be greater than or equal to `minReplicas`');
    }
    if (!scaleTargetRef?.kind) errors.required('spec.scaleTargetRef.kind');
    if (!scaleTargetRef?.name) errors.required('spec.scaleTargetRef.name');
    for (const [index, metric] of (spec.metrics ?? []).entries())
      validateMetric(metric, `spec.metrics[${index}]`, errors);
    validateRules(spec.behavior?.scaleUp, 'spec.behavior.scaleUp', errors);
    validateRules(spec.behavior?.scaleDown, 'spec.behavior.scaleDown', errors);
  },
};

const sources = {
  Object: 'object',
  Pods: 'pods',
  Resource: 'resource',
  ContainerResource: 'containerResource',
  External: 'external',
} as const;

function validateMetric(metric: MetricSpec, path: string, errors: FieldErrors): void {
  const field = sources[metric.type as keyof typeof sources];
  if (field === undefined) {
    errors.notSupported(`${path}.type`, metric.type, Object.keys(sources));
    return;
  }
  const source = metric[field];
  if (source === undefined) {
    errors.required(`${path}.${field}`);
    return;
  }
  const base = `${path}.${field}`;
  if ('name' in source && !source.name) errors.required(`${base}.name`);
  if (field === 'containerResource' && !metric.containerResource?.container) errors.required(`${base}.container`);
  const { averageUtilization, averageValue, value } = source.target ?? {};
  if (averageUtilization !== undefined && averageUtilization < 1)
    errors.invalid(`${base}.target.averageUtilization`, averageUtilization, 'must be greater than 0');
  for (const [name, quantity] of [
    ['averageValue', averageValue],
    ['value', value],
  ] as const)
    if (quantity !== undefined && isQuantity(quantity) && parseQuantity(quantity) <= 0)
      errors.invalid(`${base}.target.${name}`, quantity, 'must be positive');
  if (field !== 'resource' && field !== 'containerResource') return;
  if (averageUtilization === undefined && averageValue === undefined)
    errors.required(`${base}.target.averageUtilization`);
  else if (averageUtilization !== undefined && averageValue !== undefined)
    errors.forbidden(`${base}.target.averageValue`, 'may not set both a target raw value and a target utilization');
}

function validateRules(rules: HPAScalingRules | undefined, path: string, errors: FieldErrors): void {
  if (rules === undefined) return;
  const { stabilizationWindowSeconds, selectPolicy, policies, tolerance } = rules;
  if (stabilizationWindowSeconds !== undefined)
    errors.range(`${path}.stabilizationWindowSeconds`, stabilizationWindowSeconds, 0, 3600);
  if (selectPolicy !== undefined && !['Max', 'Min', 'Disabled'].includes(selectPolicy))
    errors.notSupported(`${path}.selectPolicy`, selectPolicy, ['Disabled', 'Max', 'Min']);
  if (policies !== undefined && policies.length === 0) errors.required(`${path}.policies`);
  for (const [index, { type, value, periodSeconds }] of (policies ?? []).entries()) {
    const at = `${path}.policies[${index}]`;
    if (type !== 'Pods' && type !== 'Percent') errors.notSupported(`${at}.type`, type, ['Percent', 'Pods']);
    if (!(value > 0)) errors.invalid(`${at}.value`, value ?? 0, 'must be greater than zero');
    errors.range(`${at}.periodSeconds`, periodSeconds ?? 0, 1, 1800);
  }
  if (tolerance !== undefined && isQuantity(tolerance) && parseQuantity(tolerance) < 0)
    errors.invalid(`${path}.tolerance`, tolerance, 'must be greater or equal to zero');
}
