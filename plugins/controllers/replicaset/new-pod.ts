import type { NewObject } from '../../../kernel/contract/index.ts';
import type { Pod, PodSpec, ReplicaSet } from '../../../kernel/contract/kubernetes.ts';
import { ownerReference } from '../../../kernel/machinery/metadata.ts';

/** The pod that a ReplicaSet's template describes. */
export function newPod(set: ReplicaSet): NewObject<Pod> {
  const { metadata = {}, spec } = set.spec.template ?? {};
  return {
    metadata: {
      generateName: `${set.metadata.name}-`,
      namespace: set.metadata.namespace,
      ...(metadata.labels === undefined ? {} : { labels: metadata.labels }),
      ...(metadata.annotations === undefined ? {} : { annotations: metadata.annotations }),
      ...(metadata.finalizers === undefined ? {} : { finalizers: metadata.finalizers }),
      ownerReferences: [ownerReference(set)],
    },
    spec: spec as PodSpec,
  };
}
