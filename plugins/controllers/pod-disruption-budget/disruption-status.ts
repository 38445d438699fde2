/** From a budget and its pods to the number that the eviction subresource goes by. */
import type { Pod, PodDisruptionBudget, PodDisruptionBudgetStatus } from '../../../kernel/contract/kubernetes.ts';
import { apiTime } from '../../../kernel/machinery/clock.ts';
import { intOrPercent } from '../../../kernel/machinery/int-or-percent.ts';
import { setCondition } from '../../../kernel/machinery/metadata.ts';
import { isPodReady } from '../../../kernel/machinery/pod-status.ts';
import { stableText } from '../../../kernel/machinery/stable-text.ts';
import type { ExpectedScale } from './expected-scale.ts';

export interface DisruptionInput {
  readonly budget: PodDisruptionBudget;
  /** All pods that the budget selects. */
  readonly pods: readonly Pod[];
  /** Asked only when the budget needs it. */
  readonly scale: () => ExpectedScale;
  readonly evictionTimeoutMs: number;
  readonly now: number;
}

export interface Disruption {
  readonly status: PodDisruptionBudgetStatus;
  /** When an eviction that has not happened is to be forgotten. */
  readonly nextInMs: number | undefined;
  /** Evicted pods that stayed. */
  readonly overdue: readonly Pod[];
  readonly unmanaged: readonly Pod[];
  readonly fault: string | undefined;
}

export function disruption(input: DisruptionInput): Disruption {
  const { budget, pods, evictionTimeoutMs, now } = input;
  const disruptedPods: Record<string, string> = {};
  const overdue: Pod[] = [];
  let nextInMs: number | undefined;
  for (const pod of pods) {
    const evictedAt = budget.status?.disruptedPods?.[pod.metadata.name];
    if (evictedAt === undefined || pod.metadata.deletionTimestamp !== undefined) continue;
    const left = Date.parse(evictedAt) + evictionTimeoutMs - now;
    if (left <= 0) overdue.push(pod);
    else {
      disruptedPods[pod.metadata.name] = evictedAt;
      nextInMs = Math.min(left, nextInMs ?? left);
    }
  }
  const currentHealthy = pods.filter(
    (pod) =>
      isPodReady(pod) &&
      pod.metadata.deletionTimestamp === undefined &&
      !Object.hasOwn(disruptedPods, pod.metadata.name),
  ).length;
  const { expectedPods, desiredHealthy, unmanaged, fault } = goal(input);
  const spare = currentHealthy - desiredHealthy;
  const disruptionsAllowed = fault !== undefined || expectedPods <= 0 ? 0 : Math.max(0, spare);
  const condition =
    fault !== undefined
      ? { status: 'False', reason: 'SyncFailed', message: fault }
      : disruptionsAllowed > 0
        ? { status: 'True', reason: 'SufficientPods', message: '' }
        : { status: 'False', reason: 'InsufficientPods', message: '' };
  const observedGeneration = budget.metadata.generation ?? 0;
  const before = (budget.status?.conditions ?? []).map((known) =>
    known.type === 'DisruptionAllowed' ? { ...known, observedGeneration } : known,
  );
  const conditions = setCondition(
    before,
    { type: 'DisruptionAllowed', ...condition, observedGeneration, lastTransitionTime: apiTime(now) },
    apiTime(now),
  );
  return {
    status: {
      observedGeneration,
      ...(Object.keys(disruptedPods).length === 0 ? {} : { disruptedPods }),
      disruptionsAllowed,
      currentHealthy,
      desiredHealthy,
      expectedPods,
      conditions: [...conditions],
    },
    nextInMs,
    overdue,
    unmanaged,
    fault,
  };
}

function goal({ budget, pods, scale }: DisruptionInput): {
  readonly expectedPods: number;
  readonly desiredHealthy: number;
  readonly unmanaged: readonly Pod[];
  readonly fault: string | undefined;
} {
  const { minAvailable, maxUnavailable } = budget.spec;
  if (typeof minAvailable === 'number')
    return { expectedPods: pods.length, desiredHealthy: minAvailable, unmanaged: [], fault: undefined };
  if (minAvailable === undefined && maxUnavailable === undefined)
    return { expectedPods: 0, desiredHealthy: 0, unmanaged: [], fault: undefined };
  const { pods: expectedPods, unmanaged, fault } = scale();
  // Shares round towards safety: at least so many stay, and at most so many and a part go.
  const desiredHealthy =
    minAvailable !== undefined
      ? intOrPercent(minAvailable, expectedPods, Math.ceil)
      : Math.max(0, expectedPods - intOrPercent(maxUnavailable, expectedPods, Math.ceil));
  return { expectedPods, desiredHealthy, unmanaged, fault };
}

export function isSameStatus(before: PodDisruptionBudgetStatus | undefined, after: PodDisruptionBudgetStatus): boolean {
  return plain(before) === plain(after);
}

function plain({
  observedGeneration = 0,
  disruptedPods = {},
  disruptionsAllowed = 0,
  currentHealthy = 0,
  desiredHealthy = 0,
  expectedPods = 0,
  conditions = [],
}: PodDisruptionBudgetStatus = {}): string {
  const counts = [observedGeneration, disruptionsAllowed, currentHealthy, desiredHealthy, expectedPods];
  return stableText([counts, disruptedPods, conditions]);
}
