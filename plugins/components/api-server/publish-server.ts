/**
 * What the cluster is told of this server, and told again when somebody deletes it:
 *  - Service default/kubernetes leads to the port that is really served. With an address that others can reach, Endpoints
 *    and an EndpointSlice name it. Without (loopback, as in `pintle up`), the Service's traffic stays on the pod's node
 *    (internalTrafficPolicy Local), where component api-forwarder brings it here.
 *  - ConfigMap kube-system/extension-apiserver-authentication holds the CA, as kube-apiserver writes it. One CA signs
 *    clients and servers here, so controller service-account takes it from there for pods.
 */
import { isIP } from 'node:net';
import { networkInterfaces } from 'node:os';
import {
  isPintleError,
  type Cluster,
  type KubernetesObject,
  type Logger,
  type NewObject,
  type ResourceType,
} from '../../../kernel/contract/index.ts';
import type { ConfigMap, Endpoints, EndpointSlice, Service } from '../../../kernel/contract/kubernetes.ts';
import { equalJson } from '../../../kernel/machinery/json-value.ts';
import { resources } from '../../../kernel/machinery/resources.ts';

export interface PublishOptions {
  readonly cluster: Cluster;
  readonly log: Logger;
  readonly address: string;
  readonly advertise: string | undefined;
  readonly port: number;
  readonly authority: () => string;
}

const again = 15_000;
const key = { namespace: 'default', name: 'kubernetes' };
const authentication = { namespace: 'kube-system', name: 'extension-apiserver-authentication' };

/** The address at which other machines find this server; undefined when there is none. */
export function reachableAddress(address: string, advertise: string | undefined): string | undefined {
  const asked = advertise !== undefined && isIP(advertise) !== 0 ? advertise : address;
  if (asked === '0.0.0.0' || asked === '::') {
    const family = asked === '::' ? 'IPv6' : 'IPv4';
    return Object.values(networkInterfaces())
      .flatMap((each) => each ?? [])
      .find((each) => !each.internal && each.family === family && !each.address.startsWith('fe80'))?.address;
  }
  const isLoopback = asked.startsWith('127.') || asked === '::1' || isIP(asked) === 0;
  return isLoopback ? undefined : asked;
}

export function publishServer(options: PublishOptions): { close(): Promise<void> } {
  const { log } = options;
  let isClosed = false;
  let timer: NodeJS.Timeout | undefined;
  let running: Promise<void> = Promise.resolve();
  const publish = async (): Promise<void> => {
    try {
      await publishOnce(options);
    } catch (error) {
      log.warn('what the cluster knows of this server could not be written, tries on', { error: String(error) });
    }
    if (isClosed) return;
    timer = setTimeout(() => void (running = publish()), again);
    timer.unref();
  };
  running = publish();
  return {
    close: async () => {
      isClosed = true;
      clearTimeout(timer);
      await running;
    },
  };
}

async function publishOnce({ cluster, address, advertise, port, authority }: PublishOptions): Promise<void> {
  const reachable = reachableAddress(address, advertise);
  await ensure<ConfigMap>(
    cluster,
    resources.configMaps,
    { metadata: authentication, data: { 'client-ca-file': authority() } },
    (found, wanted) => ({ ...found, data: { ...found.data, ...wanted.data } }),
  );
  const service = await find<Service>(cluster, resources.services, key);
  if (service !== undefined) {
    const internalTrafficPolicy = reachable === undefined ? 'Local' : 'Cluster';
    const ports = [{ ...service.spec.ports?.[0], name: 'https', protocol: 'TCP', port: 443, targetPort: port }];
    const spec = { ...service.spec, ports, internalTrafficPolicy };
    if (!equalJson(spec, service.spec)) await cluster.update(resources.services, { ...service, spec } as Service);
  }
  if (reachable === undefined) {
    for (const type of [resources.endpoints, resources.endpointSlices])
      await cluster.delete(type as ResourceType, key).catch(ignoreMissing);
    return;
  }
  await ensure<Endpoints>(
    cluster,
    resources.endpoints,
    {
      metadata: { ...key, labels: { 'endpointslice.kubernetes.io/skip-mirror': 'true' } },
      subsets: [{ addresses: [{ ip: reachable }], ports: [{ name: 'https', port, protocol: 'TCP' }] }],
    },
    (found, wanted) => ({ ...found, subsets: wanted.subsets }) as Endpoints,
  );
  await ensure<EndpointSlice>(
    cluster,
    resources.endpointSlices,
    {
      metadata: { ...key, labels: { 'kubernetes.io/service-name': key.name } },
      addressType: reachable.includes(':') ? 'IPv6' : 'IPv4',
      endpoints: [{ addresses: [reachable], conditions: { ready: true } }],
      ports: [{ name: 'https', port, protocol: 'TCP' }],
    },
    (found, wanted) => ({ ...found, endpoints: wanted.endpoints, ports: wanted.ports }) as EndpointSlice,
  );
}

async function find<T extends KubernetesObject>(
  cluster: Cluster,
  type: ResourceType<T>,
  at: { readonly namespace: string; readonly name: string },
): Promise<T | undefined> {
  try {
    return await cluster.get(type, at);
  } catch (error) {
    if (isPintleError(error, 'NOT_FOUND')) return undefined;
    throw error;
  }
}

async function ensure<T extends KubernetesObject>(
  cluster: Cluster,
  type: ResourceType<T>,
  wanted: NewObject<T>,
  merge: (found: T, wanted: NewObject<T>) => T,
): Promise<void> {
  const at = { namespace: wanted.metadata.namespace!, name: wanted.metadata.name! };
  const found = await find(cluster, type, at);
  if (found === undefined) await cluster.create(type, wanted);
  else {
    const merged = merge(found, wanted);
    if (!equalJson(merged, found)) await cluster.update(type, merged);
  }
}

function ignoreMissing(error: unknown): void {
  if (!isPintleError(error, 'NOT_FOUND')) throw error;
}
