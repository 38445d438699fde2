import test from 'ava';
import type { HostPort } from '../../../kernel/contract/index.ts';
import { doCollide, hasLoopback, renderHostPorts } from '../../../netplugins/linux/pods/host-ports.ts';
import type { Lease } from '../../../netplugins/linux/pods/lease-store.ts';

const port = (change: Partial<HostPort> = {}): HostPort => ({
  hostIp: undefined,
  hostPort: 8080,
  containerPort: 80,
  protocol: 'TCP',
  ...change,
});
const lease = (...hostPorts: readonly HostPort[]): Lease => ({
  sandboxId: 'a',
  ips: ['10.244.1.2', 'fd44::2'],
  gateways: [],
  netns: '/ns',
  bootId: 'boot',
  hostPorts,
});

for (const [one, two, expected] of [
  [{}, {}, true],
  [{}, { hostPort: 8081 }, false],
  [{}, { protocol: 'UDP' }, false],
  [{}, { hostIp: '192.0.2.1' }, true],
  [{ hostIp: '192.0.2.1' }, { hostIp: '192.0.2.2' }, false],
  [{ hostIp: '192.0.2.1' }, { hostIp: '192.0.2.1' }, true],
  [{ hostIp: '0.0.0.0' }, { hostIp: '192.0.2.1' }, true],
  [{ hostIp: '0.0.0.0' }, { hostIp: '::' }, false],
  [{ hostIp: 'fd00::1' }, { hostIp: 'fd00:0::1' }, true],
] as const)
  test(`${JSON.stringify(one)} and ${JSON.stringify(two)} ${expected ? 'collide' : 'get along'}`, (t) => {
    t.is(doCollide(port(one), port(two)), expected);
    t.is(doCollide(port(two), port(one)), expected);
  });

test('the tables: one map for all addresses, one for single ones; nothing without ports', (t) => {
  const text = renderHostPorts('p', [
    lease(
      port(),
      port({ hostIp: '192.0.2.1', hostPort: 53, protocol: 'UDP' }),
      port({ hostPort: 9, protocol: 'SCTP' }),
    ),
  ]);
  t.true(text.includes('elements = { tcp . 8080 : 10.244.1.2 . 80, sctp . 9 : 10.244.1.2 . 80 }'));
  t.true(text.includes('elements = { 192.0.2.1 . udp . 53 : 10.244.1.2 . 80 }'));
  t.true(text.includes('elements = { tcp . 8080 : fd44::2 . 80, sctp . 9 : fd44::2 . 80 }'));
  t.is(text.match(/127\.0\.0\.0/g)?.length, 2, 'guarded and masqueraded, in IPv4 alone');
  t.is(renderHostPorts('p', []), 'add table ip p\ndelete table ip p\nadd table ip6 p\ndelete table ip6 p\n');
  t.false(renderHostPorts('p', [lease(port({ hostIp: '192.0.2.1' }))]).includes('table ip6 p {'));
});

test('127.0.0.1 leads to a pod when its port is that of every address, or of that one', (t) => {
  t.true(hasLoopback(lease(port())));
  t.true(hasLoopback(lease(port({ hostIp: '127.0.0.1' }))));
  t.false(hasLoopback(lease(port({ hostIp: '192.0.2.1' }))));
  t.false(hasLoopback(lease(port({ hostIp: '::' }))));
});
