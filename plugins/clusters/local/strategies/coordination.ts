/** Leases: the most written objects of a cluster, so that little is asked of them. */
import type { Lease } from '../../../../kernel/contract/kubernetes.ts';
import type { Strategy } from './strategy.ts';

export const lease: Strategy<Lease> = {
  validate({ spec }, errors) {
    if (spec?.leaseDurationSeconds !== undefined && spec.leaseDurationSeconds <= 0) {
      errors.invalid('spec.leaseDurationSeconds', spec.leaseDurationSeconds, 'must be greater than 0');
    }
    errors.nonNegative('spec.leaseTransitions', spec?.leaseTransitions);
  },
};
