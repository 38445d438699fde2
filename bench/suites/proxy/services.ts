/** Services of the benchmark: many that nobody asks, and a few among them, evenly spread, that lead to real pods. */
import type { ProxyEndpoint, ProxyPort, ProxyState } from '../../../kernel/contract/index.ts';
import { clusterCidrs, nodeAddress } from '../../bed/wire.ts';

export interface Backend {
  readonly address: string;
  readonly port: number;
}

export const servicePort = 80;
export const whoPort = 81;
export const iperfServicePort = 5201;
export const emptyServiceAddress = '10.103.0.1';
export const iperfServiceAddress = '10.103.0.2';
const targetCount = 10;

/** 10.96.0.0/12, in order; the twelve bits above are those of 10.96 to 10.102. */
export const serviceAddress = (index: number): string =>
  `10.${96 + (index >> 16)}.${(index >> 8) & 255}.${index & 255}`;

/** Indices of the Services that are asked: first, last and between, as a linear search makes a difference of them. */
export function targetsOf(services: number): readonly number[] {
  const count = Math.min(targetCount, services);
  return Array.from({ length: count }, (_, index) =>
    count === 1 ? 0 : Math.round((index * (services - 1)) / (count - 1)),
  );
}

export const endpoint = ({ address, port }: Backend, change: Partial<ProxyEndpoint> = {}): ProxyEndpoint => ({
  ...{ address, port, local: false, ready: true, serving: true, terminating: false },
  ...change,
});

export function port(
  service: string,
  clusterIp: string,
  endpoints: readonly ProxyEndpoint[],
  change: Partial<ProxyPort> = {},
): ProxyPort {
  return {
    ...{ namespace: 'bench', service, name: 'main', protocol: 'TCP', port: servicePort, clusterIps: [clusterIp] },
    ...{ externalIps: [], loadBalancerIps: [], loadBalancerSourceRanges: [], nodePort: undefined },
    ...{ affinitySeconds: undefined, internalPolicy: 'Cluster', externalPolicy: 'Cluster', endpoints },
    ...change,
  };
}

const nobody = (index: number, which: number): ProxyEndpoint =>
  endpoint({ address: `10.244.${100 + ((index >> 7) & 63)}.${(index & 127) * 2 + which}`, port: 8080 });

/** `services` of them, the asked ones among them; `name` keeps them apart from those added later. */
export function manyServices(services: number, backends: readonly Backend[]): readonly ProxyPort[] {
  const targets = new Set(targetsOf(services));
  return Array.from({ length: services }, (_, index) =>
    port(
      `service-${index}`,
      serviceAddress(index),
      targets.has(index) ? backends.map((backend) => endpoint(backend)) : [nobody(index, 0), nobody(index, 1)],
    ),
  );
}

export const stateOf = (ports: readonly ProxyPort[]): ProxyState => ({
  nodeAddresses: [nodeAddress(0)],
  clusterCidrs: [clusterCidrs.ipv4],
  serviceCidrs: ['10.96.0.0/12'],
  ports,
});
