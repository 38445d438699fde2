import test from 'ava';
import {
  builtInList,
  executablesOf,
  isAtLeast,
  readList,
  withOwnLeases,
} from '../../../netplugins/attachments/cni/network-list.ts';
import { isFalseAlarm } from '../../../netplugins/attachments/cni/network.ts';
import { attachedOf, readResult } from '../../../netplugins/attachments/cni/result.ts';
import { Turns } from '../../../netplugins/attachments/cni/turns.ts';
import cni from '../../../netplugins/attachments/cni/index.ts';

test('the built-in list has a route for each family, and bandwidth where the kernel can', (t) => {
  const list = builtInList({ podCidrs: ['10.244.1.0/24', 'fd44::/64'], mtuBytes: 1400, bandwidth: false });
  t.deepEqual(executablesOf(list), ['ptp', 'portmap', 'host-local']);
  t.deepEqual(list.plugins[0]?.ipam?.['routes'], [{ dst: '0.0.0.0/0' }, { dst: '::/0' }]);
  t.deepEqual(
    builtInList({ podCidrs: ['10.244.1.0/24'], mtuBytes: 1400, bandwidth: true }).plugins.map(({ type }) => type),
    ['ptp', 'portmap', 'bandwidth'],
  );
});

test('leases of host-local are kept with ours unless the list says where', (t) => {
  const list = (ipam: Record<string, string>) => ({ cniVersion: '1.0.0', name: 'n', plugins: [{ type: 'ptp', ipam }] });
  const where = (ipam: Record<string, string>): unknown =>
    withOwnLeases(list(ipam), '/own').plugins[0]?.ipam?.['dataDir'];
  t.is(where({ type: 'host-local' }), '/own');
  t.is(where({ type: 'host-local', dataDir: '/theirs' }), '/theirs');
  t.is(where({ type: 'dhcp' }), undefined);
});

test('one plugin without a list is a list of one', (t) => {
  const list = readList({ list: { cniVersion: '0.4.0', name: 'n', type: 'ptp', mtu: 1400 } });
  t.deepEqual(list, { cniVersion: '0.4.0', name: 'n', plugins: [{ type: 'ptp', mtu: 1400 }] });
  t.throws(() => readList({ list: { name: 'n', type: 'ptp' } }), {
    message: /config\.list cannot be used: cniVersion/,
  });
  t.throws(() => readList({ list: { cniVersion: '1.0.0', name: '../n', plugins: [{ type: 'x' }] } }), {
    message: /name/,
  });
});

test('versions are compared as numbers', (t) => {
  t.true(isAtLeast('1.10.0', '1.9.0'));
  t.true(isAtLeast('0.4.0', '0.4.0'));
  t.false(isAtLeast('0.3.1', '0.4.0'));
});

test("results of 0.3 and 1.0 are read; other interfaces' addresses are not the pod's", (t) => {
  const result = readResult(
    {
      cniVersion: '0.3.1',
      interfaces: [{ name: 'cni0' }, { name: 'eth0', sandbox: '/run/n', mac: '02:00:00:00:00:01' }],
      ips: [
        { version: '4', interface: 0, address: '10.244.1.1/24' },
        { version: '4', interface: 1, address: '10.244.1.2/24', gateway: '10.244.1.1' },
        { version: '6', address: 'FD44:0::2/64' },
      ],
    },
    'bridge',
  );
  t.deepEqual(attachedOf('s', 'eth0', result), {
    sandboxId: 's',
    interface: 'eth0',
    mac: '02:00:00:00:00:01',
    ips: ['10.244.1.2', 'fd44::2'],
    gateways: ['10.244.1.1'],
  });
  t.throws(() => readResult({ ip4: { ip: '10.1.1.1/24' }, ips: [{ address: 'x' }] }, 'old'), {
    code: 'HOST_COMMAND_FAILED',
  });
});

test("portmap's search in the wrong family is no finding, what it misses in the right one is", (t) => {
  const rule = (family: number, to: string): string =>
    `could not check ipv${family} dnat: rule [[-p tcp --dport 1 -j DNAT --to-destination ${to}]] in chain C not found in table nat`;
  const both = ['10.244.1.2', 'fd44::2'];
  t.true(isFalseAlarm(rule(6, '10.244.1.2:80'), both));
  t.true(isFalseAlarm(rule(4, '[fd44::2]:80'), both));
  t.false(isFalseAlarm(rule(4, '10.244.1.2:80'), both));
  t.false(isFalseAlarm(rule(6, '[fd44::2]:80'), both));
  const chain = (family: number): string =>
    `could not check ipv${family} dnat: chain C not found in iptables table nat`;
  t.true(isFalseAlarm(chain(6), ['10.244.1.2']));
  t.false(isFalseAlarm(chain(4), ['10.244.1.2']));
  t.false(isFalseAlarm(chain(6), both));
  t.false(isFalseAlarm('Failed to match addr 10.244.1.2/24 on interface eth0', both));
});

test('turns: in order for one key, at once for others, never more than the limit, and on after a failure', async (t) => {
  const turns = new Turns(2);
  const log: string[] = [];
  let running = 0;
  let most = 0;
  const work = (name: string) => async (): Promise<void> => {
    running += 1;
    most = Math.max(most, running);
    log.push(name);
    await new Promise((resolve) => setImmediate(resolve));
    running -= 1;
    if (name === 'a1') throw new Error('a1');
  };
  const runs = ['a1', 'a2', 'b1', 'c1', 'a3'].map((name) => turns.run(name.slice(0, 1), work(name)));
  await t.throwsAsync(runs[0]!, { message: 'a1' });
  await turns.idle();
  t.is(most, 2);
  t.deepEqual(
    log.filter((name) => name.startsWith('a')),
    ['a1', 'a2', 'a3'],
  );
  t.is(log.length, 5);
});

test('preflight says first what every attachment needs; list and path exclude each other', async (t) => {
  const host = {
    kernelRelease: '6.1',
    isPrivileged: false,
    isRoot: false,
    command: () => '/usr/sbin/nft',
    exists: () => false,
    readText: () => undefined,
  };
  const parsed = await cni.config['~standard'].validate({});
  if (!('value' in parsed)) return t.fail();
  const result = await cni.preflight?.(host, parsed.value);
  t.is(result?.ok === false ? result.reason : '', 'links and namespaces need root of the network namespace');
  const both = await cni.config['~standard'].validate({ path: '/x', list: {} });
  t.true('issues' in both && both.issues !== undefined);
});
