/** The text that the preflight loads: a small table with every feature that the proxy uses. */
import type { ProxyPort } from '../../../kernel/contract/index.ts';
import type { Context } from '../../linux/service-addresses.ts';
import { renderCommon, renderFamilyChains, renderPort, type NftFamily } from './render-port.ts';
import { renderDifference, renderSets, renderSwitch } from './render-table.ts';
import { TableWishes } from './table-wishes.ts';

const addresses = {
  ip: {
    services: '10.96.0.0/12',
    service: '10.96.0.1',
    sticky: '10.96.0.2',
    balancer: '192.0.2.1',
    pod: '10.244.1.2',
    pods: '10.244.0.0/16',
    node: '192.0.2.9',
  },
  ip6: {
    services: 'fd96::/108',
    service: 'fd96::1',
    sticky: 'fd96::2',
    balancer: 'fd02::1',
    pod: 'fd44::2',
    pods: 'fd44::/48',
    node: 'fd02::9',
  },
} as const;

export function probeRules(family: NftFamily = 'ip'): string {
  const of = family === 'ip' ? addresses.ip : addresses.ip6;
  const endpoint = { port: 8080, local: true, ready: true, serving: true, terminating: false };
  const port: ProxyPort = {
    namespace: 'probe',
    service: 'probe',
    name: '',
    protocol: 'TCP',
    port: 80,
    clusterIps: [of.service],
    externalIps: [],
    loadBalancerIps: [of.balancer],
    loadBalancerSourceRanges: [of.pods],
    nodePort: 30080,
    affinitySeconds: undefined,
    internalPolicy: 'Cluster',
    externalPolicy: 'Local',
    endpoints: [{ ...endpoint, address: of.pod }],
  };
  const sticky: ProxyPort = {
    ...port,
    service: 'sticky',
    affinitySeconds: 10,
    clusterIps: [of.sticky],
    loadBalancerIps: [],
    nodePort: 30081,
  };
  const context: Context = {
    family,
    nodeAddresses: [of.node],
    clusterCidrs: [of.pods],
    serviceCidrs: [of.services],
  };
  const wishes = new TableWishes();
  for (const fragment of [
    renderCommon(context),
    renderFamilyChains(context),
    renderPort(port, context),
    renderPort(sticky, context),
  ])
    wishes.claim(fragment);
  const change = wishes.takeWhole();
  return renderSets(family, '-a') + renderDifference(change, family, '-a') + renderSwitch(family, '-a');
}
