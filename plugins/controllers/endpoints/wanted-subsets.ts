/** The subsets of an Endpoints object: pods with the same ports share one, ready and not ready ones apart. */
import type {
  EndpointAddress,
  EndpointPort,
  EndpointSubset,
  Pod,
  Service,
} from '../../../kernel/contract/kubernetes.ts';
import {
  addressOf,
  addressTypes,
  endpointHostname,
  endpointState,
  isHeadless,
  podReference,
  resolvePorts,
} from '../../../kernel/machinery/service-endpoints.ts';

/** An Endpoints object holds no more than this; the rest is in the EndpointSlices only. */
const maxAddresses = 1000;

interface Found {
  readonly address: EndpointAddress;
  readonly isReady: boolean;
  readonly ports: readonly EndpointPort[];
}

export function wantedSubsets(
  service: Service,
  pods: readonly Pod[],
): { readonly subsets: readonly EndpointSubset[]; readonly isTruncated: boolean } {
  const found = pods.flatMap((pod) => endpointOf(service, pod) ?? []);
  // Ready ones are kept first when there are too many.
  const ordered = found.toSorted((a, b) => Number(b.isReady) - Number(a.isReady) || compareIp(a, b));
  const groups = new Map<string, Found[]>();
  for (const one of ordered.slice(0, maxAddresses)) {
    const key = one.ports
      .map(({ name, port, protocol, appProtocol }) => `${name}/${port}/${protocol}/${appProtocol}`)
      .join();
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [one]);
    else group.push(one);
  }
  const subsets = [...groups].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([, group]) => subsetOf(group));
  return { subsets, isTruncated: found.length > maxAddresses };
}

function subsetOf(group: readonly Found[]): EndpointSubset {
  const sorted = group.toSorted(compareIp);
  const addresses = sorted.filter((one) => one.isReady).map((one) => one.address);
  const notReadyAddresses = sorted.filter((one) => !one.isReady).map((one) => one.address);
  const ports = group[0]?.ports ?? [];
  return {
    ...(addresses.length === 0 ? {} : { addresses }),
    ...(notReadyAddresses.length === 0 ? {} : { notReadyAddresses }),
    ...(ports.length === 0 ? {} : { ports: [...ports] }),
  };
}

function compareIp(a: Found, b: Found): number {
  return a.address.ip < b.address.ip ? -1 : a.address.ip > b.address.ip ? 1 : 0;
}

/** One address family, the Service's first, as Endpoints had before dual-stack. Pods that terminate are left out. */
function endpointOf(service: Service, pod: Pod): Found | undefined {
  const [type] = addressTypes(service);
  const state = endpointState(service, pod);
  const ip = type === undefined ? undefined : addressOf(pod, type);
  if (ip === undefined || state === undefined) return undefined;
  if (state.isTerminating && service.spec.publishNotReadyAddresses !== true) return undefined;
  const ports = resolvePorts(service, pod).map(({ name, protocol, port, appProtocol }) => ({
    ...(name === '' ? {} : { name }),
    port,
    protocol,
    ...(appProtocol === undefined ? {} : { appProtocol }),
  }));
  const hasNoPorts = (service.spec.ports ?? []).length === 0;
  if (ports.length === 0 && !(hasNoPorts && isHeadless(service))) return undefined;
  const hostname = endpointHostname(service, pod);
  const { nodeName } = pod.spec;
  return {
    address: {
      ip,
      ...(hostname === undefined ? {} : { hostname }),
      ...(nodeName === undefined ? {} : { nodeName }),
      targetRef: podReference(pod),
    },
    isReady: state.isReady,
    ports,
  };
}
