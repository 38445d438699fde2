/** Tries everything that the proxy uses in a network namespace that vanishes with the probe. */
import { closeSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ProxyPort } from '../../../kernel/contract/index.ts';
import type { IptablesBackend } from '../../linux/iptables.ts';
import { runInNetns, withScratchNetns } from '../../linux/namespaces.ts';
import { OwnedChains } from '../../linux/owned-chains.ts';
import { sampleAddresses } from '../../linux/sample-addresses.ts';
import type { Context, IpFamily } from '../../linux/service-addresses.ts';
import { compose, prefix, renderPort } from './render.ts';

/** Undefined: works. Otherwise the reason why not. */
export async function probeIptables(
  families: readonly IpFamily[],
  backend: IptablesBackend,
): Promise<string | undefined> {
  const folder = mkdtempSync(join(tmpdir(), 'pintle-probe-'));
  let fd: number | undefined;
  try {
    fd = withScratchNetns((path) => openSync(path, 'r'));
    const netns = `/proc/self/fd/${fd}`;
    runInNetns(netns, () => undefined);
    for (const family of families) {
      const chains = new OwnedChains(prefix, { family, backend, netns, lockFile: join(folder, 'lock') });
      await chains.apply(sample(family));
    }
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  } finally {
    if (fd !== undefined) closeSync(fd);
    rmSync(folder, { recursive: true, force: true });
  }
}

function sample(family: IpFamily): ReturnType<typeof compose> {
  const of = sampleAddresses[family];
  const endpoint = { address: of.pod, port: 8080, local: true, ready: true, serving: true, terminating: false };
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
    affinitySeconds: 10,
    internalPolicy: 'Cluster',
    externalPolicy: 'Local',
    endpoints: [endpoint, { ...endpoint, port: 8081 }],
  };
  const empty: ProxyPort = { ...port, protocol: 'UDP', service: 'empty', endpoints: [] };
  const context: Context = { family, nodeAddresses: [of.node], clusterCidrs: [of.pods], serviceCidrs: [of.services] };
  return compose([renderPort(port, context), renderPort(empty, context)], context, 12);
}
