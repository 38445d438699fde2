/** From what pods use to how many there should be. Pure; the rules are those of kube-controller-manager. */
import type { Pod } from '../../../kernel/contract/kubernetes.ts';
import { cpuMillis, parseQuantity } from '../../../kernel/machinery/quantity.ts';
import { groupPods, type PodUse, type StartUpTimes } from './pod-groups.ts';
import { isWithin, type Tolerance } from './tolerance.ts';

export interface ReplicaQuestion {
  readonly currentReplicas: number;
  readonly resource: string;
  /** Of a ContainerResource metric: this container alone. */
  readonly container?: string | undefined;
  readonly pods: readonly Pod[];
  readonly uses: ReadonlyMap<string, PodUse>;
  readonly tolerance: Tolerance;
  readonly times: StartUpTimes;
  readonly nowMs: number;
}

export interface ReplicaAnswer {
  readonly replicas: number;
  /** Percent of what was requested. */
  readonly utilization?: number | undefined;
  /** Mean use of a pod, in thousandths. */
  readonly averageValue: number;
}

/** An expected "cannot tell": its message is for the condition. */
export class CannotCompute extends Error {}

/** What a use is measured against: a share of the requests, or a value for each pod. */
interface Measure {
  readonly ratio: number;
  readonly utilization?: number | undefined;
  readonly averageValue: number;
}

export function replicasForUtilization(question: ReplicaQuestion, targetPercent: number): ReplicaAnswer {
  const requests = new Map<string, number>();
  return answer(
    question,
    () => {
      for (const pod of question.pods) requests.set(pod.metadata.name, requestOf(pod, question));
    },
    (uses) => {
      let used = 0;
      let requested = 0;
      let count = 0;
      for (const [name, value] of uses) {
        const request = requests.get(name);
        if (request === undefined) continue;
        used += value;
        requested += request;
        count++;
      }
      if (requested === 0) throw new CannotCompute('no metrics returned matched known pods');
      const utilization = Math.trunc((used * 100) / requested);
      return { ratio: utilization / targetPercent, utilization, averageValue: Math.trunc(used / count) };
    },
    (name) => ((requests.get(name) ?? 0) * Math.max(100, targetPercent)) / 100,
  );
}

/** `target` in thousandths. */
export function replicasForAverage(question: ReplicaQuestion, target: number): ReplicaAnswer {
  const measure = (uses: ReadonlyMap<string, number>): Measure => {
    const sum = [...uses.values()].reduce((total, value) => total + value, 0);
    const averageValue = Math.trunc(sum / uses.size);
    return { ratio: averageValue / target, averageValue };
  };
  return answer(
    question,
    () => undefined,
    measure,
    () => target,
  );
}

function answer(
  question: ReplicaQuestion,
  prepare: () => void,
  measure: (uses: ReadonlyMap<string, number>) => Measure,
  /** What a pod without figures is taken to use when that keeps it from being removed. */
  fallback: (name: string) => number,
): ReplicaAnswer {
  const { currentReplicas, pods, resource, tolerance } = question;
  if (pods.length === 0) throw new CannotCompute('no pods returned by selector while calculating replica count');
  const groups = groupPods(pods, question.uses, resource, question.times, question.nowMs);
  const known = new Set(pods.map((pod) => pod.metadata.name));
  const uses = new Map([...question.uses].flatMap(([name, { value }]) => (known.has(name) ? [[name, value]] : [])));
  for (const name of [...groups.ignored, ...groups.unready]) uses.delete(name);
  if (uses.size === 0) throw new CannotCompute('did not receive metrics for targeted pods (pods might be unready)');
  prepare();
  const now = measure(uses);
  const { utilization, averageValue } = now;
  const stay = { replicas: currentReplicas, utilization, averageValue };
  const withUnready = groups.unready.length > 0 && now.ratio > 1;
  if (!withUnready && groups.missing.length === 0) {
    if (isWithin(now.ratio, tolerance)) return stay;
    return { replicas: Math.ceil(now.ratio * groups.readyCount), utilization, averageValue };
  }
  // Who says nothing is taken for the opposite of what the others call for, so that silence never moves anything.
  if (now.ratio < 1) for (const name of groups.missing) uses.set(name, fallback(name));
  else if (now.ratio > 1) for (const name of groups.missing) uses.set(name, 0);
  if (withUnready) for (const name of groups.unready) uses.set(name, 0);
  const { ratio } = measure(uses);
  if (isWithin(ratio, tolerance) || (now.ratio < 1 && ratio > 1) || (now.ratio > 1 && ratio < 1)) return stay;
  const replicas = Math.ceil(ratio * uses.size);
  if ((ratio < 1 && replicas > currentReplicas) || (ratio > 1 && replicas < currentReplicas)) return stay;
  return { replicas, utilization, averageValue };
}

/** What a pod's containers, or one of them, request, in thousandths. */
function requestOf(pod: Pod, { resource, container }: ReplicaQuestion): number {
  const sidecars = (pod.spec.initContainers ?? []).filter(({ restartPolicy }) => restartPolicy === 'Always');
  let sum = 0;
  for (const { name, resources } of [...pod.spec.containers, ...sidecars]) {
    if (container !== undefined && name !== container) continue;
    const request = resources?.requests?.[resource] ?? resources?.limits?.[resource];
    if (request === undefined)
      throw new CannotCompute(`missing request for ${resource} in container ${name} of Pod ${pod.metadata.name}`);
    sum += thousandths(request);
  }
  return sum;
}

export function thousandths(quantity: string): number {
  // cpuMillis is exact and rounds up; a large amount of memory goes beyond what it can hold exactly, which is no matter.
  const exact = cpuMillis(quantity);
  return Number.isSafeInteger(exact) ? exact : Math.round(parseQuantity(quantity) * 1000);
}
