/**
 * Conformance kit of kind `proxy`: kube-proxy's semantics, seen from clients. It works on the network that the test gives
 * it: real packets in the lab, a simulation in the kit's own test.
 */
import type { ProxyCapability, ProxyPort } from '../contract/index.ts';
import { eventually } from './eventually.ts';
import { registerCases, type KitAssertions, type KitTest } from './kit.ts';
import { draws, kitCase, repairMs, type Case, type ProxyBed } from './proxy/proxy-bed.ts';
import { affinityCases } from './proxy/affinity-cases.ts';
import { sctpCases } from './proxy/sctp-cases.ts';
import { udpFlowCases } from './proxy/udp-flow-cases.ts';

export type { ProxyAnswer, ProxyBed, ProxyClient } from './proxy/proxy-bed.ts';

const basicCases: readonly Case[] = [
  kitCase('pods and the node reach all endpoints of a Service', ['tcp'], async (t, { sync, port, met }, vip) => {
    await sync(port());
    t.is(await met('local', vip, 8000), 'local remote');
    t.is(await met('node', vip, 8000), 'local remote');
  }),
  kitCase(
    'a pod keeps its address towards an endpoint',
    ['tcp', 'client-address'],
    async (t, { bed, sync, port, remote }, vip) => {
      await sync(port({ endpoints: [remote] }));
      t.deepEqual(await bed.connect('local', { address: vip, port: 8000 }), {
        endpoint: 'remote',
        client: bed.localAddress,
      });
    },
  ),
  kitCase('a pod reaches itself through its Service', ['tcp', 'udp'], async (t, { bed, sync, port, local }, vip) => {
    await sync(port({ endpoints: [local] }), port({ protocol: 'UDP', endpoints: [local] }));
    for (const protocol of ['TCP', 'UDP'] as const) {
      const answer = await bed.connect('local', { address: vip, port: 8000, protocol });
      t.is(typeof answer === 'string' ? answer : answer.endpoint, 'local', protocol);
    }
  }),
  kitCase('ports and protocols of one address have each their own endpoints', ['tcp', 'udp'], async (t, tools, vip) => {
    const { bed, sync, port, local, remote, met } = tools;
    await sync(
      port({ name: 'a', endpoints: [local] }),
      port({ name: 'b', port: 9000, endpoints: [remote] }),
      port({ name: 'c', protocol: 'UDP', endpoints: [remote] }),
    );
    t.is(await met('node', vip, 8000, 6), 'local');
    t.is(await met('node', vip, 9000, 6), 'remote');
    const answer = await bed.connect('node', { address: vip, port: 8000, protocol: 'UDP' });
    t.is(typeof answer === 'string' ? answer : answer.endpoint, 'remote', 'UDP');
  }),
  kitCase('a Service without endpoints refuses at once', ['tcp', 'udp'], async (t, { bed, sync, port }, vip) => {
    await sync(port({ endpoints: [], nodePort: 30080 }), port({ protocol: 'UDP', endpoints: [] }));
    for (const from of ['local', 'node'] as const)
      for (const protocol of ['TCP', 'UDP'] as const)
        t.is(await bed.connect(from, { address: vip, port: 8000, protocol }), 'refused', `${from} ${protocol}`);
    t.is(await bed.connect('outside', { address: bed.nodeAddress, port: 30080 }), 'refused', 'NodePort');
  }),
  kitCase('terminating endpoints that serve are used only when none is ready', ['tcp'], async (t, tools, vip) => {
    const { sync, port, local, remote, met, few } = tools;
    const leaving = { ...remote, ready: false, terminating: true };
    await sync(port({ endpoints: [local, leaving] }));
    t.is(await met('node', vip, 8000, few), 'local');
    await sync(port({ endpoints: [{ ...local, ready: false, serving: false }, leaving] }));
    t.is(await met('node', vip, 8000, few), 'remote');
    await sync(port({ endpoints: [{ ...leaving, serving: false }] }));
    t.is(await met('node', vip, 8000, 1), 'refused');
    const last = { ...local, ready: false, terminating: true };
    await sync(port({ internalPolicy: 'Local', endpoints: [last, remote] }));
    t.is(await met('node', vip, 8000, few), 'local', 'the last one of the node, by policy Local');
  }),
  kitCase('a port that the Service does not have is refused', ['tcp', 'udp'], async (t, { bed, sync, port }, vip) => {
    await sync(port(), port({ name: 'u', protocol: 'UDP', port: 8002 }));
    for (const from of ['local', 'node'] as const) {
      t.is(await bed.connect(from, { address: vip, port: 8001 }), 'refused', `TCP from ${from}`);
      t.is(await bed.connect(from, { address: vip, port: 8001, protocol: 'UDP' }), 'refused', `UDP from ${from}`);
      t.is(await bed.connect(from, { address: vip, port: 8002 }), 'refused', `another protocol's from ${from}`);
    }
  }),
  kitCase(
    'an address of the service range that no Service has is refused; a pod is reached at its own',
    ['tcp', 'udp'],
    async (t, { bed, sync, port, met, remote }, vip, other) => {
      const asked = async (what: string): Promise<void> => {
        for (const from of ['local', 'node'] as const)
          for (const protocol of ['TCP', 'UDP'] as const)
            t.is(await bed.connect(from, { address: other, port: 8000, protocol }), 'refused', `${what}: ${from}`);
      };
      await sync(port());
      await asked('no Service has it');
      t.is(await met('local', vip, 8000), 'local remote', 'a Service has it');
      for (const protocol of ['TCP', 'UDP'] as const)
        t.deepEqual(
          await bed.connect('local', { address: bed.remoteAddress, port: 80, protocol }),
          { endpoint: 'remote', client: bed.localAddress },
          `outside the range, ${protocol}`,
        );
      await sync(port(), port({ service: 'late', clusterIps: [other], endpoints: [remote] }));
      t.is(await met('node', other, 8000, 2), 'remote', 'a Service has come');
      await sync(port());
      await asked('the Service has gone');
    },
  ),
  kitCase(
    'internalTrafficPolicy Local uses endpoints of the node; when only it leaves none, packets are dropped',
    ['tcp'],
    async (t, tools, vip) => {
      const { sync, port, remote, met, metInVain, few } = tools;
      await sync(port({ internalPolicy: 'Local' }));
      t.is(await met('node', vip, 8000, few), 'local');
      await sync(port({ internalPolicy: 'Local', endpoints: [remote] }));
      t.is(await metInVain('node', vip, 8000), 'dropped');
      await sync(port({ internalPolicy: 'Local', endpoints: [] }));
      t.is(await met('node', vip, 8000, 1), 'refused');
    },
  ),
];

const externalCases: readonly Case[] = [
  kitCase(
    'a NodePort answers at the node address, to everybody',
    ['tcp', 'node-port'],
    async (t, { bed, sync, port, met }) => {
      await sync(port({ nodePort: 30080 }));
      for (const from of ['outside', 'local', 'node'] as const)
        t.is(await met(from, bed.nodeAddress, 30080), 'local remote', from);
    },
  ),
  kitCase('external and balancer addresses are served', ['tcp'], async (t, { bed, sync, port, met }) => {
    await sync(port({ externalIps: [bed.externalAddress], loadBalancerIps: [bed.balancerAddress] }));
    t.is(await met('outside', bed.externalAddress, 8000), 'local remote');
    t.is(await met('outside', bed.balancerAddress, 8000), 'local remote');
  }),
  kitCase(
    'externalTrafficPolicy Local keeps the client',
    ['tcp', 'node-port', 'client-address'],
    async (t, { bed, sync, port }) => {
      await sync(port({ externalPolicy: 'Local', nodePort: 30080 }));
      const answer = await bed.connect('outside', { address: bed.nodeAddress, port: 30080 });
      t.deepEqual(answer, { endpoint: 'local', client: bed.outsideAddress });
    },
  ),
  kitCase(
    'externalTrafficPolicy Local keeps to the node; pods and the node are not external',
    ['tcp', 'node-port'],
    async (t, { bed, sync, port, remote, met, metInVain, few }) => {
      await sync(port({ externalPolicy: 'Local', nodePort: 30080 }));
      t.is(await met('outside', bed.nodeAddress, 30080, few), 'local');
      t.is(await met('local', bed.nodeAddress, 30080), 'local remote', 'a pod');
      t.is(await met('node', bed.nodeAddress, 30080), 'local remote', 'the node');
      await sync(port({ externalPolicy: 'Local', nodePort: 30080, endpoints: [remote] }));
      t.is(await metInVain('outside', bed.nodeAddress, 30080), 'dropped');
      t.is(await met('local', bed.nodeAddress, 30080, few), 'remote');
    },
  ),
  kitCase(
    'a balancer address with source ranges answers to those only; other addresses of the Service to all',
    ['tcp', 'source-ranges', 'node-port'],
    async (t, { bed, sync, port, met, metInVain }) => {
      const open = port({ loadBalancerIps: [bed.balancerAddress], nodePort: 30080 });
      const bits = bed.outsideAddress.includes(':') ? 128 : 32;
      const elsewhere = bits === 128 ? ['2001:db8::/48', '2001:db8::/64'] : ['203.0.113.0/24', '203.0.113.0/28'];
      await sync({ ...open, loadBalancerSourceRanges: elsewhere });
      t.is(await metInVain('outside', bed.balancerAddress, 8000), 'dropped');
      t.is(await met('outside', bed.nodeAddress, 30080), 'local remote', 'the NodePort');
      await sync({ ...open, loadBalancerSourceRanges: [`${bed.outsideAddress}/${bits}`] });
      t.is(await met('outside', bed.balancerAddress, 8000), 'local remote');
      await sync({ ...open, loadBalancerSourceRanges: [...elsewhere, `${bed.nodeAddress}/${bits}`] });
      t.is(await met('node', bed.balancerAddress, 8000), 'local remote', 'the node is in the range');
      t.is(await metInVain('outside', bed.balancerAddress, 8000), 'dropped');
    },
  ),
];

const syncCases: readonly Case[] = [
  kitCase(
    'the second identical sync changes nothing, whether the objects are the same or equal',
    ['tcp'],
    async (t, tools, _vip, second) => {
      const { bed, sync, port } = tools;
      const make = (): ProxyPort[] => [
        port({ nodePort: 30080 }),
        port({ service: 'sticky', clusterIps: [second], affinitySeconds: 60 }),
        port({ service: 'empty', port: 9000, endpoints: [] }),
      ];
      const desired = make();
      t.true((await sync(...desired)) > 0, 'the first does');
      const before = await bed.traces();
      t.is(await sync(...desired), 0);
      t.is(await sync(...make()), 0);
      t.is(await bed.traces(), before);
    },
  ),
  kitCase(
    'endpoints and Services come and go, and each sync is what counts',
    ['tcp'],
    async (t, tools, vip, second) => {
      const { sync, port, local, remote, met, metInVain } = tools;
      const other = port({ service: 'other', clusterIps: [second], endpoints: [local] });
      await sync(port({ endpoints: [local] }), other);
      t.is(await met('node', vip, 8000, 4), 'local');
      await sync(port({ endpoints: [remote] }), other);
      t.is(await met('node', vip, 8000, 4), 'remote');
      await sync(port());
      t.is(await met('node', vip, 8000), 'local remote');
      t.false(['local', 'remote'].includes(await metInVain('node', second, 8000)), 'the other Service is gone');
      await sync(other);
      t.is(await met('node', second, 8000, 4), 'local');
      t.false(['local', 'remote'].includes(await metInVain('node', vip, 8000)));
    },
  ),
];

const lifeCases: readonly Case[] = [
  kitCase(
    'dispose leaves the rules working; a new instance replaces them without a lost connection',
    ['tcp', 'outlives-agent'],
    async (t, tools, vip) => {
      const { bed, sync, port, met } = tools;
      await sync(port());
      await bed.proxy()[Symbol.asyncDispose]();
      await bed.proxy()[Symbol.asyncDispose]();
      t.is(await met('node', vip, 8000), 'local remote', 'while none runs');
      let isOver = false;
      const client = (async (): Promise<string[]> => {
        const lost: string[] = [];
        while (!isOver) {
          const answer = await bed.connect('node', { address: vip, port: 8000 });
          if (typeof answer === 'string') lost.push(answer);
        }
        return lost;
      })();
      for (let round = 0; round < 3; round += 1) {
        await bed.restart();
        await sync(port());
      }
      isOver = true;
      t.deepEqual(await client, [], 'lost connections');
      t.is(await sync(port()), 0);
    },
  ),
  kitCase('what somebody else breaks is back within two seconds and counted', ['tcp'], async (t, tools, vip) => {
    const { bed, sync, port, met } = tools;
    const limitMs = (bed.repairMs ?? repairMs) * (bed.slowdown ?? 1);
    await sync(port());
    t.is(bed.proxy().status().repairs, 0);
    for (const { what, inflict } of bed.damages) {
      const before = bed.proxy().status().repairs;
      await inflict();
      t.true(await eventually(() => bed.proxy().status().repairs > before, limitMs), `${what}: counted`);
      t.true(
        await eventually(async () => (await met('node', vip, 8000, draws, true)) === 'local remote', limitMs),
        `${what}: repaired`,
      );
    }
  }),
  kitCase('it is ready after a sync, not before', ['tcp'], async (t, { bed, sync, port }) => {
    t.false(bed.proxy().status().ready);
    t.is(bed.proxy().status().lastSyncMs, undefined);
    await sync(port());
    t.true(bed.proxy().status().ready);
    t.is(typeof bed.proxy().status().lastSyncMs, 'number');
  }),
  kitCase('explain says what becomes of a connection', ['tcp', 'explain'], async (t, tools, vip, second) => {
    const { bed, sync, port, remote } = tools;
    const explain = async (from: 'pod' | 'outside' = 'pod', destination = vip, number = 8000) =>
      bed.proxy().explain?.({ protocol: 'TCP', destination, port: number }, from);
    t.is(await explain(), undefined, 'before any sync');
    await sync(port({ externalIps: [bed.externalAddress], externalPolicy: 'Local' }));
    const verdict = await explain();
    t.is(verdict?.verdict, 'translated');
    t.is(verdict?.via, 'cluster address');
    t.is(verdict?.service, 'kit/web');
    t.deepEqual(
      verdict?.endpoints.map(({ address }) => address).toSorted(),
      [bed.localAddress, bed.remoteAddress].toSorted(),
    );
    t.true((verdict?.objects.length ?? 0) > 0, 'it names objects');
    const missing = verdict?.objects.filter(({ isPresent }) => !isPresent).map(({ shown }) => shown);
    t.deepEqual(missing, [], 'all of them are there');
    const external = await explain('outside', bed.externalAddress);
    t.is(external?.via, 'external address');
    t.deepEqual(
      external?.endpoints.map(({ address }) => address),
      [bed.localAddress],
      'the local policy',
    );
    const isRejected = async (service: string | undefined, ...of: Parameters<typeof explain>): Promise<void> => {
      const unknown = await explain(...of);
      t.is(unknown?.verdict, 'rejected');
      t.is(unknown?.service, service);
      t.is(typeof unknown?.reason, 'string', 'it says why');
      t.deepEqual(unknown?.endpoints, []);
      t.deepEqual(
        unknown?.objects.filter(({ isPresent }) => !isPresent).map(({ shown }) => shown),
        [],
        'all are there',
      );
    };
    await isRejected('kit/web', 'pod', vip, 8001);
    await isRejected(undefined, 'pod', second, 8000);
    t.is(await explain('pod', bed.remoteAddress, 80), undefined, 'no address of the service range');
    await sync(port({ internalPolicy: 'Local', endpoints: [remote] }));
    t.is((await explain())?.verdict, 'dropped');
    await sync(port({ endpoints: [] }));
    const refused = await explain();
    t.is(refused?.verdict, 'rejected');
    t.is(typeof refused?.reason, 'string', 'it says why');
    await sync();
    await isRejected(undefined, 'pod', vip, 8000);
  }),
  kitCase('purge removes every trace, twice over, also of a predecessor', ['tcp'], async (t, tools, vip) => {
    const { bed, sync, port, metInVain } = tools;
    const before = await bed.traces();
    await sync(port({ nodePort: 30080 }), port({ service: 'sticky', port: 9000, affinitySeconds: 60 }));
    t.not(await bed.traces(), before);
    const next = await bed.restart();
    await next.purge();
    await next.purge();
    t.is(await bed.traces(), before);
    t.false(['local', 'remote'].includes(await metInVain('node', vip, 8000)));
  }),
];

export const proxyCases: readonly Case[] = [
  ...basicCases,
  ...externalCases,
  ...affinityCases,
  ...sctpCases,
  ...syncCases,
  ...udpFlowCases,
  ...lifeCases,
];

export function proxyConformance(
  test: KitTest,
  options: {
    readonly name: string;
    readonly capabilities: readonly ProxyCapability[];
    readonly open: (t: KitAssertions) => ProxyBed | Promise<ProxyBed>;
  },
): void {
  const { name, capabilities, open } = options;
  registerCases(test, { name, capabilities, cases: proxyCases, subject: open });
}
