import test from 'ava';
import { configMap, ns, open, pod, refusal, types } from './harness.ts';

const key = (name: string) => ({ namespace: ns, name });

test('at once; with preconditions; not twice', async (t) => {
  const { cluster } = await open(t);
  const made = await cluster.create(types.configMaps, configMap('a'));
  const wrongUid = await refusal(
    t,
    cluster.delete(types.configMaps, key('a'), { preconditions: { uid: 'x' } }),
    'CONFLICT',
  );
  t.is(
    wrongUid.message,
    `Operation cannot be fulfilled on configmaps "a": Precondition failed: UID in precondition: x, UID in object meta: ${made.metadata.uid}`,
  );
  await refusal(t, cluster.delete(types.configMaps, key('a'), { preconditions: { resourceVersion: '1' } }), 'CONFLICT');
  await refusal(t, cluster.delete(types.configMaps, key('a'), { propagationPolicy: 'Sideways' as never }), 'INVALID');
  const dry = await cluster.delete(types.configMaps, key('a'), { dryRun: true });
  t.true(dry.gone);
  const { uid, resourceVersion } = made.metadata;
  const removed = await cluster.delete(types.configMaps, key('a'), { preconditions: { uid, resourceVersion } });
  t.true(removed.gone);
  t.true(Number(removed.object.metadata.resourceVersion) > Number(resourceVersion));
  await refusal(t, cluster.delete(types.configMaps, key('a')), 'NOT_FOUND');
});

test('finalizers hold an object until the last is gone', async (t) => {
  const { cluster } = await open(t);
  await cluster.create(types.configMaps, configMap('a', { metadata: { finalizers: ['x/one', 'x/two'] } as never }));
  const marked = await cluster.delete(types.configMaps, key('a'));
  t.false(marked.gone);
  const stamp = marked.object.metadata.deletionTimestamp;
  t.truthy(stamp);
  t.is((await cluster.delete(types.configMaps, key('a'))).object, marked.object, 'deleting again changes nothing');
  const set = (finalizers: string[]) =>
    cluster.patch(types.configMaps, key('a'), { kind: 'merge', body: { metadata: { finalizers } } });
  const error = await refusal(t, set(['x/one', 'x/three']), 'INVALID');
  t.regex(
    error.message,
    /no new finalizers can be added if the object is being deleted, found new finalizers \[\]string\{"x\/three"\}/,
  );
  const forged = { kind: 'merge', body: { metadata: { deletionTimestamp: null } } } as const;
  t.is((await cluster.patch(types.configMaps, key('a'), forged)).metadata.deletionTimestamp, stamp);
  t.deepEqual((await set(['x/two'])).metadata.finalizers, ['x/two']);
  await set([]);
  await refusal(t, cluster.get(types.configMaps, key('a')), 'NOT_FOUND');
});

test('propagation policies are finalizers for the garbage collector', async (t) => {
  const { cluster } = await open(t);
  const cases = [
    ['Orphan', ['orphan']],
    ['Foreground', ['foregroundDeletion']],
    ['Background', undefined],
    [undefined, undefined],
  ] as const;
  for (const [propagationPolicy, finalizers] of cases) {
    await cluster.create(types.configMaps, configMap('a'));
    const { object, gone } = await cluster.delete(types.configMaps, key('a'), { propagationPolicy });
    t.is(gone, finalizers === undefined);
    t.deepEqual(object.metadata.finalizers, finalizers as never);
    if (gone) continue;
    // Background takes the hold away again.
    t.true((await cluster.delete(types.configMaps, key('a'), { propagationPolicy: 'Background' })).gone);
  }
  const template = { metadata: { labels: { a: 'b' } }, spec: pod('x').spec };
  await cluster.create(types.replicationControllers, {
    metadata: { name: 'rc', namespace: ns },
    spec: { selector: { a: 'b' }, template },
  });
  t.deepEqual((await cluster.delete(types.replicationControllers, key('rc'))).object.metadata.finalizers, ['orphan']);
});

test('a scheduled pod is given its grace; the node agent ends it with 0', async (t) => {
  const { cluster } = await open(t);
  await cluster.create(types.pods, pod('p', { nodeName: 'n1', terminationGracePeriodSeconds: 20 }));
  const first = await cluster.delete(types.pods, key('p'));
  t.false(first.gone);
  t.is(first.object.metadata.deletionGracePeriodSeconds, 20);
  t.is(first.object.metadata.generation, 2);
  const longer = await cluster.delete(types.pods, key('p'), { gracePeriodSeconds: 60 });
  t.is(longer.object, first.object, 'the grace never gets longer');
  const shorter = await cluster.delete(types.pods, key('p'), { gracePeriodSeconds: 5 });
  t.is(shorter.object.metadata.deletionGracePeriodSeconds, 5);
  const moved =
    Date.parse(first.object.metadata.deletionTimestamp!) - Date.parse(shorter.object.metadata.deletionTimestamp!);
  t.is(moved, 15_000);
  const status = { ...shorter.object, status: { phase: 'Running' } };
  t.is((await cluster.update(types.pods, status, { subresource: 'status' })).status?.phase, 'Running');
  t.true((await cluster.delete(types.pods, key('p'), { gracePeriodSeconds: 0 })).gone);
});

test('pods that nobody runs go at once; finalizers hold those, too', async (t) => {
  const { cluster } = await open(t);
  await cluster.create(types.pods, pod('waiting'));
  t.true((await cluster.delete(types.pods, key('waiting'))).gone);
  const done = await cluster.create(types.pods, pod('done', { nodeName: 'n1' }));
  await cluster.update(types.pods, { ...done, status: { phase: 'Succeeded' } }, { subresource: 'status' });
  t.true((await cluster.delete(types.pods, key('done'))).gone);
  await cluster.create(types.pods, pod('held', { nodeName: 'n1' }, { finalizers: ['a/b'] }));
  await cluster.delete(types.pods, key('held'));
  t.false((await cluster.delete(types.pods, key('held'), { gracePeriodSeconds: 0 })).gone);
  await cluster.patch(types.pods, key('held'), { kind: 'merge', body: { metadata: { finalizers: null } } });
  await refusal(t, cluster.get(types.pods, key('held')), 'NOT_FOUND');
});

test('a collection, selected', async (t) => {
  const { cluster } = await open(t);
  for (let index = 0; index < 50; index++) {
    await cluster.create(types.configMaps, configMap(`c${index}`, { labels: { odd: String(index % 2) } }));
  }
  const removed = await cluster.deleteCollection(types.configMaps, { namespace: ns, labelSelector: 'odd=1' });
  t.is(removed.items.length, 25);
  const left = (await cluster.list(types.configMaps, { namespace: ns })).items;
  t.is(left.length, 25);
  t.true(left.every(({ metadata }) => metadata.labels?.['odd'] === '0'));
  await refusal(t, cluster.deleteCollection(types.namespaces), 'METHOD_NOT_ALLOWED');
});

test('a namespace is Terminating until it is finalized', async (t) => {
  const { cluster } = await open(t);
  const made = await cluster.create(types.namespaces, { metadata: { name: 'a' }, spec: {} });
  t.is(made.status?.phase, 'Active');
  t.deepEqual(made.spec.finalizers, ['kubernetes']);
  t.is(made.metadata.labels?.['kubernetes.io/metadata.name'], 'a');
  const { object, gone } = await cluster.delete(types.namespaces, { name: 'a' });
  t.false(gone);
  t.is(object.status?.phase, 'Terminating');
  const ignored = await cluster.update(types.namespaces, { ...object, spec: {} });
  t.deepEqual(ignored.spec.finalizers, ['kubernetes'], 'an update does not finalize');
  await cluster.update(types.namespaces, { ...ignored, spec: {} }, { subresource: 'finalize' });
  await refusal(t, cluster.get(types.namespaces, { name: 'a' }), 'NOT_FOUND');
  await refusal(t, cluster.delete(types.namespaces, { name: 'kube-system' }), 'FORBIDDEN');
});
