/** From Services and EndpointSlices to what a proxy is asked to make true. Pure. */
import type { EndpointSlice, Service } from '../../../kernel/contract/kubernetes.ts';
import type { Protocol, ProxyEndpoint, ProxyPort, ProxyState } from '../../../kernel/contract/index.ts';

/** Services with these labels belong to another proxy, or to none. */
const foreignLabels = ['service.kubernetes.io/service-proxy-name', 'service.kubernetes.io/headless'];

export interface ProxyInputs {
  readonly nodeName: string;
  readonly nodeAddresses: readonly string[];
  readonly clusterCidrs: readonly string[];
  readonly services: readonly Service[];
  slicesOf(namespace: string, service: string): readonly EndpointSlice[];
}

function isProxied(service: Service): boolean {
  const { type, clusterIP } = service.spec;
  if (type === 'ExternalName' || !clusterIP || clusterIP === 'None') return false;
  return !foreignLabels.some((label) => service.metadata.labels?.[label] !== undefined);
}

function endpointsOf(
  slices: readonly EndpointSlice[],
  portName: string,
  protocol: Protocol,
  nodeName: string,
): readonly ProxyEndpoint[] {
  const found = new Map<string, ProxyEndpoint>();
  for (const slice of slices) {
    if (slice.addressType === 'FQDN') continue;
    const port = slice.ports?.find((each) => (each.name ?? '') === portName && (each.protocol ?? 'TCP') === protocol);
    if (port?.port == null) continue;
    for (const endpoint of slice.endpoints ?? []) {
      const { ready = true, serving, terminating = false } = endpoint.conditions ?? {};
      const [address] = endpoint.addresses ?? [];
      if (address === undefined) continue;
      found.set(`${address} ${port.port}`, {
        address,
        port: port.port,
        local: endpoint.nodeName === nodeName,
        ready: (ready ?? true) && !terminating,
        serving: serving ?? ready ?? true,
        terminating: terminating ?? false,
      });
    }
  }
  return [...found].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, endpoint]) => endpoint);
}

function portsOf(service: Service, inputs: ProxyInputs): readonly ProxyPort[] {
  const { spec } = service;
  const { namespace, name } = service.metadata;
  const slices = inputs.slicesOf(namespace, name);
  const ingress = (service.status?.loadBalancer?.ingress ?? []).filter(
    (each) => each.ip && (each.ipMode ?? 'VIP') === 'VIP',
  );
  return (spec.ports ?? []).map((port) => {
    const protocol = (port.protocol ?? 'TCP') as Protocol;
    return {
      namespace,
      service: name,
      name: port.name ?? '',
      protocol,
      port: port.port,
      clusterIps: spec.clusterIPs ?? [spec.clusterIP!],
      externalIps: spec.externalIPs ?? [],
      loadBalancerIps: ingress.map((each) => each.ip!),
      loadBalancerSourceRanges: spec.loadBalancerSourceRanges ?? [],
      nodePort: port.nodePort || undefined,
      affinitySeconds:
        spec.sessionAffinity === 'ClientIP'
          ? (spec.sessionAffinityConfig?.clientIP?.timeoutSeconds ?? 10_800)
          : undefined,
      internalPolicy: spec.internalTrafficPolicy === 'Local' ? 'Local' : 'Cluster',
      externalPolicy: spec.externalTrafficPolicy === 'Local' ? 'Local' : 'Cluster',
      endpoints: endpointsOf(slices, port.name ?? '', protocol, inputs.nodeName),
    };
  });
}

export function proxyState(inputs: ProxyInputs): ProxyState {
  const order = (service: Service) => `${service.metadata.namespace}/${service.metadata.name}`;
  return {
    nodeAddresses: inputs.nodeAddresses,
    clusterCidrs: inputs.clusterCidrs,
    ports: inputs.services
      .filter(isProxied)
      .sort((a, b) => (order(a) < order(b) ? -1 : 1))
      .flatMap((service) => portsOf(service, inputs)),
  };
}
