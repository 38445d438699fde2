/** The counts and revisions that `kubectl get statefulset` and `kubectl rollout status` read. */
import type { Pod, StatefulSetStatus } from '../../../kernel/contract/kubernetes.ts';
import { msUntilAvailable } from '../../../kernel/machinery/pod-status.ts';
import { revisionOf } from './pod-identity.ts';
import { isRollingUpdate } from './plan.ts';
import { isLeaving, isRunningAndReady, wantedReplicas, type SetView } from './set-view.ts';

export interface Revisions {
  readonly current: string;
  readonly update: string;
  readonly collisionCount: number;
}

/** And when the next pod will have been ready for minReadySeconds. */
export function statefulSetStatus(
  view: SetView,
  { current, update, collisionCount }: Revisions,
): { readonly status: StatefulSetStatus; readonly nextInMs: number | undefined } {
  const { set, now } = view;
  const pods: readonly Pod[] = [
    ...view.slots.map(({ pod }) => pod).filter((pod) => pod !== undefined),
    ...view.condemned,
  ];
  const staying = pods.filter((pod) => !isLeaving(pod));
  const ready = pods.filter(isRunningAndReady);
  const waits = ready.map((pod) => msUntilAvailable(pod, set.spec.minReadySeconds ?? 0, now) ?? Infinity);
  const pending = waits.filter((ms) => ms > 0 && ms !== Infinity);
  const wanted = wantedReplicas(set);
  const updatedReplicas = staying.filter((pod) => revisionOf(pod) === update).length;
  // The update is complete: its revision is the current one from now on.
  const isComplete =
    isRollingUpdate(set) && updatedReplicas === wanted && pods.length === wanted && ready.length === wanted;
  return {
    status: {
      ...(set.status?.conditions === undefined ? {} : { conditions: set.status.conditions }),
      observedGeneration: set.metadata.generation ?? 0,
      replicas: pods.length,
      readyReplicas: ready.length,
      availableReplicas: waits.filter((ms) => ms === 0).length,
      currentReplicas: isComplete ? updatedReplicas : staying.filter((pod) => revisionOf(pod) === current).length,
      updatedReplicas,
      currentRevision: isComplete ? update : current,
      updateRevision: update,
      collisionCount,
    },
    nextInMs: pending.length === 0 ? undefined : Math.min(...pending),
  };
}

export function isSameStatus(before: StatefulSetStatus | undefined, after: StatefulSetStatus): boolean {
  const counts = [
    'observedGeneration',
    'replicas',
    'readyReplicas',
    'availableReplicas',
    'currentReplicas',
    'updatedReplicas',
    'collisionCount',
  ] as const;
  return (
    before !== undefined &&
    counts.every((name) => (before[name] ?? 0) === (after[name] ?? 0)) &&
    before.currentRevision === after.currentRevision &&
    before.updateRevision === after.updateRevision
  );
}
