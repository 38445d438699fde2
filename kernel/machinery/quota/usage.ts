/**
 * What one object uses of a ResourceQuota, in the quota's own names: millicores for cpu, bytes, pieces. The API server
 * admits by these numbers, and controller resource-quota reports them.
 */
import type { KubernetesObject } from '../../contract/index.ts';
import type { PersistentVolumeClaim, Pod, Service } from '../../contract/kubernetes.ts';
import { byteCount, canonicalQuantity, cpuMillis } from '../quantity.ts';
import { podLimits, podRequests } from '../scheduling/pod-requests.ts';

export type Usage = Readonly<Record<string, number>>;

/** Resources with a quota name of their own beside count/…, by "group/plural" (core without a group). */
const named = new Set([
  ...[
    'configmaps',
    'persistentvolumeclaims',
    'pods',
    'replicationcontrollers',
    'resourcequotas',
    'secrets',
    'services',
  ],
]);

const computeNames = new Set(['cpu', 'memory', 'ephemeral-storage']);
const classSuffix = '.storageclass.storage.k8s.io/';

/** "pods" of the core group, "deployments.apps" of others: how count/… names them. */
export function quotaResource(group: string, resource: string): string {
  return group === '' ? resource : `${resource}.${group}`;
}

/** Which resource a name of spec.hard counts. */
export function resourceOfQuotaName(name: string): string {
  if (name.startsWith('count/')) return name.slice('count/'.length);
  if (name.startsWith('services')) return 'services';
  if (name === 'requests.storage' || name.includes(classSuffix)) return 'persistentvolumeclaims';
  return named.has(name) ? name : 'pods';
}

export function usageOf(resource: string, object: KubernetesObject): Usage {
  const counted = { [`count/${resource}`]: 1 };
  switch (resource) {
    case 'pods':
      return { ...counted, ...podUsage(object as Pod) };
    case 'services':
      return { ...counted, ...serviceUsage(object as Service) };
    case 'persistentvolumeclaims':
      return { ...counted, ...claimUsage(object as PersistentVolumeClaim) };
    default:
      return named.has(resource) ? { ...counted, [resource]: 1 } : counted;
  }
}

/** Pods that have ended use nothing but their count/pods. */
function podUsage(pod: Pod): Usage {
  if (pod.status?.phase === 'Succeeded' || pod.status?.phase === 'Failed') return {};
  const usage: Record<string, number> = { pods: 1 };
  for (const [name, amount] of Object.entries(podRequests(pod))) {
    if (name === 'pods') continue;
    usage[`requests.${name}`] = amount;
    if (computeNames.has(name) || name.startsWith('hugepages-')) usage[name] = amount;
  }
  for (const [name, amount] of Object.entries(podLimits(pod))) if (name !== 'pods') usage[`limits.${name}`] = amount;
  return usage;
}

function serviceUsage({ spec }: Service): Usage {
  const usage: Record<string, number> = { services: 1 };
  const isBalanced = spec.type === 'LoadBalancer';
  if (isBalanced) usage['services.loadbalancers'] = 1;
  if (spec.type === 'NodePort' || (isBalanced && spec.allocateLoadBalancerNodePorts !== false))
    usage['services.nodeports'] = (spec.ports ?? []).length;
  return usage;
}

function claimUsage({ spec }: PersistentVolumeClaim): Usage {
  const storage = byteCount(spec.resources?.requests?.['storage'] ?? '0');
  const usage: Record<string, number> = { persistentvolumeclaims: 1, 'requests.storage': storage };
  if (spec.storageClassName) {
    usage[`${spec.storageClassName}${classSuffix}persistentvolumeclaims`] = 1;
    usage[`${spec.storageClassName}${classSuffix}requests.storage`] = storage;
  }
  return usage;
}

const isCpu = (name: string): boolean => name === 'cpu' || name.endsWith('.cpu');
const isBytes = (name: string): boolean => /memory|storage$|hugepages-/.test(name);

export function quotaAmount(name: string, quantity: string): number {
  return isCpu(name) ? cpuMillis(quantity) : byteCount(quantity);
}

export function quotaText(name: string, amount: number): string {
  if (isCpu(name)) return canonicalQuantity(`${amount}m`);
  if (isBytes(name) && amount !== 0 && amount % 1024 === 0) return canonicalQuantity(`${amount / 1024}Ki`);
  return canonicalQuantity(String(amount));
}
