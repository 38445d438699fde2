/** SCTP Services, in the proxy kit: with packets where the kernel has such sockets, by what is in the kernel everywhere. */
import { kitCase, type Case, type ProxyAnswer, type ProxyClient } from './proxy-bed.ts';

const nameOf = (answer: ProxyAnswer): string => (typeof answer === 'string' ? answer : answer.endpoint);

export const sctpCases: readonly Case[] = [
  kitCase(
    'an SCTP Service is beside a TCP one of the same address and port, and each has its own endpoints',
    ['sctp', 'tcp', 'explain'],
    async (t, { bed, sync, port, local, remote, met, few }, vip) => {
      const ports = [port({ protocol: 'SCTP', endpoints: [remote] }), port({ name: 'tcp', endpoints: [local] })];
      t.true((await sync(...ports)) > 0);
      t.is(await sync(...ports), 0);
      t.is(await met('node', vip, 8000, few), 'local', 'TCP');
      const verdict = await bed.proxy().explain?.({ protocol: 'SCTP', destination: vip, port: 8000 }, 'pod');
      t.is(verdict?.verdict, 'translated');
      t.deepEqual(
        verdict?.endpoints.map(({ address }) => address),
        [remote.address],
      );
      t.true((verdict?.objects.length ?? 0) > 0, 'it names objects');
      t.deepEqual(verdict?.objects.filter(({ isPresent }) => !isPresent) ?? [], [], 'all of them are there');
      if (bed.sctpProblem === undefined)
        t.is(nameOf(await bed.connect('node', { address: vip, port: 8000, protocol: 'SCTP' })), 'remote', 'SCTP');
      else t.log(`nothing sent: ${bed.sctpProblem}`);
    },
  ),
  kitCase(
    'SCTP reaches all endpoints by cluster address and NodePort, keeps its client, and is refused without endpoints',
    ['sctp', 'node-port', 'client-address'],
    async (t, { bed, sync, port, local, remote }, vip) => {
      const sctp = port({ protocol: 'SCTP', nodePort: 30080 });
      await sync(sctp);
      if (bed.sctpProblem !== undefined) {
        t.true(bed.proxy().status().ready, 'SCTP is no reason to fail');
        t.log(`nothing sent: ${bed.sctpProblem}`);
        return;
      }
      const ask = (from: ProxyClient, address: string, number: number): Promise<ProxyAnswer> =>
        bed.connect(from, { address, port: number, protocol: 'SCTP' });
      const both = async (from: ProxyClient, address: string, number: number): Promise<string> => {
        const seen = new Set<string>();
        for (let index = 0; index < 20 && seen.size < 2; index += 1) seen.add(nameOf(await ask(from, address, number)));
        return [...seen].sort().join(' ');
      };
      t.is(await both('local', vip, 8000), 'local remote', 'a pod');
      t.is(await both('node', vip, 8000), 'local remote', 'the node');
      t.is(await both('outside', bed.nodeAddress, 30080), 'local remote', 'the NodePort');
      await sync({ ...sctp, endpoints: [remote] });
      t.deepEqual(await ask('local', vip, 8000), { endpoint: 'remote', client: bed.localAddress });
      await sync({ ...sctp, endpoints: [local] });
      t.is(nameOf(await ask('local', vip, 8000)), 'local', 'a pod reaches itself');
      t.is(nameOf(await ask('local', vip, 8001)), 'refused', 'no port of the Service');
      await sync({ ...sctp, endpoints: [] });
      t.is(nameOf(await ask('local', vip, 8000)), 'refused', 'no endpoints');
      t.is(nameOf(await ask('outside', bed.nodeAddress, 30080)), 'refused', 'the NodePort');
    },
  ),
];
