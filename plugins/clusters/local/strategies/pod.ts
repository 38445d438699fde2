/** Pods: admission, validation, what may change in a running pod, graceful deletion. */
import type { Affinity, Pod, PodSpec } from '../../../../kernel/contract/kubernetes.ts';
import { copyJson, sameJson } from '../state/frozen-json.ts';
import type { FieldErrors } from '../validation/field-errors.ts';
import { validatePlacementChange } from '../validation/placement-change.ts';
import { validatePodSpec } from '../validation/pod-spec.ts';
import { admitPodLimits } from './limit-range.ts';
import { admitServiceAccount } from './service-account.ts';
import { admitPriority, admitTolerations, qosClass } from './pod-admission.ts';
import type { Strategy } from './strategy.ts';

const mutable =
  'pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)';

/** The new spec with every part that may change put back; equal to the old one when nothing else has changed. */
function withoutAllowedChanges(spec: PodSpec, old: PodSpec): PodSpec {
  const result = copyJson(spec);
  const reset = <K extends keyof PodSpec>(key: K) => {
    if (old[key] === undefined) delete result[key];
    else result[key] = old[key];
  };
  for (const name of ['containers', 'initContainers'] as const) {
    for (const [index, container] of (result[name] ?? []).entries()) {
      const before = old[name]?.[index];
      if (before?.image !== undefined) container.image = before.image;
    }
  }
  reset('activeDeadlineSeconds');
  reset('tolerations');
  if ((old.terminationGracePeriodSeconds ?? 0) < 0 && spec.terminationGracePeriodSeconds === 1) {
    reset('terminationGracePeriodSeconds');
  }
  if (old.schedulingGates?.length) {
    reset('schedulingGates');
    // Judged by themselves: validatePlacementChange.
    reset('nodeSelector');
    const affinity = withNodeAffinity(spec.affinity, old.affinity);
    if (affinity) result.affinity = affinity;
    else delete result.affinity;
  }
  return result;
}

/** Of a pod that waits only this part of its affinity may change; one that holds nothing is none. */
function withNodeAffinity(affinity: Affinity | undefined, old: Affinity | undefined): Affinity | undefined {
  const { nodeAffinity: _changed, ...rest } = affinity ?? {};
  const result = { ...rest, ...(old?.nodeAffinity && { nodeAffinity: old.nodeAffinity }) };
  return Object.keys(result).length > 0 || (old && Object.keys(old).length === 0) ? result : undefined;
}

function validateChange(pod: Pod, current: Pod, errors: FieldErrors): void {
  const { spec } = pod;
  const old = current.spec;
  for (const name of ['containers', 'initContainers'] as const) {
    if ((spec[name]?.length ?? 0) !== (old[name]?.length ?? 0)) {
      errors.forbidden(`spec.${name}`, 'pod updates may not add or remove containers');
      return;
    }
  }
  const deadline = spec.activeDeadlineSeconds;
  if (old.activeDeadlineSeconds !== undefined) {
    if (deadline === undefined) {
      errors.invalid('spec.activeDeadlineSeconds', null, 'must not update from a positive integer to nil value');
    } else if (deadline > old.activeDeadlineSeconds) {
      errors.invalid('spec.activeDeadlineSeconds', deadline, 'must be less than or equal to previous value');
    }
  }
  for (const toleration of old.tolerations ?? []) {
    const isKept = spec.tolerations?.some((other) => {
      const { tolerationSeconds: _before, ...before } = toleration;
      const { tolerationSeconds: _after, ...after } = other;
      return sameJson(before, after);
    });
    if (!isKept) {
      errors.forbidden('spec.tolerations', 'existing toleration can not be modified except its tolerationSeconds');
      break;
    }
  }
  for (const gate of spec.schedulingGates ?? []) {
    if (!old.schedulingGates?.some(({ name }) => name === gate.name)) {
      errors.forbidden('spec.schedulingGates', 'only deletion is allowed, but found new scheduling gate');
      break;
    }
  }
  if (old.schedulingGates?.length) validatePlacementChange(spec, old, errors);
  if (!sameJson(withoutAllowedChanges(spec, old), old)) errors.forbidden('spec', mutable);
}

export const pod: Strategy<Pod> = {
  countsGeneration: true,
  statusStandsAlone: true,
  statusMayLabel: true,
  initialStatus: ({ spec }) => ({ phase: 'Pending', qosClass: qosClass(spec) }),
  prepareCreate(object, context) {
    admitServiceAccount(object, context);
    admitPriority(object, context);
    admitTolerations(object);
    admitPodLimits(object, context);
    // Of what the limits of the namespace have made of it.
    if (object.status) object.status.qosClass = qosClass(object.spec);
    if (object.spec.schedulingGates?.length) {
      object.status = {
        ...object.status,
        conditions: [
          {
            type: 'PodScheduled',
            status: 'False',
            reason: 'SchedulingGated',
            message: 'Scheduling is blocked due to non-empty scheduling gates',
            lastTransitionTime: context.timestamp,
          },
        ],
      };
    }
  },
  prepareUpdate(object, current) {
    // Clients that know only one of the two names send the other one back as they read it.
    object.spec.serviceAccount ??= current.spec.serviceAccount ?? '';
    if (!object.spec.serviceAccount) delete object.spec.serviceAccount;
  },
  validate(object, errors) {
    validatePodSpec(object.spec, 'spec', errors);
    if (object.spec.ephemeralContainers?.length && object.metadata.resourceVersion === '') {
      errors.forbidden('spec.ephemeralContainers', 'cannot be set on create');
    }
    if (object.spec.nodeName && object.spec.schedulingGates?.length) {
      errors.forbidden('spec.nodeName', 'cannot be set until all schedulingGates have been cleared');
    }
  },
  validateUpdate: validateChange,
  prepareStatus(object, current) {
    // Computed once, of the spec; a node that does not know the field must not lose it.
    const qos = current.status?.qosClass;
    if (object.status && qos) object.status.qosClass ??= qos;
  },
  indexedField: 'spec.nodeName',
  fieldNames: [
    'spec.nodeName',
    'spec.restartPolicy',
    'spec.schedulerName',
    'spec.serviceAccountName',
    'spec.hostNetwork',
    'status.phase',
    'status.podIP',
    'status.podIPs',
    'status.nominatedNodeName',
  ],
  field({ spec, status }, path) {
    switch (path) {
      case 'spec.nodeName':
        return spec.nodeName ?? '';
      case 'status.phase':
        return status?.phase ?? '';
      case 'spec.restartPolicy':
        return spec.restartPolicy ?? '';
      case 'spec.schedulerName':
        return spec.schedulerName ?? '';
      case 'spec.serviceAccountName':
        return spec.serviceAccountName ?? '';
      case 'spec.hostNetwork':
        return String(spec.hostNetwork ?? false);
      case 'status.podIP':
        return status?.podIP ?? '';
      case 'status.podIPs':
        return (status?.podIPs ?? []).map(({ ip }) => ip).join(',');
      case 'status.nominatedNodeName':
        return status?.nominatedNodeName ?? '';
      default:
        return '';
    }
  },
  gracePeriod({ spec, status }, asked) {
    // Nothing runs: there is nobody to be given time.
    if (!spec.nodeName || status?.phase === 'Failed' || status?.phase === 'Succeeded') return 0;
    return asked ?? Math.max(spec.terminationGracePeriodSeconds ?? 30, 0);
  },
};
