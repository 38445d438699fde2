/** Every revision that the history still covers can be read as it was, whether its tree was kept or has to be made again. */
import test from 'ava';
import type { KubernetesObject } from '../../../kernel/contract/index.ts';
import { Collection } from '../../../plugins/clusters/local/state/collection.ts';

const object = (key: string, revision: number): KubernetesObject =>
  ({
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name: key, resourceVersion: String(revision) },
  }) as KubernetesObject;

for (const [what, limits, oldest] of [
  ['all of it', { maxChanges: 10_000, maxBytes: 2 ** 30, maxAgeMs: 1e9 }, 1],
  ['the latest by number', { maxChanges: 150, maxBytes: 2 ** 30, maxAgeMs: 1e9 }, 300],
  ['the latest by size', { maxChanges: 10_000, maxBytes: 15_000, maxAgeMs: 1e9 }, 300],
] as const)
  test(`the state after each revision of a history of ${what}`, (t) => {
    const collection = new Collection(limits);
    collection.reset([], 1);
    const states = new Map<number, string>([[1, '']]);
    const now = new Map<string, number>();
    for (let step = 0, revision = 1; step < 500; step++) {
      // Two changes in every third revision, a deletion in every fifth step.
      if (step % 3 !== 0) revision++;
      const key = `k${(step * 7) % 23}`;
      if (step % 5 === 4) now.delete(key);
      else now.set(key, revision);
      collection.apply(key, now.has(key) ? object(key, revision) : undefined, revision, step, 100);
      states.set(
        revision,
        [...now]
          .map(([name, at]) => `${name}@${at}`)
          .sort()
          .join(' '),
      );
    }
    let found = 0;
    for (const [revision, expected] of states) {
      const tree = collection.treeAt(revision);
      if (tree === undefined) {
        t.true(revision < collection.forgotten);
        continue;
      }
      found++;
      const seen: string[] = [];
      tree.scan('', (key, { metadata }) => seen.push(`${key}@${metadata.resourceVersion}`) > 0);
      t.is(seen.sort().join(' '), expected, `revision ${revision}`);
    }
    t.true(found >= 90 && found <= (oldest === 1 ? 500 : 200), `${found} revisions`);
  });

test('by size a history keeps half of what there is, when that is more than its limit', (t) => {
  const history = (objects: number): number => {
    const collection = new Collection({ maxChanges: 10_000, maxBytes: 1_000, maxAgeMs: 1e9 });
    for (let revision = 1; revision <= 2_000; revision++) {
      const key = `k${revision % objects}`;
      collection.apply(key, object(key, revision), revision, revision, 100);
    }
    return 2_000 - collection.forgotten;
  };
  t.true(history(4) <= 13);
  t.true(history(400) >= 200 && history(400) <= 250);
});
