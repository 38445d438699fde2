/** Label selectors inside objects. */
import type { LabelSelector, PodTemplateSpec } from '../../../../kernel/contract/kubernetes.ts';
import { labelKeyFaults, labelValueFaults } from '../../../../kernel/machinery/label-syntax.ts';
import { labelSelector } from '../../../../kernel/machinery/selectors.ts';
import type { FieldErrors } from './field-errors.ts';

const operators = ['In', 'NotIn', 'Exists', 'DoesNotExist'];

/** True when nothing was found wrong. */
export function validateSelector(selector: LabelSelector | undefined, field: string, errors: FieldErrors): boolean {
  const before = errors.causes.length;
  for (const [key, value] of Object.entries(selector?.matchLabels ?? {})) {
    errors.faults(`${field}.matchLabels`, key, labelKeyFaults(key));
    errors.faults(`${field}.matchLabels`, value, labelValueFaults(value));
  }
  for (const [index, { key, operator, values }] of (selector?.matchExpressions ?? []).entries()) {
    const place = `${field}.matchExpressions[${index}]`;
    errors.faults(`${place}.key`, key, labelKeyFaults(key));
    if (!operators.includes(operator)) {
      errors.invalid(`${place}.operator`, operator, 'not a valid selector operator');
    } else if (operator === 'In' || operator === 'NotIn') {
      if (!values?.length) errors.required(`${place}.values`, "must be specified when `operator` is 'In' or 'NotIn'");
    } else if (values?.length) {
      errors.forbidden(`${place}.values`, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
    }
    for (const [at, value] of (values ?? []).entries())
      errors.faults(`${place}.values[${at}]`, value, labelValueFaults(value));
  }
  return errors.causes.length === before;
}

/** The selector of a workload: there, not empty, and matching the pods that the workload makes. */
export function validateWorkloadSelector(
  selector: LabelSelector | undefined,
  template: PodTemplateSpec | undefined,
  errors: FieldErrors,
): void {
  if (!selector) {
    errors.required('spec.selector');
    return;
  }
  if (!validateSelector(selector, 'spec.selector', errors)) return;
  if (!Object.keys(selector.matchLabels ?? {}).length && !selector.matchExpressions?.length) {
    errors.invalid('spec.selector', selector, 'empty selector is invalid for this kind');
    return;
  }
  const labels = template?.metadata?.labels;
  if (template && !labelSelector(selector).matches(labels)) {
    errors.invalid('spec.template.metadata.labels', labels ?? {}, '`selector` does not match template `labels`');
  }
}
