/** Session affinity, in the proxy kit. */
import type { ProxyClient } from './proxy-bed.ts';
import { eventually } from '../eventually.ts';
import { kitCase, type Case } from './proxy-bed.ts';

/** Two clients that are drawn two endpoints so often agree in all draws once in some thousand runs. */
const stickyPorts = 12;

export const affinityCases: readonly Case[] = [
  kitCase(
    'session affinity holds a client at one endpoint, over all addresses of the port',
    ['tcp', 'affinity', 'node-port'],
    async (t, tools, vip) => {
      const { bed, sync, port, local, remote, met, few } = tools;
      const sticky = port({ affinitySeconds: 600, nodePort: 30080 });
      await sync(sticky);
      const first = await met('local', vip, 8000, few);
      t.true(first === 'local' || first === 'remote', `one endpoint, not "${first}"`);
      t.is(await met('local', bed.nodeAddress, 30080, few), first);
      const other = first === 'local' ? remote : local;
      await sync({ ...sticky, endpoints: [other] });
      t.is(await met('local', vip, 8000, 4), other === local ? 'local' : 'remote', 'its endpoint is gone');
    },
  ),
  kitCase(
    'session affinity ends with its time-out',
    ['tcp', 'affinity', 'affinity-time-out'],
    async (t, { sync, port, met }, vip) => {
      await sync(port({ affinitySeconds: 1 }));
      const first = await met('local', vip, 8000, 2);
      const isDrawnAnew = async (): Promise<boolean> => {
        await new Promise((resolve) => setTimeout(resolve, 1_200));
        return (await met('local', vip, 8000, 1)) !== first;
      };
      t.true(await eventually(isDrawnAnew, 18_000));
    },
  ),
  kitCase('session affinity holds each client for itself', ['tcp', 'affinity'], async (t, { sync, port, met }, vip) => {
    const numbers = Array.from({ length: stickyPorts }, (_, index) => 8100 + index);
    await sync(...numbers.map((number) => port({ name: `p${number}`, port: number, affinitySeconds: 600 })));
    const heldAt = async (from: ProxyClient): Promise<string> => {
      const endpoints: string[] = [];
      for (const number of numbers) endpoints.push(await met(from, vip, number, 1));
      return endpoints.join();
    };
    const pod = await heldAt('local');
    const node = await heldAt('node');
    t.not(node, pod, 'another client is drawn for itself');
    t.is(await heldAt('local'), pod);
    t.is(await heldAt('node'), node);
  }),
];
