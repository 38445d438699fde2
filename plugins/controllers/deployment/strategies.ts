/** What one pass does to the ReplicaSets: RollingUpdate, Recreate, and a change of scale. */
import { isPodTerminal } from '../../../kernel/machinery/pod-status.ts';
import type { Rollout } from './rollout.ts';
import { proportionalSizes } from './proportional-scaling.ts';
import { ensureNewSet } from './new-replica-set.ts';
import {
  annotations,
  isActive,
  isComplete,
  isRollingUpdate,
  maxUnavailable,
  newSetReplicas,
  specReplicas,
  statusSum,
  wantedReplicas,
} from './rollout-math.ts';

/** Up as far as maxSurge allows, then down as far as maxUnavailable allows: one of the two a pass. */
export async function rollingUpdate(rollout: Rollout): Promise<void> {
  await ensureNewSet(rollout, true);
  if (await scaleNewSet(rollout)) return;
  if (await scaleOldSets(rollout)) return;
  if (isComplete(rollout.deployment)) await rollout.deleteOldRevisions();
}

/** First all the old pods go, then the new ones come. */
export async function recreate(rollout: Rollout): Promise<void> {
  await ensureNewSet(rollout, false);
  let isScaled = false;
  for (const set of rollout.oldSets.filter(isActive)) isScaled = (await rollout.scale(set, 0)) || isScaled;
  if (isScaled || hasOldPods(rollout)) return;
  await ensureNewSet(rollout, true);
  const { newSet } = rollout;
  if (newSet !== undefined) await rollout.scale(newSet, wantedReplicas(rollout.deployment));
  if (isComplete(rollout.deployment)) await rollout.deleteOldRevisions();
}

/** While paused, and when `spec.replicas` changed: sizes change, templates do not. */
export async function rescale(rollout: Rollout): Promise<void> {
  await ensureNewSet(rollout, false);
  const { deployment, newSet, oldSets, sets } = rollout;
  const wanted = wantedReplicas(deployment);
  const active = sets.filter(isActive);
  const only = active.length === 1 ? active[0] : active.length === 0 ? (newSet ?? oldSets.at(-1)) : undefined;
  if (only !== undefined) await rollout.scale(only, wanted);
  else if (isSaturated(rollout) || (!isRollingUpdate(deployment) && deployment.spec.paused !== true))
    for (const set of oldSets.filter(isActive)) await rollout.scale(set, 0);
  else if (isRollingUpdate(deployment))
    for (const [set, size] of proportionalSizes(deployment, sets)) await rollout.scale(set, size);
  if (deployment.spec.paused === true) await rollout.deleteOldRevisions();
}

/** True when the wanted number was changed since the ReplicaSets were last scaled. */
export function isScalingEvent({ deployment, sets }: Rollout): boolean {
  return sets.filter(isActive).some((set) => {
    const desired = set.metadata.annotations?.[annotations.desiredReplicas];
    return desired !== undefined && Number(desired) !== wantedReplicas(deployment);
  });
}

function isSaturated({ deployment, newSet }: Rollout): boolean {
  if (newSet === undefined) return false;
  const wanted = wantedReplicas(deployment);
  const desired = Number(newSet.metadata.annotations?.[annotations.desiredReplicas]);
  return newSet.spec.replicas === wanted && desired === wanted && newSet.status?.availableReplicas === wanted;
}

function hasOldPods(rollout: Rollout): boolean {
  return (
    statusSum(rollout.oldSets, 'replicas') > 0 ||
    rollout.oldSets.some((set) => rollout.options.podsOf(set).some((pod) => !isPodTerminal(pod)))
  );
}

async function scaleNewSet(rollout: Rollout): Promise<boolean> {
  const { deployment, newSet } = rollout;
  if (newSet === undefined) return false;
  const current = newSet.spec.replicas ?? 1;
  const wanted = wantedReplicas(deployment);
  const size = current > wanted ? wanted : newSetReplicas(deployment, rollout.sets, current);
  return rollout.scale(newSet, size);
}

async function scaleOldSets(rollout: Rollout): Promise<boolean> {
  const { deployment, newSet } = rollout;
  if (specReplicas(rollout.oldSets) === 0) return false;
  const minAvailable = wantedReplicas(deployment) - maxUnavailable(deployment);
  const newUnavailable = (newSet?.spec.replicas ?? 0) - (newSet?.status?.availableReplicas ?? 0);
  const mayGo = specReplicas(rollout.sets) - minAvailable - newUnavailable;
  if (mayGo <= 0) return false;
  // Pods that are not available anyway go first: their loss costs nothing, and they might never become so.
  let cleaned = 0;
  let isScaled = false;
  for (const set of rollout.oldSets.filter(isActive)) {
    const size = set.spec.replicas ?? 1;
    const count = Math.min(mayGo - cleaned, size - (set.status?.availableReplicas ?? 0));
    if (count <= 0) continue;
    cleaned += count;
    isScaled = (await rollout.scale(set, size - count)) || isScaled;
  }
  let spare = statusSum(rollout.sets, 'availableReplicas') - minAvailable;
  for (const set of rollout.oldSets.filter(isActive)) {
    const size = set.spec.replicas ?? 1;
    const count = Math.min(size, spare);
    if (count <= 0) continue;
    spare -= count;
    isScaled = (await rollout.scale(set, size - count)) || isScaled;
  }
  return isScaled;
}
