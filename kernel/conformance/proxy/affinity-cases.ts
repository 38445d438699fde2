/** Session affinity, in the proxy kit. */
import type { ProxyClient } from './proxy-bed.ts';
import { eventually } from '../eventually.ts';
import { kitCase, type Case } from './proxy-bed.ts';

/** Two clients are drawn endpoints until they differ: in two draws, mostly; never in so many once in a million runs. */
const stickyPorts = 20;

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
      const numbers = [8100, 8101, 8102, 8103];
      await sync(...numbers.map((number) => port({ name: `p${number}`, port: number, affinitySeconds: 1 })));
      const drawn = async (): Promise<string> => {
        const endpoints: string[] = [];
        for (const number of numbers) endpoints.push(await met('local', vip, number, 1));
        return endpoints.join();
      };
      const first = await drawn();
      const isDrawnAnew = async (): Promise<boolean> => {
        await new Promise((resolve) => setTimeout(resolve, 1_200));
        return (await drawn()) !== first;
      };
      t.true(await eventually(isDrawnAnew, 18_000));
    },
  ),
  kitCase('session affinity holds each client for itself', ['tcp', 'affinity'], async (t, { sync, port, met }, vip) => {
    const numbers = Array.from({ length: stickyPorts }, (_, index) => 8100 + index);
    await sync(...numbers.map((number) => port({ name: `p${number}`, port: number, affinitySeconds: 600 })));
    const held: (readonly [ProxyClient, number, string])[] = [];
    const isHeldApart = async (number: number): Promise<boolean> => {
      const pod = await met('local', vip, number, 1);
      const node = await met('node', vip, number, 1);
      held.push(['local', number, pod], ['node', number, node]);
      return pod !== node;
    };
    let isApart = false;
    for (const number of numbers) isApart ||= await isHeldApart(number);
    t.true(isApart, 'another client is drawn for itself');
    for (const [from, number, endpoint] of held) t.is(await met(from, vip, number, 1), endpoint, `${from} ${number}`);
  }),
];
