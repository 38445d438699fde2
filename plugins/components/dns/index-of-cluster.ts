/** The informers' view as the DNS names need it, with the look-ups indexed. */
import type { EndpointSlice, Namespace, Service } from '../../../kernel/contract/kubernetes.ts';
import type { Informer } from '../../../kernel/machinery/informer.ts';
import { endpointLabel, type DnsIndex } from './records.ts';

export const serviceNameLabel = 'kubernetes.io/service-name';

export function clusterIndex(
  services: Informer<Service>,
  slices: Informer<EndpointSlice>,
  namespaces: Informer<Namespace>,
): DnsIndex {
  const serviceOf = (slice: EndpointSlice) => slice.metadata.labels?.[serviceNameLabel] ?? '';
  slices.addIndex('service', (slice) => [`${slice.metadata.namespace}/${serviceOf(slice)}`]);
  slices.addIndex('ip', (slice) => (slice.endpoints ?? []).flatMap((endpoint) => endpoint.addresses ?? []));
  services.addIndex('ip', (service) => (service.spec.clusterIPs ?? []).filter((ip) => ip !== 'None'));
  const service = (namespace: string, name: string) => services.get(`${namespace}/${name}`);
  return {
    service,
    slices: (namespace, name) => slices.byIndex('service', `${namespace}/${name}`),
    hasNamespace: (namespace) => namespaces.get(namespace) !== undefined,
    servicesByIp: (ip) => services.byIndex('ip', ip),
    headlessByIp: (ip) => {
      for (const slice of slices.byIndex('ip', ip)) {
        const { namespace } = slice.metadata;
        if (service(namespace, serviceOf(slice))?.spec.clusterIP !== 'None') continue;
        const endpoint = (slice.endpoints ?? []).find((each) => each.addresses?.includes(ip));
        if (endpoint) return { namespace, service: serviceOf(slice), hostname: endpointLabel(endpoint) };
      }
      return undefined;
    },
  };
}
