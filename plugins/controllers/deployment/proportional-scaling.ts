/**
 * A Deployment that is scaled in the middle of a rollout: the change is shared among its ReplicaSets in proportion to
 * their size, so that a rollout that hangs does not get all of the new pods.
 */
import type { Deployment, ReplicaSet } from '../../../kernel/contract/kubernetes.ts';
import { annotations, isActive, maxSurge, oldestFirst, specReplicas, wantedReplicas } from './rollout-math.ts';

const size = (set: ReplicaSet) => set.spec.replicas ?? 1;

/** New sizes of the active ReplicaSets. */
export function proportionalSizes(
  deployment: Deployment,
  sets: readonly ReplicaSet[],
): ReadonlyMap<ReplicaSet, number> {
  const active = sets.filter(isActive);
  const wanted = wantedReplicas(deployment);
  const allowed = wanted > 0 ? wanted + maxSurge(deployment) : 0;
  const toAdd = allowed - specReplicas(active);
  // The largest first; of equals the newest when growing, the oldest when shrinking.
  const ordered = active.toSorted((a, b) => size(b) - size(a) || (toAdd > 0 ? oldestFirst(b, a) : oldestFirst(a, b)));
  const sizes = new Map<ReplicaSet, number>();
  let added = 0;
  for (const set of ordered) {
    const share = toAdd === 0 ? 0 : proportion(set, deployment, toAdd, added);
    sizes.set(set, size(set) + share);
    added += share;
  }
  const [largest] = ordered;
  if (largest !== undefined && toAdd !== 0) sizes.set(largest, Math.max(0, (sizes.get(largest) ?? 0) + toAdd - added));
  return sizes;
}

function proportion(set: ReplicaSet, deployment: Deployment, toAdd: number, added: number): number {
  if (size(set) === 0 || toAdd === added) return 0;
  const fraction = fractionOf(set, deployment);
  const rest = toAdd - added;
  return toAdd > 0 ? Math.min(fraction, rest) : Math.max(fraction, rest);
}

/** How much this ReplicaSet would change if it kept its share of the Deployment's maximum. */
function fractionOf(set: ReplicaSet, deployment: Deployment): number {
  const wanted = wantedReplicas(deployment);
  if (wanted === 0) return -size(set);
  const before = Number(set.metadata.annotations?.[annotations.maxReplicas] ?? deployment.status?.replicas ?? 0);
  if (!(before > 0)) return 0;
  return Math.round((size(set) * (wanted + maxSurge(deployment))) / before) - size(set);
}
