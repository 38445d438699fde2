/** The object that is scaled, through its scale subresource: whatever kind it is, custom resources included. */
import type { Cluster, KubernetesObject, ResourceType } from '../../../kernel/contract/index.ts';
import type { CrossVersionObjectReference, Scale } from '../../../kernel/contract/kubernetes.ts';
import { builtInResources } from '../../../kernel/machinery/resources.ts';

export interface ScaleTarget {
  readonly type: ResourceType;
  readonly scale: Scale;
}

/** Rejects with a message for the condition when there is no such kind, or the object cannot be read or scaled. */
export async function readTarget(
  cluster: Cluster,
  namespace: string,
  { apiVersion = '', kind, name }: CrossVersionObjectReference,
): Promise<ScaleTarget> {
  const [group, version] = apiVersion.includes('/') ? apiVersion.split('/') : ['', apiVersion];
  const served: readonly ResourceType[] = cluster.server?.resources() ?? builtInResources;
  const candidates = served.filter((each) => each.group === group && each.kind === kind && each.namespaced);
  // As in Kubernetes the version is a hint: an object is the same under each that is served.
  const type = candidates.find((each) => each.version === version) ?? candidates[0];
  if (type === undefined) throw new Error(`no matches for kind "${kind}" in group "${group ?? ''}"`);
  const scale = await cluster.get(
    type as ResourceType<KubernetesObject>,
    { namespace, name },
    { subresource: 'scale' },
  );
  return { type, scale: scale as unknown as Scale };
}

export async function writeReplicas(cluster: Cluster, { type, scale }: ScaleTarget, replicas: number): Promise<void> {
  const wanted = { ...scale, spec: { ...scale.spec, replicas } };
  await cluster.update(type as ResourceType<Scale>, wanted, { subresource: 'scale' });
}
