/** How many pods there should be: the sum of spec.replicas of the workloads that the budget's pods belong to. */
import type { KubernetesObject } from '../../../kernel/contract/index.ts';
import type {
  Deployment,
  Pod,
  ReplicaSet,
  ReplicationController,
  StatefulSet,
} from '../../../kernel/contract/kubernetes.ts';
import type { Informer } from '../../../kernel/machinery/informer.ts';
import { controllerOf } from '../../../kernel/machinery/metadata.ts';

export interface ScaleSources {
  readonly replicaSets: Informer<ReplicaSet>;
  readonly deployments: Informer<Deployment>;
  readonly statefulSets: Informer<StatefulSet>;
  readonly replicationControllers: Informer<ReplicationController>;
}

export interface ExpectedScale {
  readonly pods: number;
  /** Pods without a controller: they count for nothing. */
  readonly unmanaged: readonly Pod[];
  /** Why the scale cannot be told. */
  readonly fault: string | undefined;
}

interface Scalable extends KubernetesObject {
  spec: { replicas?: number };
}

export function expectedScale(pods: readonly Pod[], sources: ScaleSources): ExpectedScale {
  const scales = new Map<string, number>();
  const unmanaged: Pod[] = [];
  let fault: string | undefined;
  for (const pod of pods) {
    const manager = controllerOf(pod);
    if (manager === undefined) {
      unmanaged.push(pod);
      continue;
    }
    if (scales.has(manager.uid)) continue;
    const found = workloadOf(pod, sources);
    if (found === 'none') fault ??= `${plural(manager.kind)} does not implement the scale subresource`;
    // Its workload is gone, or not known yet: the pod follows it.
    if (typeof found !== 'object') continue;
    const { uid } = found.metadata;
    scales.set(uid, found.spec.replicas ?? 1);
  }
  return { pods: [...scales.values()].reduce((sum, scale) => sum + scale, 0), unmanaged, fault };
}

function workloadOf(pod: Pod, sources: ScaleSources): Scalable | 'none' | undefined {
  const manager = controllerOf(pod);
  if (manager === undefined) return undefined;
  const key = `${pod.metadata.namespace}/${manager.name}`;
  const same = <T extends Scalable>(object: T | undefined) =>
    object?.metadata.uid === manager.uid ? object : undefined;
  switch (manager.kind) {
    case 'ReplicaSet': {
      const set = same(sources.replicaSets.get(key));
      const above = set === undefined ? undefined : controllerOf(set);
      if (above?.kind !== 'Deployment') return set;
      const deployment = sources.deployments.get(`${pod.metadata.namespace}/${above.name}`);
      return deployment?.metadata.uid === above.uid ? deployment : undefined;
    }
    case 'StatefulSet':
      return same(sources.statefulSets.get(key));
    case 'ReplicationController':
      return same(sources.replicationControllers.get(key));
    default:
      return 'none';
  }
}

function plural(kind: string): string {
  return `${kind.toLowerCase()}s`;
}
