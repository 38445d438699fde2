/** The text that the preflight loads: a small table with every feature that the proxy uses. */
import type { ProxyPort } from '../../../kernel/contract/index.ts';
import { compose, difference, emptyPicture } from './picture.ts';
import { renderCommon, renderMasqueradeChains, renderPort, type Context } from './render-port.ts';
import { renderDifference, renderSets, renderSwitch } from './render-table.ts';

export function probeRules(): string {
  const endpoint = { port: 8080, local: true, ready: true, serving: true, terminating: false };
  const port: ProxyPort = {
    namespace: 'probe',
    service: 'probe',
    name: '',
    protocol: 'TCP',
    port: 80,
    clusterIps: ['10.96.0.1'],
    externalIps: [],
    loadBalancerIps: ['192.0.2.1'],
    loadBalancerSourceRanges: ['10.0.0.0/8'],
    nodePort: 30080,
    affinitySeconds: undefined,
    internalPolicy: 'Cluster',
    externalPolicy: 'Local',
    endpoints: [{ ...endpoint, address: '10.244.1.2' }],
  };
  const sticky: ProxyPort = {
    ...port,
    service: 'sticky',
    affinitySeconds: 10,
    clusterIps: ['10.96.0.2'],
    loadBalancerIps: [],
    nodePort: 30081,
  };
  const context: Context = { family: 'ip', nodeAddresses: ['192.168.0.1'], clusterCidrs: ['10.244.0.0/16'] };
  const picture = compose([
    renderCommon(context),
    renderMasqueradeChains(context),
    renderPort(port, context),
    renderPort(sticky, context),
  ]);
  const change = difference(emptyPicture, picture);
  return renderSets('ip', '-a') + renderDifference(change, 'ip', '-a') + renderSwitch('ip', '-a');
}
