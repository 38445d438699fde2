/** Priority classes. */
import type { PriorityClass } from '../../../../kernel/contract/kubernetes.ts';
import { resources } from '../../../../kernel/machinery/resources.ts';
import type { Strategy } from './strategy.ts';

const highestUserPriority = 1_000_000_000;

export const priorityClass: Strategy<PriorityClass> = {
  countsGeneration: true,
  prepareCreate(object, context) {
    if (!object.globalDefault) return;
    const other = context.all(resources.priorityClasses).find((candidate) => candidate.globalDefault);
    if (other)
      context.warn(`PriorityClass ${other.metadata.name} is the global default already; the lower value counts`);
  },
  validate(object, errors) {
    const isSystem = object.metadata.name.startsWith('system-');
    if (isSystem && !['system-cluster-critical', 'system-node-critical'].includes(object.metadata.name)) {
      errors.forbidden('metadata.name', `priority class names with 'system-' prefix are reserved for system use only`);
    }
    if (!isSystem && (object.value ?? 0) > highestUserPriority) {
      errors.forbidden('value', `maximum allowed value of a user defined priority is ${highestUserPriority}`);
    }
    errors.oneOf('preemptionPolicy', object.preemptionPolicy, ['Never', 'PreemptLowerPriority']);
  },
  validateUpdate(object, current, errors) {
    if ((object.value ?? 0) !== (current.value ?? 0)) errors.forbidden('value', 'may not be changed in an update.');
    if (object.preemptionPolicy !== current.preemptionPolicy) {
      errors.invalid('preemptionPolicy', object.preemptionPolicy ?? null, 'field is immutable');
    }
  },
};
