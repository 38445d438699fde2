/** What a proxy of any mode does with a new connection to a service address: the semantics in words. Pure. */
import type { Protocol, ProxyPort, ProxyState, ServiceVerdict } from '../../kernel/contract/index.ts';
import { canonicalIp, contains, parseCidr } from './ip-address.ts';
import { isOfFamily, rangesOf, usable, type IpFamily } from './service-addresses.ts';

export interface ServiceFlow {
  readonly protocol: Protocol;
  readonly destination: string;
  readonly port: number;
}

/** About a port of a Service. */
export interface PortDecision extends Omit<ServiceVerdict, 'objects'> {
  readonly of: ProxyPort;
  readonly service: string;
}

/** About a port that no Service has: at a cluster address, or at an address of the service range that none has either. */
export interface UnknownDecision extends Omit<ServiceVerdict, 'objects'> {
  readonly of: undefined;
  readonly verdict: 'rejected';
  /** What the rule that rejects it is about: the address, or the range. */
  readonly subject: string;
}

export type Decision = PortDecision | UnknownDecision;

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
  return decideUnknown(state, flow, has);
}

function decideUnknown(
  state: ProxyState,
  flow: ServiceFlow,
  has: (addresses: readonly string[]) => boolean,
): UnknownDecision | undefined {
  const destination = canonicalIp(flow.destination);
  const known = state.ports.find(({ clusterIps }) => has(clusterIps));
  const unknown = { of: undefined, verdict: 'rejected', endpoints: [] } as const;
  if (known !== undefined)
    return {
      ...unknown,
      service: `${known.namespace}/${known.service}`,
      via: 'cluster address',
      reason: `the Service has no ${flow.protocol} port ${flow.port}`,
      subject: destination,
    };
  const range = rangesOf(state.serviceCidrs, flowFamily(flow)).find((cidr) => contains(parseCidr(cidr), destination));
  if (range === undefined || has(state.nodeAddresses)) return undefined;
  return {
    ...unknown,
    service: undefined,
    via: 'service range',
    reason: `no Service has this address of the service range ${range}`,
    subject: range,
  };
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
