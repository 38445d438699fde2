/** UDP flows that go on while endpoints come and go, in the proxy kit: UDP has no end, and the kernel keeps its answer. */
import type { ProxyEndpoint, ProxyPort } from '../../contract/index.ts';
import { kitCase, type Case } from './proxy-bed.ts';

export const udpFlowCases: readonly Case[] = [
  kitCase(
    'UDP flows of an endpoint that is gone move on, in every transition; a living one stays',
    ['udp'],
    async (t, tools, vip) => {
      const { bed, sync, port, local, remote } = tools;
      const udp = (...endpoints: readonly ProxyEndpoint[]): ProxyPort => port({ protocol: 'UDP', endpoints });
      const flow = async (sourcePort = 42_000): Promise<string> => {
        const answer = await bed.connect('node', { address: vip, port: 8000, protocol: 'UDP', sourcePort });
        return typeof answer === 'string' ? answer : answer.endpoint;
      };
      const sourcePorts = Array.from({ length: 10 }, (_, index) => 42_000 + index);
      const flows = async (): Promise<string[]> => {
        const met: string[] = [];
        for (const sourcePort of sourcePorts) met.push(await flow(sourcePort));
        return met;
      };
      await sync(udp(local, remote));
      const pinned = await flows();
      t.deepEqual(await flows(), pinned, 'pinned');
      await sync(udp(local, remote), port({ name: 'other', port: 9000 }));
      t.deepEqual(await flows(), pinned, 'something else changed');
      const [first = ''] = pinned;
      const stays = first === 'local' ? local : remote;
      await sync(udp(stays));
      t.is(await flow(), first, 'its endpoint is still there');
      await sync(udp(stays === local ? remote : local));
      t.is(await flow(), first === 'local' ? 'remote' : 'local', 'its endpoint is gone');
      await sync(udp());
      t.is(await flow(), 'refused', 'none is left');
      await sync(udp(stays));
      t.is(await flow(), first, 'one is back');
    },
  ),
  kitCase(
    'UDP flows to a NodePort, an external and a balancer address too, from before the Service until after its end',
    ['udp', 'node-port'],
    async (t, { bed, sync, port, local, remote }) => {
      const targets = [
        { address: bed.nodeAddress, port: 30_080, sourcePort: 42_100 },
        { address: bed.externalAddress, port: 8000, sourcePort: 42_101 },
        { address: bed.balancerAddress, port: 8000, sourcePort: 42_102 },
      ];
      const udp = (...endpoints: readonly ProxyEndpoint[]): ProxyPort =>
        port({
          ...{ protocol: 'UDP', endpoints, nodePort: 30_080 },
          ...{ externalIps: [bed.externalAddress], loadBalancerIps: [bed.balancerAddress] },
        });
      // All at once: where nobody is met, each waits in vain.
      const flows = async (inVain = false): Promise<string> => {
        const answers = await Promise.all(
          targets.map((target) => bed.connect('outside', { ...target, protocol: 'UDP', inVain })),
        );
        return answers.map((answer) => (typeof answer === 'string' ? 'nobody' : answer.endpoint)).join();
      };
      await sync();
      t.is(await flows(true), 'nobody,nobody,nobody', 'there is no such Service');
      await sync(udp(remote));
      t.is(await flows(), 'remote,remote,remote', 'it has come');
      await sync(udp(local));
      t.is(await flows(), 'local,local,local', 'its endpoint is another');
      await sync(udp());
      t.is(await flows(true), 'nobody,nobody,nobody', 'it has none');
      await sync(udp(remote));
      t.is(await flows(), 'remote,remote,remote', 'one is back');
      await sync();
      t.is(await flows(true), 'nobody,nobody,nobody', 'it is gone');
    },
  ),
];
