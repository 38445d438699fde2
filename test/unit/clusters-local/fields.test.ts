/** Lists and watches of parts of objects: what a node follows of all others. */
import test from 'ava';
import type { Node } from '../../../kernel/contract/kubernetes.ts';
import type { NewObject } from '../../../kernel/contract/index.ts';
import { collect, configMap, ns, open, refusal, types } from './harness.ts';

const fields = ['metadata.annotations', 'spec.podCIDRs', 'status.addresses'];

const node = (name: string): NewObject<Node> =>
  ({
    metadata: { name, annotations: { mac: '1' }, labels: { zone: 'a' } },
    spec: { podCIDRs: ['10.0.0.0/24'], unschedulable: true },
    status: { addresses: [{ type: 'InternalIP', address: '192.0.2.1' }], capacity: { cpu: '2' } },
  }) as unknown as NewObject<Node>;

test('a list shows what identifies an object, the fields asked for, and nothing else', async (t) => {
  const { cluster } = await open(t);
  const whole = await cluster.create(types.nodes, node('a'));
  const { items } = await cluster.list(types.nodes, { fields });
  const { uid, resourceVersion } = whole.metadata;
  t.deepEqual(items as unknown[], [
    {
      apiVersion: 'v1',
      kind: 'Node',
      metadata: { name: 'a', uid, resourceVersion, annotations: { mac: '1' } },
      spec: { podCIDRs: ['10.0.0.0/24'] },
      status: { addresses: [{ type: 'InternalIP', address: '192.0.2.1' }] },
    },
  ]);
  t.true(Object.isFrozen(items[0]!.metadata) && Object.isFrozen(items[0]!.spec));
  const again = await cluster.list(types.nodes, { fields: fields.toReversed() });
  t.is(again.items[0], items[0], 'readers share what is made once');
  t.deepEqual((await cluster.list(types.nodes)).items[0], whole, 'others see the whole');
});

test('a wide field beside one inside it, and fields that are not there', async (t) => {
  const { cluster } = await open(t);
  const whole = await cluster.create(types.nodes, node('a'));
  const { items } = await cluster.list(types.nodes, {
    fields: ['spec.podCIDRs', 'spec', 'status.nothing', 'metadata.labels.toString'],
  });
  t.deepEqual(items[0]!.spec, whole.spec);
  t.is((items[0] as Partial<Node>).status, undefined);
  t.is(items[0]!.metadata.labels, undefined);
});

test('a watch tells changes of these fields, and no others', async (t) => {
  const { cluster } = await open(t);
  const key = { name: 'a' };
  const merge = (body: object, subresource?: string) =>
    cluster.patch(types.nodes, key, { kind: 'merge', body }, { subresource });
  await cluster.create(types.nodes, node('a'));
  const watch = collect(t, cluster, types.nodes, { fields });
  const other = collect(t, cluster, types.nodes, { fields });
  const whole = collect(t, cluster, types.nodes);
  await Promise.all([watch, other, whole].map((each) => each.until(() => each.events.length === 1)));
  await merge(
    { status: { conditions: [{ type: 'Ready', status: 'True', lastHeartbeatTime: '2030-01-01T00:00:00Z' }] } },
    'status',
  );
  await merge({ metadata: { labels: { zone: 'b' } } });
  await merge({ metadata: { annotations: { mac: '2' } } });
  await merge({ status: { images: [{ names: ['x'] }] } }, 'status');
  await cluster.delete(types.nodes, key);
  await cluster.create(types.nodes, node('a'));
  await watch.until(() => watch.events.length >= 4);
  await other.until(() => other.events.length >= 4);
  t.deepEqual(watch.lines(), ['ADDED a', 'MODIFIED a', 'DELETED a', 'ADDED a']);
  t.deepEqual(watch.events[1]!.object.metadata.annotations, { mac: '2' });
  t.is((watch.events[1]!.object as Node).status?.capacity, undefined);
  t.is(watch.events[1], other.events[1], 'watchers share the event');
  await whole.until(() => whole.events.length >= 7);
  t.is(whole.lines().filter((line) => line === 'MODIFIED a').length, 4);
});

test('an object that is replaced under its name is told, though it looks the same', async (t) => {
  const { cluster, store } = await open(t);
  await cluster.create(types.configMaps, configMap('a'));
  const watch = collect(t, cluster, types.configMaps, { fields: ['data'] });
  await watch.until(() => watch.events.length === 1);
  const stored = (await store.list({ prefix: '/registry/core/configmaps/' })).entries[0]!;
  const text = Buffer.from(stored.value).toString();
  const value = Buffer.from(text.replace(/"uid":"[^"]*"/, '"uid":"another"'));
  t.true((await store.commit([{ key: stored.key, value, expected: stored.modified }])).ok);
  await watch.until(() => watch.events.length === 2);
  t.is(watch.events[1]!.object.metadata.uid, 'another');
});

test('a crowd is told at intervals, of everything, in order', async (t) => {
  const { cluster } = await open(t);
  const { resourceVersion } = (await cluster.create(types.configMaps, configMap('a', { data: { k: '0' } }))).metadata;
  const crowd = Array.from({ length: 60 }, () =>
    collect(t, cluster, types.configMaps, { resourceVersion, fields: ['data'] }),
  );
  const batches: number[] = [];
  const stop = new AbortController();
  const one = (async () => {
    const options = { resourceVersion, fields: ['data'] };
    for await (const batch of cluster.watch(types.configMaps, options, stop.signal)) batches.push(batch.length);
  })();
  const changes = 40;
  for (let k = 1; k <= changes; k++) {
    await cluster.patch(
      types.configMaps,
      { namespace: ns, name: 'a' },
      { kind: 'merge', body: { data: { k: `${k}` } } },
    );
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  for (const each of crowd) await each.until(() => each.events.length === changes);
  t.deepEqual(
    crowd[0]!.events.map(({ object }) => (object as { data?: { k?: string } }).data?.k),
    Array.from({ length: changes }, (_, k) => `${k + 1}`),
  );
  stop.abort();
  await one;
  t.true(batches.length < changes, `${batches.length} batches for ${changes} changes`);
});

test('fields that are no paths are refused', async (t) => {
  const { cluster } = await open(t);
  for (const field of ['', 'spec..x', '__proto__', 'spec.__proto__', 'a'.repeat(10) + '['])
    await refusal(t, cluster.list(types.nodes, { fields: [field] }), 'BAD_REQUEST');
  const many = Array.from({ length: 17 }, (_, index) => `spec.f${index}`);
  await refusal(t, cluster.list(types.nodes, { fields: many }), 'BAD_REQUEST');
});
