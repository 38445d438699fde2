/** The pods of one StatefulSet, each in its place. */
import type { Pod, StatefulSet } from '../../../kernel/contract/kubernetes.ts';
import { isPodReady, isPodTerminal, msUntilAvailable } from '../../../kernel/machinery/pod-status.ts';
import { ordinalOf } from './pod-identity.ts';

export interface Slot {
  readonly ordinal: number;
  readonly pod: Pod | undefined;
}

export interface SetView {
  readonly set: StatefulSet;
  /** One for each wanted replica, ascending. */
  readonly slots: readonly Slot[];
  /** Pods that the set has no place for, the highest ordinal first. */
  readonly condemned: readonly Pod[];
  readonly now: number;
}

export function firstOrdinal({ spec }: StatefulSet): number {
  return spec.ordinals?.start ?? 0;
}

export function wantedReplicas({ spec }: StatefulSet): number {
  return spec.replicas ?? 1;
}

export function setView(set: StatefulSet, pods: readonly Pod[], now: number): SetView {
  const first = firstOrdinal(set);
  const wanted = wantedReplicas(set);
  const byOrdinal = new Map<number, Pod>();
  for (const pod of pods) {
    const ordinal = ordinalOf(set, pod);
    if (ordinal !== undefined) byOrdinal.set(ordinal, pod);
  }
  const slots = Array.from({ length: wanted }, (_, index) => ({
    ordinal: first + index,
    pod: byOrdinal.get(first + index),
  }));
  const condemned = [...byOrdinal]
    .filter(([ordinal]) => ordinal < first || ordinal >= first + wanted)
    .toSorted(([a], [b]) => b - a)
    .map(([, pod]) => pod);
  return { set, slots, condemned, now };
}

export function isLeaving(pod: Pod): boolean {
  return pod.metadata.deletionTimestamp !== undefined;
}

export function isRunningAndReady(pod: Pod): boolean {
  return !isPodTerminal(pod) && isPodReady(pod);
}

/** Ready for minReadySeconds, and there to stay. */
export function isAvailable({ set, now }: SetView, pod: Pod): boolean {
  return isRunningAndReady(pod) && !isLeaving(pod) && msUntilAvailable(pod, set.spec.minReadySeconds ?? 0, now) === 0;
}
