/** What a proxy of any mode does with a new connection to a service address: the semantics in words. Pure. */
import type { Protocol, ProxyPort, ProxyState, ServiceVerdict } from '../../kernel/contract/index.ts';
import { canonicalIp } from './ip-address.ts';
import { isOfFamily, usable, type IpFamily } from './service-addresses.ts';

export interface ServiceFlow {
  readonly protocol: Protocol;
  readonly destination: string;
  readonly port: number;
}

export interface Decision extends Omit<ServiceVerdict, 'objects'> {
  readonly of: ProxyPort;
}

export const flowFamily = ({ destination }: ServiceFlow): IpFamily => (destination.includes(':') ? 'ip6' : 'ip');

/** Undefined: no service address. */
export function decide(state: ProxyState, flow: ServiceFlow, from: 'pod' | 'node' | 'outside'): Decision | undefined {
  const destination = canonicalIp(flow.destination);
  const has = (addresses: readonly string[]): boolean =>
    addresses.some((address) => isOfFamily(address, flowFamily(flow)) && canonicalIp(address) === destination);
  for (const port of state.ports) {
    if (port.protocol !== flow.protocol) continue;
    const via = viaOf(port, flow, has, state);
    if (via === undefined) continue;
    const isLocal =
      via === 'cluster address'
        ? port.internalPolicy === 'Local'
        : port.externalPolicy === 'Local' && from === 'outside';
    const ofFamily = port.endpoints.filter(({ address }) => isOfFamily(address, flowFamily(flow)));
    const all = usable(ofFamily);
    const list = isLocal ? usable(ofFamily.filter(({ local }) => local)) : all;
    const policy = via === 'cluster address' ? 'internalTrafficPolicy' : 'externalTrafficPolicy';
    const [verdict, reason] =
      all.length === 0
        ? ([
            'rejected',
            ofFamily.length === 0 ? 'the Service has no endpoints' : 'no endpoint of the Service is ready',
          ] as const)
        : list.length === 0
          ? (['dropped', `${policy} is Local and no endpoint is on this node`] as const)
          : (['translated', undefined] as const);
    return {
      of: port,
      service: `${port.namespace}/${port.service}`,
      via,
      verdict,
      reason,
      endpoints: list.map(({ address, port: number }) => ({ address: canonicalIp(address), port: number })),
    };
  }
  return undefined;
}

function viaOf(
  port: ProxyPort,
  flow: ServiceFlow,
  has: (addresses: readonly string[]) => boolean,
  state: ProxyState,
): ServiceVerdict['via'] | undefined {
  if (port.port === flow.port) {
    if (has(port.clusterIps)) return 'cluster address';
    if (has(port.externalIps)) return 'external address';
    if (has(port.loadBalancerIps)) return 'load-balancer address';
  }
  return port.nodePort === flow.port && has(state.nodeAddresses) ? 'node port' : undefined;
}
