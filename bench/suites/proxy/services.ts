/** Services of the benchmark: many that nobody asks, and a few among them, evenly spread, that lead to real pods. */
import type { ProxyEndpoint, ProxyPort, ProxyState } from '../../../kernel/contract/index.ts';
import { clusterCidrs, type Family, nodeAddress, nodeAddress6 } from '../../bed/wire.ts';

export interface Backend {
  readonly address: string;
  readonly port: number;
}

export const servicePort = 80;
export const whoPort = 81;
export const iperfServicePort = 5201;
const targetCount = 10;

/** Of the Services' range, in order: 10.96.0.0/12 and fd96::/108 have room for more than a million each. */
export function serviceAddress(index: number, family: Family = 'ipv4'): string {
  if (family === 'ipv4') return `10.${96 + (index >> 16)}.${(index >> 8) & 255}.${index & 255}`;
  const [high, low] = [index >> 16, index & 0xffff].map((part) => part.toString(16));
  return high === '0' ? `fd96::${low === '0' ? '' : low}` : `fd96::${high}:${low}`;
}

export const mostServices = 400_000;
/** Above the many. */
const extra = 7 << 16;
export const emptyServiceAddress = (family: Family): string => serviceAddress(extra + 1, family);
export const iperfServiceAddress = (family: Family): string => serviceAddress(extra + 2, family);
export const rolledServiceAddress = (family: Family): string => serviceAddress(extra + 3, family);
export const addedServiceAddress = (which: number, family: Family): string =>
  serviceAddress(extra + 256 + which, family);

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

/** Every one another address or port, as pods have. */
function nobody(index: number, which: number, family: Family): ProxyEndpoint {
  const [net, host] = [100 + ((index >> 7) & 63), (index & 127) * 2 + which];
  const address = family === 'ipv4' ? `10.244.${net}.${host}` : `fd44:0:0:${net}::${(host + 1).toString(16)}`;
  return endpoint({ address, port: 8080 + (index >> 13) });
}

/** `services` of them, the asked ones among them; `name` keeps them apart from those added later. */
export function manyServices(services: number, backends: readonly Backend[], family: Family): readonly ProxyPort[] {
  const targets = new Set(targetsOf(services));
  return Array.from({ length: services }, (_, index) =>
    port(
      `service-${index}`,
      serviceAddress(index, family),
      targets.has(index)
        ? backends.map((backend) => endpoint(backend))
        : [nobody(index, 0, family), nobody(index, 1, family)],
    ),
  );
}

export const stateOf = (ports: readonly ProxyPort[], family: Family = 'ipv4'): ProxyState => ({
  nodeAddresses: [family === 'ipv4' ? nodeAddress(0) : nodeAddress6(0)],
  clusterCidrs: [clusterCidrs[family]],
  serviceCidrs: [family === 'ipv4' ? '10.96.0.0/12' : 'fd96::/108'],
  ports,
});
