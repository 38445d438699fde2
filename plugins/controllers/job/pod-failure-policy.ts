/** What spec.podFailurePolicy says of a pod that failed: the first rule that matches counts. */
import type { ContainerStatus, Job, Pod, PodFailurePolicyRule } from '../../../kernel/contract/kubernetes.ts';

export type FailureAction = 'FailJob' | 'FailIndex' | 'Ignore' | 'Count';

export interface FailureVerdict {
  readonly action: FailureAction;
  /** For FailJob: the message of the Job's condition. */
  readonly message: string;
}

const counted: FailureVerdict = { action: 'Count', message: '' };

export function judgeFailure(job: Job, pod: Pod): FailureVerdict {
  for (const [index, rule] of (job.spec.podFailurePolicy?.rules ?? []).entries()) {
    const what = matchExitCodes(rule, pod) ?? matchConditions(rule, pod);
    if (what === undefined) continue;
    return { action: rule.action as FailureAction, message: `${what} matching ${rule.action} rule at index ${index}` };
  }
  return counted;
}

function matchExitCodes({ onExitCodes }: PodFailurePolicyRule, pod: Pod): string | undefined {
  if (onExitCodes === undefined) return undefined;
  const { containerName, operator, values } = onExitCodes;
  const statuses: readonly ContainerStatus[] = [
    ...(pod.status?.containerStatuses ?? []),
    ...(pod.status?.initContainerStatuses ?? []),
  ];
  const isMatch = (code: number) => values.includes(code) === (operator === 'In');
  for (const { name, state } of statuses) {
    const code = state?.terminated?.exitCode ?? 0;
    if (code === 0 || (containerName !== undefined && containerName !== name) || !isMatch(code)) continue;
    return `Container ${name} for pod ${pod.metadata.namespace}/${pod.metadata.name} failed with exit code ${code}`;
  }
  return undefined;
}

function matchConditions({ onPodConditions = [] }: PodFailurePolicyRule, pod: Pod): string | undefined {
  for (const { type, status = 'True' } of onPodConditions)
    if (pod.status?.conditions?.some((condition) => condition.type === type && condition.status === status) === true)
      return `Pod ${pod.metadata.namespace}/${pod.metadata.name} has condition ${type}`;
  return undefined;
}
