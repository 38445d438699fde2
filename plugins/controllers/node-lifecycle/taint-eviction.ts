/**
 * When a pod must leave a node because of its NoExecute taints: at once when it does not tolerate one of them, otherwise
 * after the shortest of the tolerationSeconds that it gives, counted from when the taint
 * came, or the pod if that was later.
 */
import type { Node, Pod, Taint } from '../../../kernel/contract/kubernetes.ts';
import { tolerates } from '../../../kernel/machinery/scheduling/taints.ts';

/** Milliseconds since 1970; undefined: it may stay. `since`: when a taint came whose writer did not say so. */
export function evictionTime(pod: Pod, node: Node, since: (taint: Taint) => number): number | undefined {
  let earliest: number | undefined;
  for (const taint of node.spec.taints ?? []) {
    if (taint.effect !== 'NoExecute') continue;
    const tolerations = (pod.spec.tolerations ?? []).filter((toleration) => tolerates(toleration, taint));
    if (tolerations.length === 0) return 0;
    const limits = tolerations.flatMap(({ tolerationSeconds }) =>
      tolerationSeconds === undefined ? [] : [tolerationSeconds],
    );
    // Any toleration without a limit tolerates for ever only if no other one gives a limit, as Kubernetes has it.
    if (limits.length === 0) continue;
    const came = taint.timeAdded === undefined ? since(taint) : Date.parse(taint.timeAdded);
    const from = Math.max(came, Date.parse(pod.metadata.creationTimestamp) || came);
    const until = from + Math.max(0, Math.min(...limits)) * 1000;
    earliest = Math.min(earliest ?? until, until);
  }
  return earliest;
}
