/**
 * From Services and EndpointSlices to what a proxy is asked to make true. Ports of Services that did not change are the very
 * objects of the last time, by which proxies know them. Pure.
 */
import { isDeepStrictEqual } from 'node:util';
import type { EndpointSlice, Service } from '../../../kernel/contract/kubernetes.ts';
import type { Protocol, ProxyEndpoint, ProxyPort } from '../../../kernel/contract/index.ts';
import type { CheckedService } from './health-check-ports.ts';

/** Services with these labels belong to another proxy, or to none. */
const foreignLabels = ['service.kubernetes.io/service-proxy-name', 'service.kubernetes.io/headless'];

/** Where this node is: what endpoints' hints are compared with. */
export interface Whereabouts {
  readonly nodeName: string;
  readonly zone: string | undefined;
}

export interface ProxyInputs {
  /** By "namespace/name". */
  serviceOf(key: string): Service | undefined;
  slicesOf(key: string): readonly EndpointSlice[];
  whereabouts(): Whereabouts;
}

function isProxied(service: Service): boolean {
  const { type, clusterIP } = service.spec;
  if (type === 'ExternalName' || !clusterIP || clusterIP === 'None') return false;
  return !foreignLabels.some((label) => service.metadata.labels?.[label] !== undefined);
}

interface Candidate {
  readonly endpoint: ProxyEndpoint;
  readonly forNodes: readonly string[];
  readonly forZones: readonly string[];
}

/**
 * Endpoints that hints send to other nodes or zones get no new connections from here, but keep those they have. Hints count
 * only when every ready endpoint has them and some are meant for us. Local endpoints are what policies Local need.
 */
function heedHints(candidates: readonly Candidate[], { nodeName, zone }: Whereabouts): readonly ProxyEndpoint[] {
  const ready = candidates.filter(({ endpoint }) => endpoint.ready);
  const isUsable = (hints: (candidate: Candidate) => readonly string[], ours: string | undefined): boolean =>
    ours !== undefined &&
    ready.every((candidate) => hints(candidate).length > 0) &&
    ready.some((candidate) => hints(candidate).includes(ours));
  const byNode = ({ forNodes }: Candidate): readonly string[] => forNodes;
  const byZone = ({ forZones }: Candidate): readonly string[] => forZones;
  const isForUs = isUsable(byNode, nodeName)
    ? (each: Candidate): boolean => each.forNodes.includes(nodeName)
    : isUsable(byZone, zone)
      ? (each: Candidate): boolean => each.forZones.includes(zone ?? '')
      : (): boolean => true;
  return candidates.map((each) =>
    isForUs(each) || each.endpoint.local ? each.endpoint : { ...each.endpoint, ready: false },
  );
}

function endpointsOf(
  slices: readonly EndpointSlice[],
  portName: string,
  protocol: Protocol,
  whereabouts: Whereabouts,
): readonly ProxyEndpoint[] {
  const found = new Map<string, Candidate>();
  for (const slice of slices) {
    if (slice.addressType === 'FQDN') continue;
    const port = slice.ports?.find((each) => (each.name ?? '') === portName && (each.protocol ?? 'TCP') === protocol);
    if (port?.port == null) continue;
    for (const { addresses, conditions, nodeName, hints } of slice.endpoints ?? []) {
      const { ready = true, serving, terminating = false } = conditions ?? {};
      const [address] = addresses ?? [];
      if (address === undefined) continue;
      const endpoint = {
        address,
        port: port.port,
        local: nodeName === whereabouts.nodeName,
        ready: (ready ?? true) && !terminating,
        serving: serving ?? ready ?? true,
        terminating: terminating ?? false,
      };
      found.set(`${address} ${port.port}`, {
        endpoint,
        forNodes: (hints?.forNodes ?? []).map(({ name }) => name),
        forZones: (hints?.forZones ?? []).map(({ name }) => name),
      });
    }
  }
  const sorted = [...found].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, candidate]) => candidate);
  return heedHints(sorted, whereabouts);
}

function portsOf(service: Service, slices: readonly EndpointSlice[], whereabouts: Whereabouts): readonly ProxyPort[] {
  const { spec } = service;
  const { namespace, name } = service.metadata;
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
      endpoints: endpointsOf(slices, port.name ?? '', protocol, whereabouts),
    };
  });
}

/** The ports of all Services, in a stable order, kept current change by change. */
export class ServicePorts {
  readonly #inputs: ProxyInputs;
  readonly #ports = new Map<string, readonly ProxyPort[]>();
  /** Keys of `#ports`, sorted. */
  readonly #order: string[] = [];
  readonly #touched = new Set<string>();
  readonly #checked = new Set<string>();
  #all: readonly ProxyPort[] = [];

  constructor(inputs: ProxyInputs) {
    this.#inputs = inputs;
  }

  /** The Service of this key or its slices changed. */
  touch(key: string): void {
    this.#touched.add(key);
  }

  /** What all Services depend on changed: where this node is. */
  touchAll(): void {
    for (const key of this.#order) this.#touched.add(key);
  }

  /** Services whose balancers ask nodes for endpoints, with the number of ready ones on this node. */
  *checked(): Generator<CheckedService> {
    for (const key of this.#checked) {
      const service = this.#inputs.serviceOf(key);
      const port = service?.spec.healthCheckNodePort;
      if (service === undefined || !port) continue;
      const ports = this.#ports.get(key) ?? [];
      const here = ports.flatMap(({ endpoints }) => endpoints.filter(({ local, ready }) => local && ready));
      const { namespace, name } = service.metadata;
      yield { namespace, name, port, localEndpoints: new Set(here.map(({ address }) => address)).size };
    }
  }

  current(): readonly ProxyPort[] {
    let isSame = true;
    for (const key of this.#touched) isSame = !this.#renew(key) && isSame;
    this.#touched.clear();
    if (!isSame) this.#all = this.#order.flatMap((key) => this.#ports.get(key) ?? []);
    return this.#all;
  }

  #renew(key: string): boolean {
    const { serviceOf, slicesOf, whereabouts } = this.#inputs;
    const service = serviceOf(key);
    const before = this.#ports.get(key);
    const isWanted = service !== undefined && isProxied(service);
    const after = isWanted ? portsOf(service, slicesOf(key), whereabouts()) : undefined;
    const isChecked = after !== undefined && Boolean(service?.spec.healthCheckNodePort);
    if (isChecked) this.#checked.add(key);
    else this.#checked.delete(key);
    if (isDeepStrictEqual(before, after)) return false;
    if (after === undefined) {
      this.#ports.delete(key);
      this.#order.splice(this.#placeOf(key), 1);
      return true;
    }
    // A port that did not change stays the object that it was.
    const kept = (port: ProxyPort, index: number): ProxyPort =>
      before?.[index] !== undefined && isDeepStrictEqual(before[index], port) ? before[index] : port;
    this.#ports.set(key, after.map(kept));
    if (before === undefined) this.#order.splice(this.#placeOf(key), 0, key);
    return true;
  }

  /** Where the key is, or would be. */
  #placeOf(key: string): number {
    let [low, high] = [0, this.#order.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#order[middle]! < key) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
