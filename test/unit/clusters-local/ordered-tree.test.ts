import assert from 'node:assert/strict';
import test from 'ava';
import fc from 'fast-check';
import { OrderedTree } from '../../../plugins/clusters/local/state/ordered-tree.ts';

type Model = Map<string, number>;

function entries(tree: OrderedTree<number>, start = ''): [string, number][] {
  const list: [string, number][] = [];
  tree.scan(start, (key, value) => {
    list.push([key, value]);
    return true;
  });
  return list;
}

function sorted(model: Model): [string, number][] {
  return [...model].sort(([a], [b]) => (a < b ? -1 : 1));
}

const key = fc.integer({ min: 0, max: 400 }).map((number) => `k${String(number).padStart(3, '0')}`);
const operation = fc.record({ key, remove: fc.boolean() });

test('behaves as a sorted map, and old versions stay as they were', (t) => {
  fc.assert(
    fc.property(fc.array(operation, { maxLength: 900 }), (operations) => {
      const model: Model = new Map();
      let tree: OrderedTree<number> = OrderedTree.empty;
      let snapshot: { tree: OrderedTree<number>; expected: [string, number][] } | undefined;
      for (const [index, { key: name, remove }] of operations.entries()) {
        if (remove) model.delete(name);
        else model.set(name, index);
        tree = remove ? tree.without(name) : tree.with(name, index);
        if (index === operations.length >> 1) snapshot = { tree, expected: sorted(model) };
      }
      assert.deepEqual(entries(tree), sorted(model));
      assert.equal(tree.size, model.size);
      if (snapshot) assert.deepEqual(entries(snapshot.tree), snapshot.expected);
      for (const probe of ['', 'k000', 'k200', 'k2001', 'k399', 'z']) {
        const after = sorted(model).filter(([name]) => name >= probe);
        assert.deepEqual(entries(tree, probe), after);
        assert.equal(tree.rank(probe), model.size - after.length);
        assert.equal(tree.get(probe), model.get(probe));
      }
    }),
    { numRuns: 60 },
  );
  t.pass();
});

test('a tree made at once equals one made step by step', (t) => {
  for (const count of [0, 1, 31, 32, 33, 1_024, 1_025, 5_000]) {
    const list = Array.from({ length: count }, (_, index) => [`n${String(index).padStart(5, '0')}`, index] as const);
    const tree = OrderedTree.from(list);
    t.is(tree.size, count);
    t.deepEqual(
      entries(tree),
      list.map((pair) => [...pair]),
    );
    t.is(tree.rank('n00017'), Math.min(count, 17));
    let emptied: OrderedTree<number> = tree;
    for (const [name] of list) emptied = emptied.without(name);
    t.is(emptied.size, 0);
  }
});

test('removing what is not there gives the same tree', (t) => {
  const tree = OrderedTree.from([['a', 1]]);
  t.is(tree.without('b'), tree);
});
