/** Pod classes: pods that a policy cannot tell apart. */
import type { PodClass, SchedulerPolicy } from '../../contract/index.ts';
import type { Pod } from '../../contract/kubernetes.ts';
import { stableText } from '../stable-text.ts';
import { podHostPorts, podRequests } from './pod-requests.ts';

/** All that the filters and scores of this folder look at: requests, host ports, node selection, tolerations. */
export function nodeClassKey(pod: Pod): string {
  const { nodeName, nodeSelector, affinity, tolerations, topologySpreadConstraints } = pod.spec;
  return stableText([
    podRequests(pod),
    podHostPorts(pod),
    nodeName,
    nodeSelector,
    affinity,
    tolerations,
    topologySpreadConstraints,
  ]);
}

/** For policies without `classify`: everything of spec, labels and namespace that could matter. */
export function fullClassKey(pod: Pod): string {
  const { containers, initContainers = [], ...spec } = pod.spec;
  const shape = [...containers, ...initContainers].map(({ image, resources, ports, restartPolicy }) => ({
    image,
    resources,
    ports,
    restartPolicy,
  }));
  return stableText([pod.metadata.namespace, pod.metadata.labels, spec, shape, initContainers.length]);
}

/** True when placement depends on pods of other nodes as well. */
export function hasInterPodRules(pod: Pod): boolean {
  const { affinity, topologySpreadConstraints = [] } = pod.spec;
  return (
    affinity?.podAffinity !== undefined ||
    affinity?.podAntiAffinity !== undefined ||
    topologySpreadConstraints.length > 0
  );
}

export function classOf(pod: Pod, policy: SchedulerPolicy): PodClass {
  const { key, local } = policy.classify?.(pod) ?? { key: fullClassKey(pod), local: !hasInterPodRules(pod) };
  return { key, local, pod, requests: podRequests(pod), hostPorts: podHostPorts(pod) };
}
