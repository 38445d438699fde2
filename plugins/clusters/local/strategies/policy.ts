/** PodDisruptionBudgets. */
import type { PodDisruptionBudget } from '../../../../kernel/contract/kubernetes.ts';
import { validateSelector } from '../validation/selector.ts';
import type { Strategy } from './strategy.ts';

export const podDisruptionBudget: Strategy<PodDisruptionBudget> = {
  countsGeneration: true,
  initialStatus: () => ({ disruptionsAllowed: 0, currentHealthy: 0, desiredHealthy: 0, expectedPods: 0 }),
  validate({ spec }, errors) {
    if (spec?.minAvailable !== undefined && spec.maxUnavailable !== undefined) {
      errors.invalid('spec', spec, 'minAvailable and maxUnavailable cannot be both set');
    }
    for (const name of ['minAvailable', 'maxUnavailable'] as const) {
      const value = spec?.[name];
      if (typeof value === 'number') errors.nonNegative(`spec.${name}`, value);
      else if (value !== undefined && (!/^\d+%$/.test(value) || Number.parseInt(value, 10) > 100)) {
        errors.invalid(`spec.${name}`, value, "must be an integer or a percentage from 0% to 100% (e.g '5%')");
      }
    }
    validateSelector(spec?.selector, 'spec.selector', errors);
    errors.oneOf('spec.unhealthyPodEvictionPolicy', spec?.unhealthyPodEvictionPolicy, [
      'AlwaysAllow',
      'IfHealthyBudget',
    ]);
  },
};
