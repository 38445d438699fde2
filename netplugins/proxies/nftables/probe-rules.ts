/** The text that the preflight loads: a small table with every feature that the proxy uses. */
import type { ProxyPort } from '../../../kernel/contract/index.ts';
import { sampleAddresses } from '../../linux/sample-addresses.ts';
import type { Context } from '../../linux/service-addresses.ts';
import { renderCommon, renderFamilyChains, renderPort, type NftFamily } from './render-port.ts';
import { renderDifference, renderSets, renderSwitch } from './render-table.ts';
import { TableWishes } from './table-wishes.ts';

export function probeRules(family: NftFamily = 'ip'): string {
  const of = sampleAddresses[family];
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
    renderFamilyChains(context, [{ seconds: 0, size: 32, isLocal: false }]),
    renderPort(port, context),
    renderPort(sticky, context),
  ])
    wishes.claim(fragment);
  const change = wishes.takeWhole();
  return [renderSets(family, '-a'), ...renderDifference(change, family, '-a'), renderSwitch(family, '-a')].join('');
}
