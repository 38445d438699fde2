/** HorizontalPodAutoscalers, in the stored version. */
import type { HorizontalPodAutoscaler } from '../../../../kernel/contract/kubernetes.ts';
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
  },
};
