import type { KubernetesObject, NewObject } from '../../contract/index.ts';
import type { Pod, PodSpec, PodTemplateSpec } from '../../contract/kubernetes.ts';
import { ownerReference } from '../metadata.ts';

/** The pod that a template describes, managed by `owner`. It gets a name of its own unless it is given one. */
export function podOfTemplate(owner: KubernetesObject, template: PodTemplateSpec | undefined): NewObject<Pod> {
  const { metadata = {}, spec } = template ?? {};
  return {
    metadata: {
      generateName: `${owner.metadata.name}-`,
      ...(owner.metadata.namespace === undefined ? {} : { namespace: owner.metadata.namespace }),
      ...(metadata.labels === undefined ? {} : { labels: metadata.labels }),
      ...(metadata.annotations === undefined ? {} : { annotations: metadata.annotations }),
      ...(metadata.finalizers === undefined ? {} : { finalizers: metadata.finalizers }),
      ownerReferences: [ownerReference(owner)],
    },
    spec: spec as PodSpec,
  };
}
