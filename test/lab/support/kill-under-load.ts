/** kill -9 of the process with the proxy, again and again, while a pod opens connections as fast as asked. */
import type { ExecutionContext } from 'ava';
import type { ProxyPort, ProxyState } from '../../../kernel/contract/index.ts';
import { clusterCidrs, serviceCidrs } from './cluster.ts';
import type { HostedProxy } from './hosted-proxy.ts';
import type { ProxyBedNetwork } from './proxy-bed.ts';
import { writeSysctl } from '../../../netplugins/linux/sysctl.ts';
import { nodeAddress, until } from './topology.ts';

const vip = '10.96.0.1';
const patienceMs = 60_000;

export async function killUnderLoad(
  t: ExecutionContext,
  { one, two }: ProxyBedNetwork,
  options: {
    readonly open: () => HostedProxy;
    readonly perSecond: number;
    /** Connections that must have been made between two events. */
    readonly between: number;
    /** For each kill: whether the next instance is killed too, while it begins. */
    readonly rounds: readonly boolean[];
    purge(): Promise<void>;
  },
): Promise<void> {
  const { open, perSecond, between, rounds, purge } = options;
  const endpoints = [one, two].map(({ ip }) => ({
    ...{ address: ip, port: 80, local: ip === one.ip, ready: true, serving: true, terminating: false },
  }));
  const port = (protocol: 'TCP' | 'UDP'): ProxyPort => ({
    ...{ namespace: 'kill', service: 'web', name: protocol, protocol, port: 8000, clusterIps: [vip], endpoints },
    ...{ externalIps: [], loadBalancerIps: [], loadBalancerSourceRanges: [], nodePort: undefined },
    ...{ affinitySeconds: undefined, internalPolicy: 'Cluster', externalPolicy: 'Cluster' },
  });
  const desired: ProxyState = {
    nodeAddresses: [nodeAddress(0)],
    clusterCidrs,
    serviceCidrs,
    ports: [port('TCP'), port('UDP')],
  };
  let proxy = open();
  t.teardown(async () => {
    await proxy.kill();
    await purge();
  });
  await proxy.sync(desired);
  const flows = async (): Promise<(string | undefined)[]> => {
    const met: (string | undefined)[] = [];
    for (let localPort = 43_000; localPort < 43_006; localPort += 1)
      met.push((await one.node.udp(vip, 8000, { localPort, timeoutMs: patienceMs / 2 })).answer);
    return met;
  };
  const pinned = await flows();
  t.true(
    pinned.every((answer) => answer?.startsWith('node-') === true),
    pinned.join(),
  );
  // So many connections a second may use up the client's ports before the first is free again, after a minute.
  writeSysctl('net.ipv4.tcp_tw_reuse', 1, { netns: one.pod.netns });
  const counted = async (): Promise<number> => Number((await one.pod.ask({ verb: 'storm' })).answer?.split(' ')[0]);
  const goesOn = async (what: string): Promise<void> => {
    const before = await counted();
    await until(`connections are made ${what}`, async () => (await counted()) >= before + between, patienceMs);
  };
  await one.pod.ask({ verb: 'startStorm', host: vip, port: 8000, perSecond });
  await goesOn('at first');
  for (const isKilledInSync of rounds) {
    await proxy.kill();
    await goesOn('while no proxy runs');
    proxy = open();
    if (isKilledInSync) {
      const cut = proxy.sync(desired).then(
        () => undefined,
        () => undefined,
      );
      await goesOn('while it begins');
      await proxy.kill();
      await cut;
      proxy = open();
    }
    await proxy.sync(desired);
    await goesOn('with the next');
    t.deepEqual(await flows(), pinned, 'each UDP flow keeps its endpoint');
  }
  t.regex((await one.pod.ask({ verb: 'stopStorm' })).answer ?? '', /^\d+ 0$/, 'opened, failed');
  t.is(proxy.status().repairs, 0);
}
