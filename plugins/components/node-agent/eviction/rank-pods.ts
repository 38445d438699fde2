/** In which order pods are evicted: a kubelet's rules. Pure. */
import type { Pod } from '../../../../kernel/contract/kubernetes.ts';
import { podRequests } from '../../../../kernel/machinery/scheduling/pod-requests.ts';

/** Bytes by pod uid; a pod without a figure is unknown. */
export type Uses = ReadonlyMap<string, number>;

/** Pods of this priority and above keep a cluster going. */
const criticalPriority = 2_000_000_000;

export function isCritical(pod: Pod): boolean {
  const source = pod.metadata.annotations?.['kubernetes.io/config.source'];
  return (pod.spec.priority ?? 0) >= criticalPriority || (source !== undefined && source !== 'api');
}

/** First those that use more than they requested (or are unknown), then by priority, then by how far they are above. */
export function rankByUse(pods: readonly Pod[], uses: Uses, resource: 'memory' | 'ephemeral-storage'): readonly Pod[] {
  const facts = new Map(
    pods.map((pod) => {
      const used = uses.get(pod.metadata.uid);
      const over = used === undefined ? Infinity : used - (podRequests(pod)[resource] ?? 0);
      return [pod, { isOver: over > 0, over, priority: pod.spec.priority ?? 0 }];
    }),
  );
  return [...pods].sort((a, b) => {
    const [x, y] = [facts.get(a)!, facts.get(b)!];
    return Number(y.isOver) - Number(x.isOver) || x.priority - y.priority || compare(y.over, x.over);
  });
}

/** Of process ids only the node's sum is known. */
export function rankByPriority(pods: readonly Pod[]): readonly Pod[] {
  return [...pods].sort((a, b) => (a.spec.priority ?? 0) - (b.spec.priority ?? 0));
}

/** Also of two infinities. */
const compare = (a: number, b: number): number => (a === b ? 0 : a < b ? -1 : 1);
