/**
 * What one pass does. In order, that is one thing at a time, and only while everything before it is available; in
 * parallel, everything that is to be created or removed at once. An update replaces pods from the highest ordinal down.
 */
import type { Pod, StatefulSet } from '../../../kernel/contract/kubernetes.ts';
import { intOrPercent } from '../../../kernel/machinery/int-or-percent.ts';
import { isPodTerminal } from '../../../kernel/machinery/pod-status.ts';
import { ordinalOf, revisionOf } from './pod-identity.ts';
import { firstOrdinal, isAvailable, isLeaving, isRunningAndReady, type SetView } from './set-view.ts';

export interface Plan {
  /** Ordinals. */
  readonly create: readonly number[];
  /** Pods that have ended and whose place is wanted. */
  readonly restart: readonly Pod[];
  /** Pods without a place. */
  readonly remove: readonly Pod[];
  /** Pods of an older template. */
  readonly replace: readonly Pod[];
}

export function isRollingUpdate({ spec }: StatefulSet): boolean {
  return (spec.updateStrategy?.type ?? 'RollingUpdate') === 'RollingUpdate';
}

function isOrdered({ spec }: StatefulSet): boolean {
  return spec.podManagementPolicy !== 'Parallel';
}

export function partitionOf({ spec }: StatefulSet): number | undefined {
  return spec.updateStrategy?.rollingUpdate?.partition;
}

const nothing: Plan = { create: [], restart: [], remove: [], replace: [] };

export function plan(view: SetView, updateRevision: string): Plan {
  return isOrdered(view.set) ? orderedPlan(view, updateRevision) : parallelPlan(view, updateRevision);
}

function orderedPlan(view: SetView, updateRevision: string): Plan {
  for (const { ordinal, pod } of view.slots) {
    if (pod === undefined) return { ...nothing, create: [ordinal] };
    if (isLeaving(pod)) return nothing;
    if (isPodTerminal(pod)) return { ...nothing, restart: [pod] };
    // It may be the broken pod of a bad template; it has to be mended or deleted by hand, as in Kubernetes.
    if (!isAvailable(view, pod)) return nothing;
  }
  const [last] = view.condemned;
  if (last !== undefined) {
    const firstUnhealthy = view.condemned.findLast((pod) => !isRunningAndReady(pod) || isLeaving(pod));
    const mayGo = !isLeaving(last) && (isRunningAndReady(last) || last === firstUnhealthy);
    return mayGo ? { ...nothing, remove: [last] } : nothing;
  }
  return { ...nothing, replace: outdated(view, updateRevision) };
}

function parallelPlan(view: SetView, updateRevision: string): Plan {
  const create: number[] = [];
  const restart: Pod[] = [];
  for (const { ordinal, pod } of view.slots) {
    if (pod === undefined) create.push(ordinal);
    else if (isPodTerminal(pod) && !isLeaving(pod)) restart.push(pod);
  }
  const remove = view.condemned.filter((pod) => !isLeaving(pod));
  const isBusy = create.length > 0 || restart.length > 0;
  return { create, restart, remove, replace: isBusy ? [] : outdated(view, updateRevision) };
}

function outdated(view: SetView, updateRevision: string): readonly Pod[] {
  const { set } = view;
  if (!isRollingUpdate(set)) return [];
  const from = firstOrdinal(set) + (partitionOf(set) ?? 0);
  const pods = view.slots.map(({ pod }) => pod).filter((pod) => pod !== undefined);
  const candidates = pods.filter((pod) => (ordinalOf(set, pod) ?? 0) >= from).toReversed();
  const { maxUnavailable } = set.spec.updateStrategy?.rollingUpdate ?? {};
  const limit = Math.max(1, intOrPercent(maxUnavailable, view.slots.length, Math.ceil, 1));
  if (limit > 1) {
    const unavailable = pods.filter((pod) => !isAvailable(view, pod)).length;
    const old = candidates.filter((pod) => revisionOf(pod) !== updateRevision && !isLeaving(pod));
    return old.slice(0, Math.max(0, limit - unavailable));
  }
  for (const pod of candidates) {
    if (revisionOf(pod) !== updateRevision && !isLeaving(pod)) return [pod];
    if (!isAvailable(view, pod)) return [];
  }
  return [];
}
