/** When a Job has failed or is done, as it says itself: what its policies may say, and what goes together. */
import type {
  JobSpec,
  PodFailurePolicyOnExitCodesRequirement,
  PodFailurePolicyRule,
} from '../../../../kernel/contract/kubernetes.ts';
import type { FieldErrors } from '../validation/field-errors.ts';

const maxRules = 20;
const maxExitCodes = 255;

export function validateJobPolicies(spec: JobSpec, field: string, errors: FieldErrors): void {
  const isIndexed = spec.completionMode === 'Indexed';
  if (spec.backoffLimitPerIndex !== undefined && !isIndexed)
    errors.invalid(`${field}.backoffLimitPerIndex`, spec.backoffLimitPerIndex, 'requires indexed completion mode');
  if (spec.maxFailedIndexes !== undefined && spec.backoffLimitPerIndex === undefined)
    errors.required(`${field}.backoffLimitPerIndex`, 'when maxFailedIndexes is specified');
  if (spec.podFailurePolicy) validateFailurePolicy(spec, field, errors);
  if (spec.successPolicy) validateSuccessPolicy(spec, field, errors);
}

function validateFailurePolicy(spec: JobSpec, field: string, errors: FieldErrors): void {
  const policy = spec.template?.spec?.restartPolicy;
  if (policy !== undefined && policy !== 'Never') {
    const only = 'only "Never" is supported when podFailurePolicy is specified';
    errors.invalid(`${field}.template.spec.restartPolicy`, policy, only);
  }
  if (spec.podReplacementPolicy !== undefined && spec.podReplacementPolicy !== 'Failed')
    errors.notSupported(`${field}.podReplacementPolicy`, spec.podReplacementPolicy, ['Failed']);
  const { rules = [] } = spec.podFailurePolicy ?? {};
  const path = `${field}.podFailurePolicy.rules`;
  if (rules.length > maxRules) errors.invalid(path, rules.length, `must have at most ${maxRules} items`);
  const { containers = [], initContainers = [] } = spec.template?.spec ?? {};
  const names = new Set([...containers, ...initContainers].map(({ name }) => name));
  for (const [index, rule] of rules.entries()) {
    const at = `${path}[${index}]`;
    if (rule.action === 'FailIndex' && spec.backoffLimitPerIndex === undefined)
      errors.invalid(`${at}.action`, rule.action, 'requires the backoffLimitPerIndex to be set');
    validateRule(rule, at, names, errors);
  }
}

function validateRule(
  { action, onExitCodes, onPodConditions }: PodFailurePolicyRule,
  at: string,
  names: ReadonlySet<string>,
  errors: FieldErrors,
): void {
  if (!action) errors.required(`${at}.action`);
  else errors.oneOf(`${at}.action`, action, ['Count', 'FailIndex', 'FailJob', 'Ignore']);
  const hasConditions = onPodConditions !== undefined && onPodConditions.length > 0;
  if (onExitCodes && hasConditions)
    errors.invalid(at, 'both', 'specifying both OnExitCodes and OnPodConditions is not supported');
  if (!onExitCodes && !hasConditions)
    errors.invalid(at, 'none', 'specifying one of OnExitCodes and OnPodConditions is required');
  if (onExitCodes) validateExitCodes(onExitCodes, `${at}.onExitCodes`, names, errors);
  for (const [index, { type, status }] of (onPodConditions ?? []).entries()) {
    if (!type) errors.required(`${at}.onPodConditions[${index}].type`);
    errors.oneOf(`${at}.onPodConditions[${index}].status`, status, ['False', 'True', 'Unknown']);
  }
}

function validateExitCodes(
  { containerName, operator, values: given }: PodFailurePolicyOnExitCodesRequirement,
  at: string,
  names: ReadonlySet<string>,
  errors: FieldErrors,
): void {
  // Rules see objects that lack what the schema requires, too.
  const values = (given as readonly number[] | undefined) ?? [];
  if (!operator) errors.required(`${at}.operator`);
  else errors.oneOf(`${at}.operator`, operator, ['In', 'NotIn']);
  if (containerName !== undefined && !names.has(containerName)) {
    const known = 'must be one of the container or initContainer names in the pod template';
    errors.invalid(`${at}.containerName`, containerName, known);
  }
  if (values.length === 0) errors.invalid(`${at}.values`, values, 'at least one value is required');
  if (values.length > maxExitCodes)
    errors.invalid(`${at}.values`, values.length, `must have at most ${maxExitCodes} items`);
  const isOrdered = values.every((value, index) => index === 0 || values[index - 1]! <= value);
  if (!isOrdered) errors.invalid(`${at}.values`, values, 'must be ordered');
  for (const [index, value] of values.entries()) {
    if (operator === 'In' && value === 0)
      errors.invalid(`${at}.values[${index}]`, value, 'must not be 0 for the In operator');
    if (values.indexOf(value) < index) errors.duplicate(`${at}.values[${index}]`, value);
  }
}

function validateSuccessPolicy(spec: JobSpec, field: string, errors: FieldErrors): void {
  const { rules = [] } = spec.successPolicy ?? {};
  const path = `${field}.successPolicy`;
  if (spec.completionMode !== 'Indexed') errors.invalid(path, rules, 'requires indexed completion mode');
  if (rules.length === 0)
    errors.required(`${path}.rules`, 'at least one rules must be specified when the successPolicy is specified');
  if (rules.length > maxRules) errors.invalid(`${path}.rules`, rules.length, `must have at most ${maxRules} items`);
  for (const [index, { succeededCount, succeededIndexes }] of rules.entries()) {
    const at = `${path}.rules[${index}]`;
    if (succeededCount === undefined && succeededIndexes === undefined)
      errors.required(at, 'at least one of succeededCount or succeededIndexes must be specified');
    errors.range(`${at}.succeededCount`, succeededCount, 1, Number.MAX_SAFE_INTEGER);
    if (succeededCount !== undefined && spec.completions !== undefined && succeededCount > spec.completions)
      errors.invalid(
        `${at}.succeededCount`,
        succeededCount,
        `must be less than or equal to ${spec.completions} (the number of specified completions)`,
      );
  }
}
