/** Services as proxies are told of them: what most tests leave as it is, and what they change. */
import type { ProxyEndpoint, ProxyPort, ProxyState } from '../../../kernel/contract/index.ts';
import { clusterCidrs, serviceCidrs, type Member } from './cluster.ts';
import { plainEndpoint, plainPort } from '../../../kernel/conformance/proxy/plain-port.ts';

/** The Service's cluster address, when no other is said. */
export const vip = '10.96.0.1';

export function port(change: Partial<ProxyPort> = {}): ProxyPort {
  return plainPort({
    name: 'http',
    port: 8000,
    clusterIps: [vip],
    ...change,
  });
}

/** On port 80, ready, of another node. */
export function endpoint(address: string, change: Partial<ProxyEndpoint> = {}): ProxyEndpoint {
  return plainEndpoint(address, { port: 80, ...change });
}

/** The members' pods, seen from the node of `at`. */
export const endpoints = (at: Member, ...members: readonly Member[]): ProxyEndpoint[] =>
  members.map((member) => endpoint(member.ip, { local: member === at }));

export const proxyState = (nodeAddresses: readonly string[], ports: readonly ProxyPort[]): ProxyState => ({
  nodeAddresses: [...nodeAddresses],
  clusterCidrs,
  serviceCidrs,
  ports: [...ports],
});
