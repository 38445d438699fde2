/**
 * Makes the cluster's DNS Service exist and this node one of its endpoints: Service kube-system/kube-dns at the agreed
 * address, and one EndpointSlice a node, owned by the Node so that it goes with it.
 */
import type { EndpointSlice, Service } from '../../../kernel/contract/kubernetes.ts';
import { isPintleError, PintleError, type Cluster, type NewObject } from '../../../kernel/contract/index.ts';
import { resources } from '../../../kernel/machinery/resources.ts';
import { serviceNameLabel } from './index-of-cluster.ts';

const namespace = 'kube-system';
const name = 'kube-dns';

export async function ensureDnsService(cluster: Cluster, serviceIp: string): Promise<void> {
  const service: NewObject<Service> = {
    metadata: {
      name,
      namespace,
      labels: { 'k8s-app': 'kube-dns', 'kubernetes.io/cluster-service': 'true', 'kubernetes.io/name': 'CoreDNS' },
    },
    spec: {
      clusterIP: serviceIp,
      // Every node answers for its own pods: no query crosses the overlay, and a node's death hurts nobody else.
      internalTrafficPolicy: 'Local',
      ports: [
        { name: 'dns', protocol: 'UDP', port: 53 },
        { name: 'dns-tcp', protocol: 'TCP', port: 53 },
      ],
    },
  };
  const found = (await existing(cluster)) ?? (await createUnlessThere(cluster, service));
  if (found.spec.clusterIP !== serviceIp) {
    throw new PintleError(
      'CONFIG_INVALID',
      `Service ${namespace}/${name} has address ${found.spec.clusterIP}, and pods ask cluster.dnsServiceIp of the config, ${serviceIp}; delete the Service (it is made again), or set the address that it has`,
    );
  }
}

async function existing(cluster: Cluster): Promise<Service | undefined> {
  try {
    return await cluster.get(resources.services, { namespace, name });
  } catch (error) {
    if (isPintleError(error, 'NOT_FOUND')) return undefined;
    throw error;
  }
}

/** Each node tries. One that is refused while another's Service is on its way finds that when it tries again. */
async function createUnlessThere(cluster: Cluster, service: NewObject<Service>): Promise<Service> {
  try {
    return await cluster.create(resources.services, service);
  } catch (failure) {
    const found = await existing(cluster);
    if (found === undefined) throw failure;
    return found;
  }
}

export async function publishEndpoint(
  cluster: Cluster,
  nodeName: string,
  address: string,
  port: number,
): Promise<void> {
  const node = await cluster.get(resources.nodes, { name: nodeName });
  const slice: NewObject<EndpointSlice> = {
    metadata: {
      name: `${name}-${nodeName}`,
      namespace,
      labels: { [serviceNameLabel]: name, 'endpointslice.kubernetes.io/managed-by': 'dns.pintle.dev' },
      ownerReferences: [{ apiVersion: 'v1', kind: 'Node', name: nodeName, uid: node.metadata.uid }],
    },
    addressType: address.includes(':') ? 'IPv6' : 'IPv4',
    endpoints: [{ addresses: [address], conditions: { ready: true, serving: true, terminating: false }, nodeName }],
    ports: [
      { name: 'dns', protocol: 'UDP', port },
      { name: 'dns-tcp', protocol: 'TCP', port },
    ],
  };
  const key = { namespace, name: slice.metadata.name! };
  try {
    const found = await cluster.get(resources.endpointSlices, key);
    const isSame =
      JSON.stringify(found.endpoints?.[0]?.addresses) === JSON.stringify([address]) &&
      found.ports?.every((each) => each.port === port) === true &&
      found.metadata.ownerReferences?.[0]?.uid === node.metadata.uid;
    if (isSame) return;
    await cluster.delete(resources.endpointSlices, key);
  } catch (error) {
    if (!isPintleError(error, 'NOT_FOUND')) throw error;
  }
  await cluster.create(resources.endpointSlices, slice);
}
