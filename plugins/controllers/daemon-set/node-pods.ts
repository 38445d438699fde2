/** What is on each node: the pods of one DaemonSet, sorted and judged. */
import type { DaemonSet, Node, Pod } from '../../../kernel/contract/kubernetes.ts';
import { isPodTerminal, msUntilAvailable } from '../../../kernel/machinery/pod-status.ts';
import { revisionLabel } from '../../../kernel/machinery/revisions/revision-data.ts';
import { nodeJudge, nodeOf, type NodeVerdict } from './daemon-pod.ts';

export interface NodePods extends NodeVerdict {
  readonly node: string;
  /** The node object exists. */
  readonly exists: boolean;
  /** All of the set's pods, oldest first. */
  readonly pods: readonly Pod[];
}

export interface DaemonView {
  readonly set: DaemonSet;
  readonly hash: string;
  readonly nodes: readonly NodePods[];
  readonly now: number;
}

export function daemonView(
  set: DaemonSet,
  hash: string,
  nodes: readonly Node[],
  pods: readonly Pod[],
  now: number,
): DaemonView {
  const judge = nodeJudge(set);
  const byNode = new Map<string, Pod[]>();
  for (const pod of pods) {
    const name = nodeOf(pod) ?? '';
    const found = byNode.get(name);
    if (found === undefined) byNode.set(name, [pod]);
    else found.push(pod);
  }
  const views: NodePods[] = nodes.map((node) => {
    const { name } = node.metadata;
    const found = (byNode.get(name) ?? []).toSorted(oldestFirst);
    byNode.delete(name);
    return { node: name, exists: true, pods: found, ...judge(node) };
  });
  for (const [node, rest] of byNode) views.push({ node, exists: false, pods: rest, shouldRun: false, mayStay: false });
  return { set, hash, nodes: views, now };
}

function oldestFirst(a: Pod, b: Pod): number {
  const [left, right] = [a.metadata.creationTimestamp ?? '', b.metadata.creationTimestamp ?? ''];
  if (left !== right) return left < right ? -1 : 1;
  return a.metadata.uid < b.metadata.uid ? -1 : 1;
}

export function isUpdated(view: DaemonView, pod: Pod): boolean {
  return pod.metadata.labels?.[revisionLabel] === view.hash;
}

export function isAvailable(view: DaemonView, pod: Pod): boolean {
  return !isPodTerminal(pod) && msUntilAvailable(pod, view.set.spec.minReadySeconds ?? 0, view.now) === 0;
}

export function isLeaving(pod: Pod): boolean {
  return pod.metadata.deletionTimestamp !== undefined;
}
