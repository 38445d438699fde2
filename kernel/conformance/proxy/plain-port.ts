/** A Service's port and an endpoint with nothing particular about them: cases say only what they are about. */
import type { ProxyEndpoint, ProxyPort } from '../../contract/index.ts';

export function plainPort(change: Partial<ProxyPort> = {}): ProxyPort {
  return {
    namespace: 'default',
    service: 'web',
    name: '',
    protocol: 'TCP',
    port: 80,
    clusterIps: ['10.96.0.1'],
    externalIps: [],
    loadBalancerIps: [],
    loadBalancerSourceRanges: [],
    nodePort: undefined,
    affinitySeconds: undefined,
    internalPolicy: 'Cluster',
    externalPolicy: 'Cluster',
    endpoints: [],
    ...change,
  };
}

/** Ready, of another node. */
export function plainEndpoint(address: string, change: Partial<ProxyEndpoint> = {}): ProxyEndpoint {
  return { address, port: 8080, local: false, ready: true, serving: true, terminating: false, ...change };
}
