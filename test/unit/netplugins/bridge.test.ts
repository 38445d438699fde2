import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { LeaseStore } from '../../../netplugins/linux/pods/lease-store.ts';
import { renderMasquerade, renderRemovals } from '../../../netplugins/linux/pods/masquerade.ts';
import { hostInterfaceOf, isHostInterface, macOf } from '../../../netplugins/linux/pods/pod-interface.ts';

function folder(t: ExecutionContext): string {
  const path = mkdtempSync(join(tmpdir(), 'pintle-leases-'));
  t.teardown(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

const range = ['10.244.1.0/29'];

test('addresses go round robin, and are free again when the round comes back', (t) => {
  const leases = new LeaseStore(folder(t), 'boot');
  const next = (id: string): string => leases.acquire(id, '/ns', range).ips[0] ?? '';
  t.deepEqual(['a', 'b', 'c'].map(next), ['10.244.1.2', '10.244.1.3', '10.244.1.4']);
  leases.release('a');
  leases.release('b');
  t.deepEqual(['d', 'e', 'f', 'g'].map(next), ['10.244.1.5', '10.244.1.6', '10.244.1.2', '10.244.1.3']);
  t.throws(() => next('h'), { code: 'ADDRESSES_EXHAUSTED', message: /10\.244\.1\.0\/29 has no free address/ });
  t.is(leases.list().length, 5);
});

test('leases and the place in the round survive a new start', (t) => {
  const path = folder(t);
  const first = new LeaseStore(path, 'boot');
  first.acquire('a', '/ns/a', ['10.244.1.0/24', 'fd44::/64']);
  first.acquire('b', '/ns/b', ['10.244.1.0/24', 'fd44::/64']);
  first.release('b');
  const second = new LeaseStore(path, 'boot');
  t.deepEqual(second.get('a'), {
    sandboxId: 'a',
    ips: ['10.244.1.2', 'fd44::2'],
    gateways: ['10.244.1.1', 'fd44::1'],
    netns: '/ns/a',
    bootId: 'boot',
  });
  t.is(second.acquire('c', '/ns/c', ['10.244.1.0/24']).ips[0], '10.244.1.4', 'not the one just freed');
  t.true(second.isOfThisBoot(second.get('a')!));
  t.false(new LeaseStore(path, 'other boot').isOfThisBoot(second.get('a')!));
});

test('half-written and damaged records are dropped, ids of any kind are kept apart', (t) => {
  const path = folder(t);
  writeFileSync(join(path, 'x.lease.new'), '{"sandboxId":"x"');
  writeFileSync(join(path, 'y.lease'), '{"sandboxId":');
  const leases = new LeaseStore(path, 'boot');
  t.deepEqual(leases.list(), []);
  t.deepEqual(readdirSync(path), []);
  leases.acquire('../../etc/passwd', '/ns', range);
  leases.acquire('a b', '/ns', range);
  t.is(readdirSync(path).filter((name) => name.startsWith('sha256-')).length, 2);
  t.is(new LeaseStore(path, 'boot').get('../../etc/passwd')?.ips[0], '10.244.1.2');
});

test('names and MACs follow from ids and addresses', (t) => {
  t.is(hostInterfaceOf('veth', 'sandbox-a'), hostInterfaceOf('veth', 'sandbox-a'));
  t.true(isHostInterface('veth', hostInterfaceOf('veth', 'sandbox-a')));
  t.false(isHostInterface('veth', 'veth0'));
  t.is(macOf('10.244.1.2'), '0a:58:0a:f4:01:02');
  t.is(macOf('fd44::1:2'), '0a:58:00:01:00:02');
});

test('the masquerade text', (t) => {
  const text = renderMasquerade({
    table: 'pintle-bridge',
    podCidrs: ['10.244.1.0/24'],
    clusterCidrs: ['10.244.0.0/16'],
  });
  t.is(
    text,
    `add table ip pintle-bridge
delete table ip pintle-bridge
table ip pintle-bridge {
	set inside {
		type ipv4_addr
		flags interval
		auto-merge
		elements = { 10.244.0.0/16, 10.244.1.0/24, 224.0.0.0/4 }
	}
	chain postrouting {
		type nat hook postrouting priority srcnat; policy accept;
		ip saddr { 10.244.1.0/24 } ip daddr != @inside masquerade fully-random
	}
}
add table ip6 pintle-bridge
delete table ip6 pintle-bridge
`,
  );
  t.regex(
    renderMasquerade({ table: 'pintle-bridge', podCidrs: ['fd44::/64'], clusterCidrs: ['fd44::/48'] }),
    /ip6 saddr \{ fd44::\/64 \} ip6 daddr != @inside/,
  );
  t.is(renderRemovals('pintle-bridge').match(/delete table/g)?.length, 2);
});
