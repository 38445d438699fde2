/** Which pods go first when a set of replicas shrinks: those whose loss hurts least. */
import type { Pod } from '../../contract/kubernetes.ts';
import { findCondition } from '../metadata.ts';
import { isPodReady } from '../pod-status.ts';

const phaseRank: Readonly<Record<string, number>> = { Pending: 0, Unknown: 1, Running: 2 };

/** Negative: `a` goes before `b`. */
type Order = (a: Pod, b: Pod) => number;

/**
 * In this order: unassigned, pending, unknown, not ready, cheap to delete, crowded on its node, ready for a shorter time
 * (on a logarithmic scale, so that a rolling update does not always hit the same zone), restarted more, younger.
 */
export function byDeletionOrder(pods: readonly Pod[], related: readonly Pod[], now: number): readonly Pod[] {
  const crowd = new Map<string, number>();
  for (const { spec } of related)
    if (spec.nodeName !== undefined) crowd.set(spec.nodeName, (crowd.get(spec.nodeName) ?? 0) + 1);
  const orders: readonly Order[] = [
    ascending((pod) => (pod.spec.nodeName === undefined || pod.spec.nodeName === '' ? 0 : 1)),
    ascending((pod) => phaseRank[pod.status?.phase ?? 'Pending'] ?? 1),
    ascending((pod) => (isPodReady(pod) ? 1 : 0)),
    ascending(deletionCost),
    ascending((pod) => -(crowd.get(pod.spec.nodeName ?? '') ?? 0)),
    ascending((pod) => ageRank(findCondition(pod.status?.conditions, 'Ready')?.lastTransitionTime, now)),
    ascending((pod) => -restarts(pod)),
    ascending((pod) => ageRank(pod.metadata.creationTimestamp, now)),
    (a, b) => (a.metadata.uid < b.metadata.uid ? -1 : 1),
  ];
  return pods.toSorted((a, b) => {
    for (const order of orders) {
      const result = order(a, b);
      if (result !== 0) return result;
    }
    return 0;
  });
}

function ascending(rank: (pod: Pod) => number): Order {
  return (a, b) => rank(a) - rank(b);
}

/** An annotation that is no integer counts as none. */
function deletionCost(pod: Pod): number {
  const text = pod.metadata.annotations?.['controller.kubernetes.io/pod-deletion-cost'] ?? '0';
  return /^-?\d{1,10}$/.test(text) ? Number(text) : 0;
}

function ageRank(since: string | undefined, now: number): number {
  if (since === undefined) return 0;
  const ms = now - Date.parse(since);
  return ms > 0 ? Math.floor(Math.log2(ms)) : 0;
}

function restarts(pod: Pod): number {
  return Math.max(0, ...(pod.status?.containerStatuses ?? []).map((status) => status.restartCount));
}
