/** Scores of one node for one pod class, each 0 (worst) to 100 (best). */
import type { NodeState, PodClass } from '../../contract/index.ts';
import { nodePreference } from './node-selection.ts';
import { dislikedTaints } from './taints.ts';

export type Score = (pod: PodClass, node: NodeState) => number;

/**
 * `pods` counts beside cpu and memory, so that pods without requests spread (or pack) as well. kube-scheduler assumes
 * 100m and 200 MB for such pods to the same end.
 */
const weighed = ['cpu', 'memory', 'pods'] as const;

function allocatedPart(pod: PodClass, node: NodeState): number {
  let sum = 0;
  let count = 0;
  for (const name of weighed) {
    const has = node.allocatable[name] ?? 0;
    if (has <= 0) continue;
    const used = (node.requested[name] ?? 0) + (pod.requests[name] ?? 0);
    sum += Math.min(1, used / has);
    count++;
  }
  return count === 0 ? 0 : sum / count;
}

/** The emptier the node with this pod on it, the better. */
export const leastAllocated: Score = (pod, node) => 100 * (1 - allocatedPart(pod, node));

/** The fuller the node with this pod on it, the better. */
export const mostAllocated: Score = (pod, node) => 100 * allocatedPart(pod, node);

/** 100 when every preferred term matches, or when there is none. */
export const preferredNode: Score = ({ pod }, { node }) => 100 * (nodePreference(pod, node) ?? 1);

/** 100 without an untolerated PreferNoSchedule taint, 50 with one, 33 with two ... */
export const preferredTaints: Score = ({ pod }, { node }) => 100 / (1 + dislikedTaints(node, pod.spec.tolerations));
