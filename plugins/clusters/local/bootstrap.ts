/** Objects that every cluster has, always: made at the start and whenever they are missing, otherwise left as they are. */
import { bootstrapBindings, bootstrapRoles } from './access/bootstrap-roles.ts';
import { isPintleError } from '../../../kernel/contract/index.ts';
import type { Cluster, KubernetesObject, NewObject, ResourceType } from '../../../kernel/contract/index.ts';
import type { Service } from '../../../kernel/contract/kubernetes.ts';
import { resources } from '../../../kernel/machinery/resources.ts';

async function ensure<T extends KubernetesObject>(
  cluster: Cluster,
  type: ResourceType<T>,
  object: NewObject<T>,
): Promise<void> {
  try {
    await cluster.create(type, object);
  } catch (error) {
    if (!isPintleError(error, 'ALREADY_EXISTS')) throw error;
  }
}

async function isMissing<T extends KubernetesObject>(
  cluster: Cluster,
  type: ResourceType<T>,
  name: string,
  namespace?: string,
): Promise<boolean> {
  try {
    await cluster.get(type, { name, namespace });
    return false;
  } catch (error) {
    if (isPintleError(error, 'NOT_FOUND')) return true;
    throw error;
  }
}

const priorityClasses = [
  {
    name: 'system-cluster-critical',
    value: 2_000_000_000,
    description:
      'Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.',
  },
  {
    name: 'system-node-critical',
    value: 2_000_001_000,
    description: 'Used for system critical pods that must not be moved from their current node.',
  },
];

/** Where Service default/kubernetes leads to is the API server's to say; until then this is as good as any. */
const usualApiPort = 6443;

async function ensureRoles(cluster: Cluster): Promise<void> {
  const missing = async <T extends KubernetesObject>(type: ResourceType<T>, object: NewObject<T>) => {
    if (await isMissing(cluster, type, object.metadata.name!)) await ensure(cluster, type, object);
  };
  await Promise.all([
    ...bootstrapRoles.map((role) => missing(resources.clusterRoles, role)),
    ...bootstrapBindings.map((binding) => missing(resources.clusterRoleBindings, binding)),
  ]);
}

export async function bootstrap(cluster: Cluster, kubernetesIp: string, hasRoles: boolean): Promise<void> {
  for (const name of ['default', 'kube-system', 'kube-public', 'kube-node-lease']) {
    if (await isMissing(cluster, resources.namespaces, name)) {
      await ensure(cluster, resources.namespaces, { metadata: { name }, spec: {} });
    }
  }
  for (const { name, value, description } of priorityClasses) {
    if (await isMissing(cluster, resources.priorityClasses, name)) {
      await ensure(cluster, resources.priorityClasses, {
        metadata: { name },
        value,
        description,
        globalDefault: false,
      });
    }
  }
  if (hasRoles) await ensureRoles(cluster);
  if (await isMissing(cluster, resources.services, 'kubernetes', 'default')) {
    const service: NewObject<Service> = {
      metadata: {
        name: 'kubernetes',
        namespace: 'default',
        labels: { component: 'apiserver', provider: 'kubernetes' },
      },
      spec: {
        clusterIP: kubernetesIp,
        clusterIPs: [kubernetesIp],
        type: 'ClusterIP',
        sessionAffinity: 'None',
        ports: [{ name: 'https', protocol: 'TCP', port: 443, targetPort: usualApiPort }],
      },
    };
    await ensure(cluster, resources.services, service);
  }
}
