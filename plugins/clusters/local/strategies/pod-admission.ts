/** What Kubernetes' default admission plugins do to a new pod, beside ServiceAccount: Priority, DefaultTolerationSeconds. */
import type { Pod, PodSpec, ResourceRequirements } from '../../../../kernel/contract/kubernetes.ts';
import { parseQuantity } from '../../../../kernel/machinery/quantity.ts';
import { resources } from '../../../../kernel/machinery/resources.ts';
import { forbidden } from '../api-errors.ts';
import type { StrategyContext } from './strategy.ts';

const evictionTaints = ['node.kubernetes.io/not-ready', 'node.kubernetes.io/unreachable'];
const evictionSeconds = 300;

export function admitPriority(pod: Pod, context: StrategyContext): void {
  const { spec } = pod;
  const refuse = (why: string) => forbidden(resources.pods, pod.metadata.name, why);
  const name = spec.priorityClassName;
  const found = name
    ? context.find(resources.priorityClasses, { name })
    : context
        .all(resources.priorityClasses)
        .filter((candidate) => candidate.globalDefault)
        .sort((a, b) => (a.value ?? 0) - (b.value ?? 0))[0];
  if (name && !found) throw refuse(`no PriorityClass with name ${name} was found`);
  if (found) spec.priorityClassName = found.metadata.name;
  const value = found?.value ?? 0;
  if (spec.priority !== undefined && spec.priority !== value) {
    throw refuse(
      `the integer value of priority (${spec.priority}) must not be provided in pod spec; priority admission controller computed ${value} from the given PriorityClass name`,
    );
  }
  spec.priority = value;
  const policy = found?.preemptionPolicy ?? 'PreemptLowerPriority';
  if (spec.preemptionPolicy && spec.preemptionPolicy !== policy) {
    throw refuse(
      `the string value of PreemptionPolicy (${spec.preemptionPolicy}) must not be provided in pod spec; priority admission controller computed ${policy} from the given PriorityClass name`,
    );
  }
  spec.preemptionPolicy = policy;
}

export function admitTolerations({ spec }: Pod): void {
  for (const key of evictionTaints) {
    const isTolerated = spec.tolerations?.some(
      (toleration) =>
        (!toleration.key || toleration.key === key) && (!toleration.effect || toleration.effect === 'NoExecute'),
    );
    if (isTolerated) continue;
    spec.tolerations = [
      ...(spec.tolerations ?? []),
      { key, operator: 'Exists', effect: 'NoExecute', tolerationSeconds: evictionSeconds },
    ];
  }
}

const computed = ['cpu', 'memory'];

function isSet(list: Readonly<Record<string, string>> | undefined): boolean {
  return computed.some((name) => list?.[name] !== undefined && parseQuantity(list[name]) > 0);
}

function isGuaranteed({ limits = {}, requests = {} }: ResourceRequirements): boolean {
  return computed.every((name) => {
    const limit = limits[name];
    const request = requests[name] ?? limit;
    return limit !== undefined && parseQuantity(limit) > 0 && parseQuantity(request!) === parseQuantity(limit);
  });
}

/** The quality-of-service class that follows from requests and limits. */
export function qosClass(spec: PodSpec): 'Guaranteed' | 'Burstable' | 'BestEffort' {
  const all: ResourceRequirements[] =
    isSet(spec.resources?.requests) || isSet(spec.resources?.limits)
      ? [spec.resources!]
      : [...spec.containers, ...(spec.initContainers ?? [])].map((container) => container.resources ?? {});
  if (all.every(({ limits, requests }) => !isSet(limits) && !isSet(requests))) return 'BestEffort';
  return all.every(isGuaranteed) ? 'Guaranteed' : 'Burstable';
}
