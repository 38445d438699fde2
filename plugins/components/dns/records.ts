/**
 * The names of the cluster (github.com/kubernetes/dns specification 1.1.0): Services, headless Services with their pods,
 * named ports (SRV), pods by address, reverse names. Pure, over an index that the component keeps.
 */
import type { Endpoint, EndpointSlice, Service } from '../../../kernel/contract/kubernetes.ts';

export type Question = { readonly name: string; readonly type: string };

export type DnsRecord =
  | {
      readonly name: string;
      readonly type: 'A' | 'AAAA' | 'CNAME' | 'PTR' | 'NS';
      readonly ttl: number;
      readonly data: string;
    }
  | { readonly name: string; readonly type: 'TXT'; readonly ttl: number; readonly data: string }
  | {
      readonly name: string;
      readonly type: 'SRV';
      readonly ttl: number;
      readonly data: {
        readonly priority: number;
        readonly weight: number;
        readonly port: number;
        readonly target: string;
      };
    };

export type Resolution =
  /** Ours: these records, possibly none (the name exists, not this type). */
  | { readonly kind: 'answer'; readonly records: readonly DnsRecord[]; readonly additionals: readonly DnsRecord[] }
  | { readonly kind: 'absent' }
  /** Not ours: ask upstream. */
  | { readonly kind: 'foreign' };

export interface DnsIndex {
  service(namespace: string, name: string): Service | undefined;
  slices(namespace: string, name: string): readonly EndpointSlice[];
  hasNamespace(namespace: string): boolean;
  /** Services whose cluster addresses include this one. */
  servicesByIp(ip: string): readonly Service[];
  /** Endpoint with this address in a headless Service, with its Service's name. */
  headlessByIp(
    ip: string,
  ): { readonly namespace: string; readonly service: string; readonly hostname: string } | undefined;
}

const ttl = 5;

function isIpv6(ip: string): boolean {
  return ip.includes(':');
}

function addressRecords(name: string, ips: readonly string[], type: string): DnsRecord[] {
  return ips
    .filter((ip) => type === (isIpv6(ip) ? 'AAAA' : 'A'))
    .map((ip) => ({ name, type: isIpv6(ip) ? 'AAAA' : 'A', ttl, data: ip }));
}

/** The name of an endpoint below its headless Service: its hostname, or its address with dashes. */
export function endpointLabel(endpoint: Endpoint): string {
  const ip = endpoint.addresses?.[0] ?? '';
  return endpoint.hostname && endpoint.hostname !== '' ? endpoint.hostname : ip.replaceAll(/[.:]/g, '-');
}

function readyEndpoints(slices: readonly EndpointSlice[], publishNotReady: boolean): readonly Endpoint[] {
  return slices.flatMap((slice) =>
    (slice.endpoints ?? []).filter((endpoint) => publishNotReady || (endpoint.conditions?.ready ?? true)),
  );
}

function ptrAddress(name: string): string | undefined {
  const v4 = /^(\d+)\.(\d+)\.(\d+)\.(\d+)\.in-addr\.arpa$/.exec(name);
  if (v4) return `${v4[4]}.${v4[3]}.${v4[2]}.${v4[1]}`;
  const v6 = /^((?:[0-9a-f]\.){32})ip6\.arpa$/.exec(name);
  if (!v6) return undefined;
  const digits = v6[1]!.split('.').filter(Boolean).reverse().join('');
  return new URL(`http://[${digits.match(/.{4}/g)!.join(':')}]`).hostname.slice(1, -1);
}

export class ClusterNames {
  readonly #domain: string;
  readonly #index: DnsIndex;

  constructor(domain: string, index: DnsIndex) {
    this.#domain = domain.toLowerCase();
    this.#index = index;
  }

  resolve(question: Question): Resolution {
    const name = question.name.toLowerCase().replace(/\.$/, '');
    if (question.type === 'PTR' || name.endsWith('.arpa')) return this.#reverse(name, question.type);
    if (name === this.#domain) return { kind: 'answer', records: [], additionals: [] };
    if (!name.endsWith(`.${this.#domain}`)) return { kind: 'foreign' };
    const labels = name.slice(0, -this.#domain.length - 1).split('.');
    const zone = labels.pop();
    if (zone === 'dns-version' && labels.length === 0) {
      const records: DnsRecord[] =
        question.type === 'TXT' ? [{ name: question.name, type: 'TXT', ttl, data: '1.1.0' }] : [];
      return { kind: 'answer', records, additionals: [] };
    }
    if (zone === 'svc') return this.#service(question, labels);
    if (zone === 'pod') return this.#pod(question, labels);
    return { kind: 'absent' };
  }

  #reverse(name: string, type: string): Resolution {
    const ip = ptrAddress(name);
    if (ip === undefined) return { kind: 'foreign' };
    const targets = this.#index
      .servicesByIp(ip)
      .map((service) => `${service.metadata.name}.${service.metadata.namespace}.svc.${this.#domain}`);
    const endpoint = this.#index.headlessByIp(ip);
    if (endpoint) targets.push(`${endpoint.hostname}.${endpoint.service}.${endpoint.namespace}.svc.${this.#domain}`);
    if (targets.length === 0) return { kind: 'foreign' };
    const records: DnsRecord[] = type === 'PTR' ? targets.map((data) => ({ name, type: 'PTR', ttl, data })) : [];
    return { kind: 'answer', records, additionals: [] };
  }

  /** 10-244-1-5.namespace.pod: the address itself, if the namespace exists ("pods insecure" of CoreDNS). */
  #pod(question: Question, labels: readonly string[]): Resolution {
    const [dashed, namespace] = labels;
    if (labels.length === 1 && this.#index.hasNamespace(labels[0]!))
      return { kind: 'answer', records: [], additionals: [] };
    if (labels.length !== 2 || !this.#index.hasNamespace(namespace!)) return { kind: 'absent' };
    const ip = /^\d+-\d+-\d+-\d+$/.test(dashed!) ? dashed!.replaceAll('-', '.') : dashed!.replaceAll('-', ':');
    if (!/^(\d+\.){3}\d+$/.test(ip) && !/^[0-9a-f:]+$/.test(ip)) return { kind: 'absent' };
    return { kind: 'answer', records: addressRecords(question.name, [ip], question.type), additionals: [] };
  }

  #service(question: Question, labels: readonly string[]): Resolution {
    const namespace = labels.at(-1);
    if (namespace === undefined) return { kind: 'answer', records: [], additionals: [] };
    if (!this.#index.hasNamespace(namespace)) return { kind: 'absent' };
    if (labels.length === 1) return { kind: 'answer', records: [], additionals: [] };
    const serviceName = labels.at(-2)!;
    const service = this.#index.service(namespace, serviceName);
    if (!service) return { kind: 'absent' };
    const front = labels.slice(0, -2);
    if (service.spec.type === 'ExternalName') {
      if (front.length > 0) return { kind: 'absent' };
      const data = service.spec.externalName ?? '';
      return { kind: 'answer', records: [{ name: question.name, type: 'CNAME', ttl, data }], additionals: [] };
    }
    if (front.length === 2 && front[0]!.startsWith('_') && front[1]!.startsWith('_')) {
      return this.#ports(question, service, front[0]!.slice(1), front[1]!.slice(1));
    }
    const isHeadless = service.spec.clusterIP === 'None';
    const slices = this.#index.slices(namespace, serviceName);
    const endpoints = readyEndpoints(slices, service.spec.publishNotReadyAddresses ?? false);
    if (front.length === 1) {
      const found = isHeadless ? endpoints.filter((endpoint) => endpointLabel(endpoint) === front[0]) : [];
      if (found.length === 0) return { kind: 'absent' };
      const ips = found.flatMap((endpoint) => endpoint.addresses ?? []);
      return { kind: 'answer', records: addressRecords(question.name, ips, question.type), additionals: [] };
    }
    if (front.length > 1) return { kind: 'absent' };
    if (question.type === 'SRV') return this.#ports(question, service, undefined, undefined);
    const ips = isHeadless
      ? endpoints.flatMap((endpoint) => endpoint.addresses ?? [])
      : (service.spec.clusterIPs ?? [service.spec.clusterIP ?? '']);
    if (isHeadless && ips.length === 0) return { kind: 'absent' };
    return {
      kind: 'answer',
      records: addressRecords(question.name, [...new Set(ips)], question.type),
      additionals: [],
    };
  }

  #ports(question: Question, service: Service, port: string | undefined, protocol: string | undefined): Resolution {
    const { namespace, name } = service.metadata;
    const base = `${name}.${namespace}.svc.${this.#domain}`;
    const matches = (each: { name?: string; protocol?: string }) =>
      (port === undefined || each.name === port) &&
      (protocol === undefined || (each.protocol ?? 'TCP').toLowerCase() === protocol);
    const targets: { target: string; port: number; ips: readonly string[] }[] = [];
    if (service.spec.clusterIP === 'None') {
      for (const slice of this.#index.slices(namespace, name)) {
        for (const each of (slice.ports ?? []).filter(matches)) {
          for (const endpoint of readyEndpoints([slice], service.spec.publishNotReadyAddresses ?? false)) {
            const target = `${endpointLabel(endpoint)}.${base}`;
            targets.push({ target, port: each.port ?? 0, ips: endpoint.addresses ?? [] });
          }
        }
      }
    } else {
      for (const each of (service.spec.ports ?? []).filter(matches)) {
        targets.push({ target: base, port: each.port, ips: service.spec.clusterIPs ?? [] });
      }
    }
    if (targets.length === 0) return { kind: 'absent' };
    if (question.type !== 'SRV') return { kind: 'answer', records: [], additionals: [] };
    const weight = Math.max(1, Math.floor(100 / targets.length));
    return {
      kind: 'answer',
      records: targets.map((each) => ({
        name: question.name,
        type: 'SRV',
        ttl,
        data: { priority: 0, weight, port: each.port, target: each.target },
      })),
      additionals: targets.flatMap((each) => [
        ...addressRecords(each.target, each.ips, 'A'),
        ...addressRecords(each.target, each.ips, 'AAAA'),
      ]),
    };
  }
}
