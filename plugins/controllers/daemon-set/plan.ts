/** One pod on every node that should have one, and none elsewhere: what to create and delete for that. */
import type { Pod } from '../../../kernel/contract/kubernetes.ts';
import { isPodReady, isPodTerminal } from '../../../kernel/machinery/pod-status.ts';
import { isAvailable, isLeaving, isUpdated, type DaemonView, type NodePods } from './node-pods.ts';
import { rollingLimits, type Plan } from './rolling-update.ts';

/** `mayReplace`: false while a pod that failed has to wait before it is replaced. Called once for each ended pod. */
export function placementPlan(view: DaemonView, mayReplace: (node: string, pod: Pod) => boolean): Plan {
  const wanted = view.nodes.filter(({ shouldRun }) => shouldRun).length;
  const allowsSurge = rollingLimits(view.set, wanted).maxSurge > 0;
  const create: string[] = [];
  const remove: Pod[] = [];
  for (const node of view.nodes) {
    if (!node.mayStay) {
      // Pods that ran on a node that is gone are collected with the node.
      remove.push(...node.pods.filter((pod) => !isLeaving(pod) && (node.exists || !isBound(pod))));
      continue;
    }
    // A pod that is on its way out holds its place until it is gone.
    if (node.shouldRun && node.pods.length === 0) create.push(node.node);
    const ended = node.pods.filter((pod) => isPodTerminal(pod) && !isLeaving(pod));
    remove.push(...ended.filter((pod) => mayReplace(node.node, pod)));
    remove.push(...surplus(view, node, allowsSurge));
  }
  return { create, remove };
}

function isBound({ spec }: Pod): boolean {
  return spec.nodeName !== undefined && spec.nodeName !== '';
}

function surplus(view: DaemonView, { pods }: NodePods, allowsSurge: boolean): readonly Pod[] {
  const running = pods.filter((pod) => !isLeaving(pod) && !isPodTerminal(pod));
  if (running.length <= 1) return [];
  if (!allowsSurge) return running.slice(1);
  // Two may stand beside each other while the new one is not available yet and the old one still serves.
  const [updated] = running.filter((pod) => isUpdated(view, pod));
  const [old] = running.filter((pod) => !isUpdated(view, pod));
  const keepsOld = old !== undefined && (updated === undefined || (!isAvailable(view, updated) && isPodReady(old)));
  return running.filter((pod) => pod !== updated && !(keepsOld && pod === old));
}
