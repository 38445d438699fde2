/** The endpoints that a Service should have, in groups that can share a slice: one address type, one list of ports. */
import type {
  DiscoveryV1EndpointPort,
  Endpoint,
  EndpointHints,
  Node,
  Pod,
  Service,
} from '../../../kernel/contract/kubernetes.ts';
import {
  addressOf,
  addressTypes,
  endpointHostname,
  endpointState,
  podReference,
  resolvePorts,
  type AddressType,
} from '../../../kernel/machinery/service-endpoints.ts';

const zoneLabel = 'topology.kubernetes.io/zone';

export interface EndpointGroup {
  readonly addressType: AddressType;
  readonly ports: readonly DiscoveryV1EndpointPort[];
  readonly endpoints: readonly Endpoint[];
}

/** Identifies a group: slices of one key may exchange endpoints. */
export function groupKey(addressType: string, ports: readonly DiscoveryV1EndpointPort[]): string {
  const texts = ports.map(
    ({ name = '', protocol = 'TCP', port = '', appProtocol = '' }) => `${name}/${protocol}/${port}/${appProtocol}`,
  );
  return `${addressType} ${texts.toSorted().join()}`;
}

/** At least one group for each address type: a Service without pods has one empty slice. */
export function wantedGroups(
  service: Service,
  pods: readonly Pod[],
  nodeOf: (name: string) => Node | undefined,
): ReadonlyMap<string, EndpointGroup> {
  const groups = new Map<string, EndpointGroup & { readonly endpoints: Endpoint[] }>();
  for (const addressType of addressTypes(service)) {
    let isEmpty = true;
    for (const pod of pods) {
      const endpoint = endpointOf(service, pod, addressType, nodeOf);
      if (endpoint === undefined) continue;
      const ports = resolvePorts(service, pod).map(({ name, protocol, port, appProtocol }) => ({
        name,
        protocol,
        port,
        ...(appProtocol === undefined ? {} : { appProtocol }),
      }));
      const key = groupKey(addressType, ports);
      const group = groups.get(key);
      if (group === undefined) groups.set(key, { addressType, ports, endpoints: [endpoint] });
      else group.endpoints.push(endpoint);
      isEmpty = false;
    }
    if (isEmpty) groups.set(groupKey(addressType, []), { addressType, ports: [], endpoints: [] });
  }
  return groups;
}

function endpointOf(
  service: Service,
  pod: Pod,
  addressType: AddressType,
  nodeOf: (name: string) => Node | undefined,
): Endpoint | undefined {
  const address = addressOf(pod, addressType);
  const state = endpointState(service, pod);
  if (address === undefined || state === undefined) return undefined;
  const { nodeName } = pod.spec;
  const hostname = endpointHostname(service, pod);
  const zone = nodeName === undefined ? undefined : nodeOf(nodeName)?.metadata.labels?.[zoneLabel];
  return {
    addresses: [address],
    conditions: { ready: state.isReady, serving: state.isServing, terminating: state.isTerminating },
    ...(hostname === undefined ? {} : { hostname }),
    targetRef: podReference(pod),
    ...(nodeName === undefined ? {} : { nodeName }),
    ...(zone === undefined ? {} : { zone }),
    ...hintsOf(service, nodeName, zone),
  };
}

/** For whom an endpoint is meant, by the Service's trafficDistribution: KEP-4444 and KEP-3015. */
function hintsOf(
  service: Service,
  nodeName: string | undefined,
  zone: string | undefined,
): { readonly hints?: EndpointHints } {
  const { trafficDistribution } = service.spec;
  const isByNode = trafficDistribution === 'PreferSameNode';
  if (!isByNode && trafficDistribution !== 'PreferClose' && trafficDistribution !== 'PreferSameZone') return {};
  const forNodes = isByNode && nodeName !== undefined ? { forNodes: [{ name: nodeName }] } : {};
  const forZones = zone === undefined ? {} : { forZones: [{ name: zone }] };
  return Object.keys({ ...forNodes, ...forZones }).length === 0 ? {} : { hints: { ...forZones, ...forNodes } };
}
