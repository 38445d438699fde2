import test from 'ava';
import type { Cluster } from '../../../kernel/contract/index.ts';
import { resources } from '../../../kernel/machinery/resources.ts';
import { CidrPool } from '../../../plugins/controllers/node-ipam/cidr-pool.ts';
import nodeIpam from '../../../plugins/controllers/node-ipam/index.ts';
import { eventually, makeNode, openControlPlane, quiescence, startPlugin } from './control-plane.ts';

const rangesOf = (cluster: Cluster, name: string) =>
  eventually(`node ${name} has a range`, async () => {
    const { podCIDR, podCIDRs } = (await cluster.get(resources.nodes, { name })).spec;
    return podCIDRs !== undefined && podCIDRs.length > 0 && { podCIDR, podCIDRs };
  });

test('each node has its own /24 of the cluster range, also after a restart', async (t) => {
  const { cluster, controller } = await openControlPlane(t);
  const stop = await controller(nodeIpam);
  for (const name of ['a', 'b']) await makeNode(cluster, name);
  t.deepEqual(await rangesOf(cluster, 'a'), { podCIDR: '10.244.0.0/24', podCIDRs: ['10.244.0.0/24'] });
  t.deepEqual((await rangesOf(cluster, 'b')).podCIDRs, ['10.244.1.0/24']);
  await stop();
  await makeNode(cluster, 'c');
  await controller(nodeIpam);
  t.deepEqual((await rangesOf(cluster, 'c')).podCIDRs, ['10.244.2.0/24']);
  t.deepEqual((await rangesOf(cluster, 'a')).podCIDRs, ['10.244.0.0/24']);
});

test('a deleted node gives its range back; without a free one the node waits', async (t) => {
  const { cluster, controller } = await openControlPlane(t);
  await controller(nodeIpam, {}, undefined, { podCidrs: ['10.9.0.0/23'] });
  for (const name of ['a', 'b']) {
    await makeNode(cluster, name);
    await rangesOf(cluster, name);
  }
  await makeNode(cluster, 'c');
  await eventually('the event', async () => {
    const { items } = await cluster.list(resources.events);
    return items.some((event) => event.reason === 'CIDRNotAvailable' && event.involvedObject.name === 'c');
  });
  t.is((await cluster.get(resources.nodes, { name: 'c' })).spec.podCIDR, undefined);
  await cluster.delete(resources.nodes, { name: 'a' });
  t.deepEqual((await rangesOf(cluster, 'c')).podCIDRs, ['10.9.0.0/24']);
});

test('a range that a node brings along is its own', async (t) => {
  const { cluster, controller } = await openControlPlane(t);
  await makeNode(cluster, 'own', { spec: { podCIDR: '10.244.0.0/24', podCIDRs: ['10.244.0.0/24'] } });
  await controller(nodeIpam);
  await makeNode(cluster, 'next');
  t.deepEqual((await rangesOf(cluster, 'next')).podCIDRs, ['10.244.1.0/24']);
  await quiescence(cluster);
  t.is((await cluster.get(resources.nodes, { name: 'own' })).spec.podCIDR, '10.244.0.0/24');
});

test('every node has the annotation that Kubernetes has on each; one that is there stays', async (t) => {
  const { cluster, controller } = await openControlPlane(t);
  const ttl = 'node.alpha.kubernetes.io/ttl';
  const ranges = { spec: { podCIDR: '10.244.0.0/24', podCIDRs: ['10.244.0.0/24'] } };
  await makeNode(cluster, 'bare');
  await makeNode(cluster, 'own', ranges);
  await cluster.create(resources.nodes, {
    metadata: { name: 'other', annotations: { [ttl]: '15', a: 'b' } },
    spec: {},
  });
  await controller(nodeIpam);
  const annotationsOf = async (name: string) => (await cluster.get(resources.nodes, { name })).metadata.annotations;
  await eventually('bare has it', async () => (await annotationsOf('bare'))?.[ttl] === '0');
  await eventually('own has it', async () => (await annotationsOf('own'))?.[ttl] === '0');
  await rangesOf(cluster, 'other');
  await quiescence(cluster);
  t.deepEqual(await annotationsOf('other'), { [ttl]: '15', a: 'b' });
});

test('dual-stack: one range a family', async (t) => {
  const { cluster, controller } = await openControlPlane(t);
  await controller(nodeIpam, {}, undefined, { podCidrs: ['10.244.0.0/16', 'fd00:10:244::/48'] });
  await makeNode(cluster, 'a');
  t.deepEqual(await rangesOf(cluster, 'a'), {
    podCIDR: '10.244.0.0/24',
    podCIDRs: ['10.244.0.0/24', 'fd00:10:244::/64'],
  });
});

test('an IPv6 range of /57 or smaller is cut into 256 parts, unless the config says otherwise', async (t) => {
  for (const [range, config, expected] of [
    ['fd00:10:244::/64', {}, ['fd00:10:244::/72', 'fd00:10:244:0:100::/72']],
    ['fd00:10:244::/56', {}, ['fd00:10:244::/64', 'fd00:10:244:1::/64']],
    ['fd00:10:244::/64', { nodeMaskSizeIPv6: 80 }, ['fd00:10:244::/80', 'fd00:10:244:0:1::/80']],
  ] as const) {
    const { cluster, controller } = await openControlPlane(t);
    await controller(nodeIpam, config, undefined, { podCidrs: [range] });
    const given: (string | undefined)[] = [];
    for (const name of ['a', 'b']) {
      await makeNode(cluster, name);
      given.push((await rangesOf(cluster, name)).podCIDR);
    }
    t.deepEqual(given, [...expected], range);
  }
});

test('a cluster range that is too small is refused at the start', async (t) => {
  await t.throwsAsync(startPlugin(nodeIpam, { uses: { cluster: {} }, facts: { podCidrs: ['10.0.0.0/25'] } }), {
    code: 'CONFIG_INVALID',
    message: /10\.0\.0\.0\/25.*\/24/,
  });
});

test('the pool gives freed ranges out last', (t) => {
  const pool = CidrPool.of('10.0.0.0/22', 24) as CidrPool;
  t.is(pool.take('a'), '10.0.0.0/24');
  t.is(pool.take('b'), '10.0.1.0/24');
  pool.release('a');
  t.is(pool.take('c'), '10.0.2.0/24');
  t.is(pool.take('d'), '10.0.3.0/24');
  t.is(pool.take('e'), '10.0.0.0/24');
  t.is(pool.take('f'), undefined);
  t.false(pool.occupy('10.0.1.0/24', 'z'));
  t.true(pool.occupy('10.0.1.0/24', 'b'));
  t.false(pool.occupy('10.0.1.0/25', 'z'));
  t.false(pool.contains('10.0.4.0/24'));
  t.is(CidrPool.of('10.0.0.0/25', 24), undefined);
  t.is(CidrPool.of('nonsense', 24), undefined);
});
