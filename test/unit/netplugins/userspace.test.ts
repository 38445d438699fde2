import test from 'ava';
import type { ProxyPort } from '../../../kernel/contract/index.ts';
import type { Context } from '../../../netplugins/linux/service-addresses.ts';
import { Balancer } from '../../../netplugins/proxies/userspace/balancer.ts';
import { drop, planOf, refuse, type Pool } from '../../../netplugins/proxies/userspace/plan.ts';
import { pictureOf } from '../../../netplugins/proxies/userspace/redirect-iptables.ts';
import { lackOf, roomHere } from '../../../netplugins/proxies/userspace/room.ts';
import { elementsOf, tableText } from '../../../netplugins/proxies/userspace/redirect-nft.ts';
import { plainEndpoint, plainPort } from '../../../kernel/conformance/proxy/plain-port.ts';

const context: Context = {
  family: 'ip',
  nodeAddresses: ['192.168.0.1'],
  clusterCidrs: ['10.244.0.0/16'],
  serviceCidrs: ['10.96.0.0/12'],
};
const endpoint = (address: string, local = false) => plainEndpoint(address, { local });
const remote = endpoint('10.244.2.2');
const port = (change: Partial<ProxyPort> = {}): ProxyPort =>
  plainPort({
    namespace: 'n',
    service: 's',
    endpoints: [remote],
    ...change,
  });

const ways = (change: Partial<ProxyPort>, key: string): unknown => {
  const portal = planOf([port(change)], context).portals.get(key);
  return portal === undefined ? undefined : [portal.inside, portal.outside];
};

test('where traffic goes, by policy and endpoints', (t) => {
  const all = 'n/s//TCP/80 all';
  t.deepEqual(ways({}, '10.96.0.1 . tcp . 80'), [all, all]);
  t.deepEqual(ways({ endpoints: [] }, '10.96.0.1 . tcp . 80'), [refuse, refuse]);
  t.deepEqual(ways({ internalPolicy: 'Local' }, '10.96.0.1 . tcp . 80'), [drop, drop]);
  t.deepEqual(ways({ externalPolicy: 'Local', nodePort: 30080 }, '192.168.0.1 . tcp . 30080'), [all, drop]);
  t.deepEqual(
    ways(
      { externalPolicy: 'Local', nodePort: 30080, endpoints: [endpoint('10.244.1.2', true), remote] },
      '192.168.0.1 . tcp . 30080',
    ),
    [all, 'n/s//TCP/80 local'],
  );
  t.is(ways({ protocol: 'SCTP' }, '10.96.0.1 . sctp . 80'), undefined);
});

const pool = (affinitySeconds: number | undefined, ...addresses: readonly string[]): Pool => ({
  id: 'p',
  transport: 'tcp',
  targets: addresses.map((address) => ({ address, port: 1 })),
  living: new Set(),
  affinity: affinitySeconds === undefined ? undefined : { group: 'g', seconds: affinitySeconds },
});

test('round robin goes around, also when the list changes, and passes over what failed', (t) => {
  const balancer = new Balancer(pool(undefined, 'a', 'b', 'c'), new Map(), () => 0);
  const draw = (failed?: ReadonlySet<string>): string | undefined => balancer.pick('x', failed)?.address;
  t.deepEqual([draw(), draw(), draw(), draw()], ['a', 'b', 'c', 'a']);
  t.true(balancer.update(pool(undefined, 'a')));
  t.false(balancer.update(pool(undefined, 'a')));
  t.deepEqual([draw(), draw()], ['a', 'a']);
  t.is(draw(new Set(['a 1'])), undefined);
});

test('affinity holds from the last connection on, ends, and yields when its endpoint is gone or fails', (t) => {
  let now = 0;
  const clients = new Map();
  const balancer = new Balancer(pool(10, 'a', 'b'), clients, () => now);
  const local = new Balancer(pool(10, 'a', 'b'), clients, () => now);
  const draw = (of: Balancer = balancer): string | undefined => of.pick('x')?.address;
  t.is(draw(), 'a');
  now = 9_000;
  t.is(draw(), 'a');
  now = 18_000;
  t.is(draw(local), 'a', 'pools of one port share their clients');
  now = 29_000;
  t.is(draw(), 'b', 'over');
  t.is(balancer.pick('x', new Set(['b 1']))?.address, 'a');
  t.is(draw(), 'a', 'and is held there from now on');
  balancer.update(pool(10, 'b'));
  t.is(draw(), 'b');
});

test('both means of redirection cover the same addresses', (t) => {
  const plan = planOf(
    [
      port({
        nodePort: 30080,
        externalPolicy: 'Local',
        loadBalancerIps: ['198.51.100.2'],
        loadBalancerSourceRanges: ['203.0.113.0/24'],
      }),
      port({ service: 'empty', protocol: 'UDP', clusterIps: ['10.96.0.2'], endpoints: [] }),
    ],
    context,
  );
  const redirection = { plan, context, address: '192.168.0.1', ports: new Map([['n/s//TCP/80 all', 40_000]]) };
  const elements = elementsOf(redirection);
  t.deepEqual(elements.get('inside'), [
    '10.96.0.1 . tcp . 80 : 192.168.0.1 . 40000',
    '198.51.100.2 . tcp . 80 : 192.168.0.1 . 40000',
    '192.168.0.1 . tcp . 30080 : 192.168.0.1 . 40000',
  ]);
  t.deepEqual(elements.get('outside'), ['10.96.0.1 . tcp . 80 : 192.168.0.1 . 40000']);
  t.deepEqual(elements.get('refused'), ['10.96.0.2 . udp . 80']);
  t.deepEqual(elements.get('outside-dropped'), ['198.51.100.2 . tcp . 80', '192.168.0.1 . tcp . 30080']);
  t.deepEqual(elements.get('allowed'), ['198.51.100.2 . tcp . 80 . 203.0.113.0/24']);
  t.regex(tableText('ip', elements), /^add table ip pintle-userspace\ndelete table ip pintle-userspace\n/);
  const { nat, filter } = pictureOf(redirection);
  t.is(nat.lists.get('PINTLEUS-PORTALS')?.size, 3);
  t.deepEqual([...(filter.lists.get('PINTLEUS-REJECT')?.keys() ?? [])], ['10.96.0.2 . udp . 80']);
  t.is(filter.lists.get('PINTLEUS-DROP')?.size, 2);
  for (const name of nat.chains.keys()) t.true(name.length <= 28, name);
});

test('more listeners than descriptors or ports are refused beforehand, with what to raise', (t) => {
  const room = { descriptors: 20_000, ports: 28_232 };
  t.is(lackOf({ more: 19_000, most: 19_000 }, room), undefined);
  const files = lackOf({ more: 30_000, most: 30_000 }, room);
  t.is(files?.errno, 'EMFILE');
  t.regex(files?.words ?? '', /30000 more listeners .* only 20000 descriptors more: .*LimitNOFILE/);
  const ports = lackOf({ more: 30_000, most: 30_000 }, { ...room, descriptors: 1_000_000 });
  t.is(ports?.errno, 'EADDRINUSE');
  t.regex(ports?.words ?? '', /ip_local_port_range holds 28232 ports/);
  const here = roomHere();
  t.true(here.descriptors > 0 && here.ports > 0, 'read of this process');
});
