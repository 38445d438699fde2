/** Which node and which container a stream request means, with the answers that kubectl expects when it is unclear. */
import {
  PintleError,
  type Cluster,
  type ClusterServer,
  type NodeService,
  type UserInfo,
} from '../../../../kernel/contract/index.ts';
import type { Pod } from '../../../../kernel/contract/kubernetes.ts';
import { resources } from '../../../../kernel/machinery/resources.ts';
import { badRequest } from '../status.ts';

export interface PodKey {
  readonly namespace: string;
  readonly name: string;
}

export async function podOf(cluster: Cluster, key: PodKey, user: UserInfo | undefined): Promise<Pod> {
  return cluster.get(resources.pods, key, { user });
}

export function containerOf(pod: Pod, wanted: string | null): string {
  const containers = (pod.spec?.containers ?? []).map((container) => container.name);
  const others = [...(pod.spec?.initContainers ?? []), ...(pod.spec?.ephemeralContainers ?? [])].map(
    (container) => container.name,
  );
  const name = pod.metadata.name ?? '';
  if (wanted !== null && wanted !== '') {
    if (containers.includes(wanted) || others.includes(wanted)) return wanted;
    throw badRequest(`container ${wanted} is not valid for pod ${name}`);
  }
  const preferred = pod.metadata.annotations?.['kubectl.kubernetes.io/default-container'];
  if (preferred !== undefined && containers.includes(preferred)) return preferred;
  const [only] = containers;
  if (only !== undefined && containers.length === 1) return only;
  throw badRequest(
    `a container name must be specified for pod ${name}, choose one of: [${[...containers, ...others].join(' ')}]`,
  );
}

/** The node's way to its containers. BAD_REQUEST while the pod has no node, UNAVAILABLE while the node is not connected. */
export function nodeServiceOf(server: ClusterServer, pod: Pod): NodeService {
  const node = pod.spec?.nodeName;
  if (node === undefined || node === '')
    throw badRequest(`pod ${pod.metadata.name ?? ''} does not have a host assigned`);
  try {
    return server.node(node);
  } catch (error) {
    throw new PintleError(
      'UNAVAILABLE',
      `node ${node} is not connected to the API server; its agent may be starting or down`,
      { cause: error },
    );
  }
}
