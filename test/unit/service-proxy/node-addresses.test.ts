import test from 'ava';
import type { Proxy, ProxyState } from '../../../kernel/contract/index.ts';
import { resources } from '../../../kernel/machinery/resources.ts';
import serviceProxy from '../../../plugins/components/service-proxy/index.ts';
import { nodePortAddresses, ownAddresses } from '../../../plugins/components/service-proxy/node-port-addresses.ts';
import { eventually, openControlPlane, startPlugin } from '../controllers/control-plane.ts';

test('NodePorts follow the node’s addresses, which may come late and change', async (t) => {
  const { cluster } = await openControlPlane(t);
  const synced: ProxyState[] = [];
  const proxy: Pick<Proxy, 'sync' | 'status'> = {
    sync: (state) => Promise.resolve({ changed: synced.push(state) }),
    status: () => ({ ready: true, lastSyncMs: 0, repairs: 0 }),
  };
  for (const name of ['here', 'there']) await cluster.create(resources.nodes, { metadata: { name }, spec: {} });
  const component = await startPlugin<object>(serviceProxy, { uses: { cluster, proxy }, nodeName: 'here' });
  t.teardown(() => component[Symbol.asyncDispose]());
  const isSynced = (address: string): Promise<true> =>
    eventually(`NodePorts at ${address}`, () => synced.at(-1)?.nodeAddresses.join() === address || undefined);
  await eventually('a first sync', () => synced.length > 0);
  const setAddresses = async (name: string, ...addresses: readonly string[]): Promise<void> => {
    const status = { addresses: addresses.map((address) => ({ type: 'InternalIP', address })) };
    await cluster.patch(resources.nodes, { name }, { kind: 'merge', body: { status } }, { subresource: 'status' });
  };
  await setAddresses('here', '192.0.2.1', '2001:db8::1');
  await isSynced('192.0.2.1,2001:db8::1');
  await setAddresses('there', '192.0.2.7');
  await setAddresses('here', '192.0.2.2');
  await isSynced('192.0.2.2');
  t.false(synced.some(({ nodeAddresses }) => nodeAddresses.includes('192.0.2.7')));
});

test('NodePorts answer at the configured addresses, and at what the node has of the configured ranges', async (t) => {
  const own = ['192.0.2.1', '198.51.100.1', '198.51.100.200', '2001:db8::1'];
  for (const [wanted, expected] of [
    [['203.0.113.9'], ['203.0.113.9']],
    [['198.51.100.0/24'], ['198.51.100.1', '198.51.100.200']],
    [
      ['198.51.100.128/25', '198.51.100.0/24'],
      ['198.51.100.200', '198.51.100.1'],
    ],
    [['0.0.0.0/0'], ['192.0.2.1', '198.51.100.1', '198.51.100.200']],
    [
      ['2001:db8::/32', '192.0.2.1'],
      ['2001:db8::1', '192.0.2.1'],
    ],
    [['203.0.113.0/24'], []],
  ] as const)
    t.deepEqual(nodePortAddresses(wanted, own), expected, wanted.join());
  t.false(ownAddresses().some((address) => address.startsWith('127.') || address === '::1'));
  for (const [text, isGood] of [
    ['192.0.2.1', true],
    ['2001:db8::/32', true],
    ['0.0.0.0/0', true],
    ['192.0.2.0/33', false],
    ['192.0.2.0/', false],
    ['192.0.2.0/8/8', false],
    ['eth0', false],
    ['fe80::1%eth0', false],
  ] as const) {
    const checked = await serviceProxy.config['~standard'].validate({ nodePortAddresses: [text] });
    t.is(checked.issues === undefined, isGood, text);
  }
});
