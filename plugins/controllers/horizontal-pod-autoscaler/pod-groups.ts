/** Which pods' figures count: kube-controller-manager's rules for pods that are young, not ready, ending or unmeasured. */
import type { Pod } from '../../../kernel/contract/kubernetes.ts';
import { findCondition } from '../../../kernel/machinery/metadata.ts';

/** What one pod uses, in thousandths (of a core, of a byte). */
export interface PodUse {
  readonly value: number;
  readonly timeMs: number;
  readonly windowMs: number;
}

export interface StartUpTimes {
  /** So long after its start a pod's CPU use counts only when it was measured while the pod was ready. */
  readonly cpuInitializationMs: number;
  /** A pod that was never ready, and became unready no later than this after its start, has not started yet. */
  readonly initialReadinessMs: number;
}

export interface PodGroups {
  readonly readyCount: number;
  readonly unready: readonly string[];
  readonly missing: readonly string[];
  readonly ignored: readonly string[];
}

export function groupPods(
  pods: readonly Pod[],
  uses: ReadonlyMap<string, PodUse>,
  resource: string,
  times: StartUpTimes,
  nowMs: number,
): PodGroups {
  const unready: string[] = [];
  const missing: string[] = [];
  const ignored: string[] = [];
  let readyCount = 0;
  for (const pod of pods) {
    const { name } = pod.metadata;
    if (pod.metadata.deletionTimestamp !== undefined || pod.status?.phase === 'Failed') ignored.push(name);
    else if (pod.status?.phase === 'Pending') unready.push(name);
    else {
      const use = uses.get(name);
      if (use === undefined) missing.push(name);
      else if (resource === 'cpu' && isStarting(pod, use, times, nowMs)) unready.push(name);
      else readyCount++;
    }
  }
  return { readyCount, unready, missing, ignored };
}

function isStarting(pod: Pod, use: PodUse, times: StartUpTimes, nowMs: number): boolean {
  const condition = findCondition(pod.status?.conditions, 'Ready');
  const startTime = pod.status?.startTime;
  if (condition === undefined || startTime === undefined) return true;
  const startMs = Date.parse(startTime);
  const movedMs = Date.parse(condition.lastTransitionTime ?? startTime);
  const isUnready = condition.status === 'False';
  if (startMs + times.cpuInitializationMs > nowMs) return isUnready || use.timeMs < movedMs + use.windowMs;
  return isUnready && startMs + times.initialReadinessMs > movedMs;
}
