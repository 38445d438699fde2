/** The counts that `kubectl get daemonset` and `kubectl rollout status` read. */
import type { DaemonSetStatus } from '../../../kernel/contract/kubernetes.ts';
import { isPodReady, isPodTerminal, msUntilAvailable } from '../../../kernel/machinery/pod-status.ts';
import { isLeaving, isUpdated, type DaemonView } from './node-pods.ts';

/** And when the next pod will have been ready for minReadySeconds. */
export function daemonSetStatus(
  view: DaemonView,
  collisionCount: number,
): { readonly status: DaemonSetStatus; readonly nextInMs: number | undefined } {
  const { set, nodes, now } = view;
  let desired = 0;
  let scheduled = 0;
  let misscheduled = 0;
  let ready = 0;
  let available = 0;
  let updated = 0;
  let nextInMs: number | undefined;
  for (const { shouldRun, pods, exists } of nodes) {
    const [pod] = pods.toSorted((a, b) => Number(isGone(a)) - Number(isGone(b)));
    if (!shouldRun) {
      if (exists && pod !== undefined) misscheduled++;
      continue;
    }
    desired++;
    if (pod === undefined) continue;
    scheduled++;
    if (isUpdated(view, pod)) updated++;
    if (isPodTerminal(pod) || !isPodReady(pod)) continue;
    ready++;
    const ms = msUntilAvailable(pod, set.spec.minReadySeconds ?? 0, now);
    if (ms === 0) available++;
    else if (ms !== undefined) nextInMs = Math.min(ms, nextInMs ?? ms);
  }
  return {
    status: {
      ...(set.status?.conditions === undefined ? {} : { conditions: set.status.conditions }),
      ...(collisionCount === 0 ? {} : { collisionCount }),
      observedGeneration: set.metadata.generation ?? 0,
      desiredNumberScheduled: desired,
      currentNumberScheduled: scheduled,
      numberMisscheduled: misscheduled,
      numberReady: ready,
      updatedNumberScheduled: updated,
      numberAvailable: available,
      numberUnavailable: desired - available,
    },
    nextInMs,
  };
}

function isGone(pod: Parameters<typeof isLeaving>[0]): boolean {
  return isLeaving(pod) || isPodTerminal(pod);
}

export function isSameStatus(before: DaemonSetStatus | undefined, after: DaemonSetStatus): boolean {
  const names = [
    'observedGeneration',
    'desiredNumberScheduled',
    'currentNumberScheduled',
    'numberMisscheduled',
    'numberReady',
    'updatedNumberScheduled',
    'numberAvailable',
    'numberUnavailable',
    'collisionCount',
  ] as const;
  return before !== undefined && names.every((name) => (before[name] ?? 0) === (after[name] ?? 0));
}
