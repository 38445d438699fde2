/** From Services to the pods behind them: what the controllers of EndpointSlices and of Endpoints share. */
import { isIPv6 } from 'node:net';
import type { Container, ObjectReference, Pod, Service, ServicePort } from '../contract/kubernetes.ts';
import type { Informer } from './informer.ts';
import { isPodReady, isPodTerminal } from './pod-status.ts';
import { mapSelector } from './selectors.ts';

export type AddressType = 'IPv4' | 'IPv6';

/** Services of which this controller writes the endpoints: those that select pods. */
export function hasEndpoints(service: Service): boolean {
  return service.spec.type !== 'ExternalName' && Object.keys(service.spec.selector ?? {}).length > 0;
}

export function isHeadless(service: Service): boolean {
  return service.spec.clusterIP === 'None';
}

/** Index of Services by one pair of their selector, so that a pod finds its Services without trying them all. */
export function selectorIndex(service: Service): readonly string[] {
  if (!hasEndpoints(service)) return [];
  const [first] = Object.entries(service.spec.selector ?? {}).toSorted(([a], [b]) => (a < b ? -1 : 1));
  return first === undefined ? [] : [`${service.metadata.namespace}/${first[0]}=${first[1]}`];
}

/** Services that select this pod, of an informer with `selectorIndex` as index "selector". */
export function servicesOf(pod: Pod, services: Informer<Service>): readonly Service[] {
  const { namespace, labels = {} } = pod.metadata;
  return Object.entries(labels)
    .flatMap(([key, value]) => services.byIndex('selector', `${namespace}/${key}=${value}`))
    .filter((service) => mapSelector(service.spec.selector).matches(labels));
}

/** Index of pods by each of their labels. */
export function labelIndex(pod: Pod): readonly string[] {
  return Object.entries(pod.metadata.labels ?? {}).map(([key, value]) => `${pod.metadata.namespace}/${key}=${value}`);
}

/** Pods that this Service selects, of an informer with `labelIndex` as index "label". */
export function podsOf(service: Service, pods: Informer<Pod>): readonly Pod[] {
  const [pair] = selectorIndex(service);
  if (pair === undefined) return [];
  const selector = mapSelector(service.spec.selector);
  return pods.byIndex('label', pair).filter((pod) => selector.matches(pod.metadata.labels));
}

export function addressTypes(service: Service): readonly AddressType[] {
  const { ipFamilies = [], clusterIP = '' } = service.spec;
  if (ipFamilies.length > 0) return ipFamilies as AddressType[];
  return [isIPv6(clusterIP) ? 'IPv6' : 'IPv4'];
}

export function addressOf(pod: Pod, type: AddressType): string | undefined {
  const addresses = pod.status?.podIPs?.map(({ ip }) => ip) ?? [];
  if (addresses.length === 0 && pod.status?.podIP !== undefined) addresses.push(pod.status.podIP);
  return addresses.find((address) => address !== '' && isIPv6(address) === (type === 'IPv6'));
}

export interface ResolvedPort {
  readonly name: string;
  readonly protocol: string;
  readonly port: number;
  readonly appProtocol?: string | undefined;
}

/** The Service's ports on this pod. A named port that no container of the pod has is left out. */
export function resolvePorts(service: Service, pod: Pod): readonly ResolvedPort[] {
  return (service.spec.ports ?? []).flatMap((servicePort) => {
    const port = targetPort(servicePort, pod);
    if (port === undefined) return [];
    const { name = '', protocol = 'TCP', appProtocol } = servicePort;
    return [{ name, protocol, port, appProtocol }];
  });
}

function targetPort({ targetPort: target, port, protocol = 'TCP' }: ServicePort, pod: Pod): number | undefined {
  if (target === undefined || target === 0 || target === '') return port;
  if (typeof target === 'number') return target;
  const sidecars = (pod.spec.initContainers ?? []).filter((container) => container.restartPolicy === 'Always');
  const containers: readonly Container[] = [...pod.spec.containers, ...sidecars];
  return containers
    .flatMap((container) => container.ports ?? [])
    .find((candidate) => candidate.name === target && (candidate.protocol ?? 'TCP') === protocol)?.containerPort;
}

export interface EndpointState {
  readonly isReady: boolean;
  readonly isServing: boolean;
  readonly isTerminating: boolean;
}

/** Undefined: no endpoint, because the pod is over. */
export function endpointState(service: Service, pod: Pod): EndpointState | undefined {
  if (isPodTerminal(pod)) return undefined;
  const isTerminating = pod.metadata.deletionTimestamp !== undefined;
  const isServing = isPodReady(pod);
  return {
    isServing,
    isTerminating,
    isReady: service.spec.publishNotReadyAddresses === true || (isServing && !isTerminating),
  };
}

/** The name under which a headless Service's DNS knows this pod. */
export function endpointHostname(service: Service, pod: Pod): string | undefined {
  const { hostname, subdomain } = pod.spec;
  return hostname !== undefined && hostname !== '' && subdomain === service.metadata.name ? hostname : undefined;
}

export function podReference(pod: Pod): ObjectReference {
  const { namespace, name, uid } = pod.metadata;
  return { kind: 'Pod', namespace, name, uid };
}
