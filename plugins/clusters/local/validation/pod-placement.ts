/** Where a pod may go, beside its node affinity: spread constraints, affinity to other pods; and the gates before it may. */
import type { PodAffinityTerm, PodSpec } from '../../../../kernel/contract/kubernetes.ts';
import { labelKeyFaults } from '../../../../kernel/machinery/label-syntax.ts';
import type { FieldErrors } from './field-errors.ts';
import { validateSelector } from './selector.ts';

export function validatePodPlacement(spec: PodSpec, field: string, errors: FieldErrors): void {
  validateSpread(spec, field, errors);
  validateGates(spec, `${field}.schedulingGates`, errors);
  for (const kind of ['podAffinity', 'podAntiAffinity'] as const) {
    const { requiredDuringSchedulingIgnoredDuringExecution: required, ...rest } = spec.affinity?.[kind] ?? {};
    const place = `${field}.affinity.${kind}`;
    for (const [index, term] of (required ?? []).entries())
      validateTerm(term, `${place}.requiredDuringSchedulingIgnoredDuringExecution[${index}]`, errors);
    for (const [index, { podAffinityTerm }] of (rest.preferredDuringSchedulingIgnoredDuringExecution ?? []).entries())
      validateTerm(
        podAffinityTerm,
        `${place}.preferredDuringSchedulingIgnoredDuringExecution[${index}].podAffinityTerm`,
        errors,
      );
  }
}

function validateTerm(term: PodAffinityTerm | undefined, field: string, errors: FieldErrors): void {
  if (!term?.topologyKey) errors.required(`${field}.topologyKey`, 'can not be empty');
  else errors.faults(`${field}.topologyKey`, term.topologyKey, labelKeyFaults(term.topologyKey));
  validateSelector(term?.labelSelector, `${field}.labelSelector`, errors);
}

function validateSpread(spec: PodSpec, field: string, errors: FieldErrors): void {
  const seen = new Set<string>();
  for (const [index, constraint] of (spec.topologySpreadConstraints ?? []).entries()) {
    const { maxSkew, topologyKey, whenUnsatisfiable, minDomains, labelSelector } = constraint;
    const place = `${field}.topologySpreadConstraints[${index}]`;
    if (!(maxSkew > 0)) errors.invalid(`${place}.maxSkew`, maxSkew, 'must be greater than zero');
    if (!topologyKey) errors.required(`${place}.topologyKey`, 'can not be empty');
    if (minDomains !== undefined && minDomains <= 0)
      errors.invalid(`${place}.minDomains`, minDomains, 'must be greater than zero');
    if (minDomains !== undefined && whenUnsatisfiable !== 'DoNotSchedule')
      errors.invalid(
        `${place}.minDomains`,
        minDomains,
        `can only use minDomains if whenUnsatisfiable=DoNotSchedule, not ${whenUnsatisfiable}`,
      );
    const pair = `{${topologyKey}, ${whenUnsatisfiable}}`;
    if (seen.has(pair)) errors.duplicate(`${place}.{topologyKey, whenUnsatisfiable}`, pair);
    seen.add(pair);
    validateSelector(labelSelector, `${place}.labelSelector`, errors);
  }
}

function validateGates({ schedulingGates = [] }: PodSpec, field: string, errors: FieldErrors): void {
  const seen = new Set<string>();
  for (const [index, { name }] of schedulingGates.entries()) {
    errors.faults(`${field}[${index}]`, name, labelKeyFaults(name));
    if (seen.has(name)) errors.duplicate(`${field}[${index}]`, name);
    seen.add(name);
  }
}
