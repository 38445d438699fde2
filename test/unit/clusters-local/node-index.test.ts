/** The pods of one node, found without looking at all: always what a scan of all of them would find. */
import test from 'ava';
import type { Pod } from '../../../kernel/contract/kubernetes.ts';
import { Collection } from '../../../plugins/clusters/local/state/collection.ts';
import { open, pod, types } from './harness.ts';

const unlimited = { maxChanges: 1_000, maxBytes: Number.POSITIVE_INFINITY, maxAgeMs: Number.POSITIVE_INFINITY };
const nodeOf = (object: object) => (object as Pod).spec.nodeName ?? '';

const podOn = (name: string, nodeName: string, revision: number): Pod =>
  ({ metadata: { name, namespace: 'default', resourceVersion: String(revision) }, spec: { nodeName } }) as Pod;

test('random changes: the index and a scan agree after each', (t) => {
  const collection = new Collection(unlimited);
  collection.indexBy(nodeOf);
  let seed = 7;
  const random = (below: number) => (seed = (seed * 48_271) % 2_147_483_647) % below;
  const nodes = ['', 'n1', 'n2', 'n3'];
  for (let revision = 1; revision <= 2_000; revision++) {
    const name = `p${random(40)}`;
    const object = random(4) === 0 ? undefined : podOn(name, nodes[random(nodes.length)]!, revision);
    collection.apply(`default/${name}`, object, revision, revision);
    if (revision === 1_000) collection.reset([['default/p1', podOn('p1', 'n2', revision)]], revision);
    for (const node of nodes) {
      const scanned: string[] = [];
      collection.tree.scan('', (key, each) => {
        if (nodeOf(each) === node) scanned.push(key);
        return true;
      });
      t.deepEqual(collection.keysWith(node), scanned);
    }
  }
});

test('lists of a node: all namespaces, one namespace, page by page, and from a kept revision', async (t) => {
  const { cluster } = await open(t);
  await cluster.create(types.namespaces, { metadata: { name: 'other' }, spec: {} });
  for (const name of ['d', 'b', 'c', 'a']) {
    await cluster.create(types.pods, pod(name, { nodeName: name === 'c' ? 'n2' : 'n1' }));
    await cluster.create(types.pods, pod(name, { nodeName: 'n1' }, { namespace: 'other' }));
  }
  const fieldSelector = 'spec.nodeName=n1';
  const keys = (items: readonly Pod[]) => items.map(({ metadata }) => `${metadata.namespace}/${metadata.name}`);
  const all = ['default/a', 'default/b', 'default/d', 'other/a', 'other/b', 'other/c', 'other/d'];
  const whole = await cluster.list(types.pods, { fieldSelector });
  t.deepEqual(keys(whole.items), all);
  t.deepEqual(keys((await cluster.list(types.pods, { fieldSelector, namespace: 'default' })).items), all.slice(0, 3));
  t.deepEqual(keys((await cluster.list(types.pods, { fieldSelector: 'spec.nodeName=n3' })).items), []);
  const first = await cluster.list(types.pods, { fieldSelector, limit: 3 });
  await cluster.delete(types.pods, { namespace: 'other', name: 'b' }, { gracePeriodSeconds: 0 });
  const second = await cluster.list(types.pods, { fieldSelector, limit: 3, continue: first.continue });
  const third = await cluster.list(types.pods, { fieldSelector, limit: 3, continue: second.continue });
  t.deepEqual(keys([first, second, third].flatMap(({ items }) => items)), all, 'pages are of one revision');
  const exact = { resourceVersion: whole.resourceVersion, resourceVersionMatch: 'Exact' as const };
  t.deepEqual(keys((await cluster.list(types.pods, { fieldSelector, ...exact })).items), all);
  t.deepEqual(
    keys((await cluster.list(types.pods, { fieldSelector })).items),
    all.filter((key) => key !== 'other/b'),
  );
});

test('history is bounded by its size, too, and keeps the newest change whatever its size', (t) => {
  const collection = new Collection({ ...unlimited, maxBytes: 1_000 });
  for (let revision = 1; revision <= 100; revision++)
    collection.apply('default/p', podOn('p', 'n', revision), revision, revision, 100);
  const oldest = collection.sequenceAfter(collection.forgotten)!;
  const kept = collection.end - oldest;
  t.true(kept >= 10 && kept <= 12, `${kept} changes of 100 bytes in 1,000`);
  t.is(collection.at(oldest - 1), 'forgotten');
  t.is(collection.treeAt(collection.forgotten - 1), undefined);
  t.is(collection.treeAt(100), collection.tree);
  collection.apply('default/p', podOn('p', 'n', 101), 101, 101, 5_000);
  t.is(collection.forgotten, 100);
  const change = collection.at(collection.end - 1);
  t.is(change !== 'forgotten' ? change?.revision : undefined, 101);
});
