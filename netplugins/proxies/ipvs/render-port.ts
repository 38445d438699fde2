/**
 * One port of one Service as virtual services, set elements and addresses. Pure; the semantics of the proxy are here.
 *
 * Each service address is a virtual service of its own. Where pods and the node reach other endpoints than outsiders do
 * (externalTrafficPolicy Local), they do it by one more, which is selected by a packet mark.
 */
import type { ProxyEndpoint, ProxyPort } from '../../../kernel/contract/index.ts';
import { AF_INET, AF_INET6, canonicalIp } from '../../linux/ip-address.ts';
import type { IpvsKey } from '../../linux/ipvs-codec.ts';
import { addressesOf, isOfFamily, sourceRangesOf, usable, type Context } from '../../linux/service-addresses.ts';
import { markOf } from './marks.ts';
import type { SetName } from './sets.ts';

export interface Backend {
  readonly address: string;
  readonly port: number;
  /** 0: keeps its connections and gets no new ones. */
  readonly weight: 0 | 1;
}

export interface VirtualService {
  readonly key: IpvsKey;
  readonly scheduler: string;
  readonly persistenceSeconds: number | undefined;
  readonly backends: readonly Backend[];
}

export interface SetEntry {
  readonly set: SetName;
  readonly element: string;
  readonly mark?: number | undefined;
}

/** What one port needs. Of two fragments that claim the same key, the first counts. */
export interface Fragment {
  readonly services: readonly VirtualService[];
  readonly entries: readonly SetEntry[];
  /** Addresses whose packets are for the node: each has a local route. */
  readonly addresses: readonly string[];
}

export interface RenderOptions {
  readonly scheduler: string;
  /** For ports with session affinity. */
  readonly affinityScheduler: string;
}

class PortRenderer {
  readonly services: VirtualService[] = [];
  readonly entries: SetEntry[] = [];
  readonly addresses = new Set<string>();
  readonly #port: ProxyPort;
  readonly #context: Context;
  readonly #options: RenderOptions;
  readonly #protocol: 'tcp' | 'udp' | 'sctp';
  readonly #all: readonly Backend[];
  readonly #local: readonly Backend[];

  constructor(port: ProxyPort, context: Context, options: RenderOptions) {
    this.#port = port;
    this.#context = context;
    this.#options = options;
    this.#protocol = port.protocol.toLowerCase() as 'tcp' | 'udp' | 'sctp';
    const endpoints = port.endpoints.filter(({ address }) => isOfFamily(address, context.family));
    this.#all = backendsOf(endpoints);
    this.#local = backendsOf(endpoints.filter(({ local }) => local));
    for (const { address, port: to, local } of endpoints) {
      const ip = canonicalIp(address);
      if (local) this.#entry('hairpin', `${ip},${this.#protocol}:${to},${ip}`);
    }
  }

  render(): void {
    const { family, nodeAddresses } = this.#context;
    const port = this.#port;
    for (const ip of addressesOf(port.clusterIps, family)) {
      this.#address(ip);
      this.#internal(ip);
    }
    for (const ip of addressesOf(port.externalIps, family)) {
      this.#address(ip);
      this.#external(ip, port.port);
    }
    for (const ip of addressesOf(port.loadBalancerIps, family)) {
      this.#address(ip);
      this.#restrict(ip);
      this.#external(ip, port.port);
    }
    if (port.nodePort !== undefined) for (const ip of nodeAddresses) this.#external(ip, port.nodePort);
  }

  #entry(set: SetName, element: string, mark?: number): void {
    this.entries.push({ set, element, ...(mark === undefined ? {} : { mark }) });
  }

  /** A balancer's or an external address may be the node's own: then the node has it already, and serves more on it. */
  #address(ip: string): void {
    if (this.#context.nodeAddresses.includes(ip)) return;
    this.addresses.add(ip);
    this.#entry('addresses', ip);
  }

  #internal(ip: string): void {
    const element = this.#element(ip, this.#port.port);
    const backends = this.#port.internalPolicy === 'Local' ? this.#local : this.#all;
    if (!hasUsable(this.#all)) return this.#entry('refuse', element);
    if (!hasUsable(backends)) return this.#entry('drop', element);
    this.#serve(ip, this.#port.port, backends);
    this.#entry('cluster', element);
  }

  #external(ip: string, port: number): void {
    const element = this.#element(ip, port);
    if (!hasUsable(this.#all)) return this.#entry('refuse', element);
    if (this.#port.externalPolicy === 'Cluster') {
      this.#serve(ip, port, this.#all);
      this.#entry('masquerade', element);
      return;
    }
    // Pods and the node itself are not "external": they reach all endpoints, as through the cluster address.
    const mark = markOf(this.#port);
    this.#entry('inside', element, mark);
    this.#service({ mark, family: this.#context.family === 'ip' ? AF_INET : AF_INET6 }, this.#all, undefined);
    if (hasUsable(this.#local)) this.#serve(ip, port, this.#local);
    else {
      this.#entry('served', element);
      this.#entry('drop-outside', element);
    }
  }

  #element(ip: string, port: number): string {
    return `${ip},${this.#protocol}:${port}`;
  }

  #serve(address: string, port: number, backends: readonly Backend[]): void {
    this.#entry('served', this.#element(address, port));
    this.#service({ protocol: this.#protocol, address, port }, backends, this.#port.affinitySeconds);
  }

  #service(key: IpvsKey, backends: readonly Backend[], persistenceSeconds: number | undefined): void {
    const { scheduler, affinityScheduler } = this.#options;
    const isSticky = this.#port.affinitySeconds !== undefined;
    this.services.push({ key, backends, persistenceSeconds, scheduler: isSticky ? affinityScheduler : scheduler });
  }

  #restrict(ip: string): void {
    const sources = sourceRangesOf(this.#port, ip, this.#context);
    if (sources === undefined) return;
    const element = this.#element(ip, this.#port.port);
    for (const source of sources) this.#entry('allowed', `${element},${source}`);
    this.#entry('restricted', element);
  }
}

/** Those that new connections go to, and those that only keep theirs while they still serve. Each once. */
function backendsOf(endpoints: readonly ProxyEndpoint[]): Backend[] {
  const chosen = new Set(usable(endpoints));
  const backends = new Map<string, Backend>();
  for (const endpoint of endpoints) {
    if (!chosen.has(endpoint) && !endpoint.serving) continue;
    const address = canonicalIp(endpoint.address);
    const id = `${address} ${endpoint.port}`;
    if (chosen.has(endpoint) || !backends.has(id))
      backends.set(id, { address, port: endpoint.port, weight: chosen.has(endpoint) ? 1 : 0 });
  }
  return [...backends.values()];
}

const hasUsable = (backends: readonly Backend[]): boolean => backends.some(({ weight }) => weight > 0);

export function renderPort(port: ProxyPort, context: Context, options: RenderOptions): Fragment {
  const renderer = new PortRenderer(port, context, options);
  renderer.render();
  return { services: renderer.services, entries: renderer.entries, addresses: [...renderer.addresses] };
}
