/** This node as an endpoint of Service default/kubernetes: one EndpointSlice a node, owned by the Node so that it goes with it. */
import {
  isPintleError,
  type Cluster,
  type KubernetesObject,
  type NewObject,
  type ResourceType,
} from '../../../kernel/contract/index.ts';
import type { EndpointSlice } from '../../../kernel/contract/kubernetes.ts';
import { equalJson } from '../../../kernel/machinery/json-value.ts';
import { resources } from '../../../kernel/machinery/resources.ts';

const namespace = 'default';
const service = 'kubernetes';
const managedBy = 'endpointslice.kubernetes.io/managed-by';

const keyOf = (nodeName: string) => ({ namespace, name: `${service}-${nodeName}` });

async function find<T extends KubernetesObject>(
  cluster: Cluster,
  type: ResourceType<T>,
  key: { readonly namespace?: string; readonly name: string },
): Promise<T | undefined> {
  try {
    return await cluster.get(type, key);
  } catch (error) {
    if (isPintleError(error, 'NOT_FOUND')) return undefined;
    throw error;
  }
}

/** True when the Service wants each node to bring its own pods to the API: the server has no address that others reach. */
export async function isWanted(cluster: Cluster): Promise<boolean> {
  const found = await find(cluster, resources.services, { namespace, name: service });
  return found?.spec.internalTrafficPolicy === 'Local';
}

export async function publish(cluster: Cluster, nodeName: string, address: string, port: number): Promise<void> {
  const node = await cluster.get(resources.nodes, { name: nodeName });
  const slice: NewObject<EndpointSlice> = {
    metadata: {
      ...keyOf(nodeName),
      labels: { 'kubernetes.io/service-name': service, [managedBy]: 'api-forwarder.pintle.dev' },
      ownerReferences: [{ apiVersion: 'v1', kind: 'Node', name: nodeName, uid: node.metadata.uid }],
    },
    addressType: address.includes(':') ? 'IPv6' : 'IPv4',
    endpoints: [{ addresses: [address], conditions: { ready: true, serving: true, terminating: false }, nodeName }],
    ports: [{ name: 'https', protocol: 'TCP', port }],
  };
  const found = await find(cluster, resources.endpointSlices, keyOf(nodeName));
  if (found !== undefined) {
    const parts = (each: NewObject<EndpointSlice>) => [
      each.endpoints?.map((endpoint) => [endpoint.addresses, endpoint.conditions, endpoint.nodeName]),
      each.ports?.map((one) => [one.name, one.protocol, one.port]),
      each.metadata.ownerReferences?.[0]?.uid,
    ];
    if (equalJson(parts(found), parts(slice))) return;
    await cluster.delete(resources.endpointSlices, keyOf(nodeName));
  }
  await cluster.create(resources.endpointSlices, slice);
}

export async function withdraw(cluster: Cluster, nodeName: string): Promise<void> {
  try {
    await cluster.delete(resources.endpointSlices, keyOf(nodeName));
  } catch (error) {
    if (!isPintleError(error, 'NOT_FOUND')) throw error;
  }
}
