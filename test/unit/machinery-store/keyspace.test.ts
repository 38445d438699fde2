import test from 'ava';
import fc from 'fast-check';
import { checkKey, compareKeys } from '../../../kernel/machinery/store/key-order.ts';
import { Keyspace, type Version } from '../../../kernel/machinery/store/keyspace.ts';
import { Retention } from '../../../kernel/machinery/store/retention.ts';
import { SortedKeys } from '../../../kernel/machinery/store/sorted-keys.ts';

const anyKey = fc.string({ unit: 'binary', minLength: 1, maxLength: 6 });

function byBytes(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}

test('keys compare as their UTF-8 bytes do', (t) => {
  fc.assert(fc.property(anyKey, anyKey, (a, b) => Math.sign(compareKeys(a, b)) === byBytes(a, b)));
  t.true(compareKeys('\uffff', '😀') < 0, 'where UTF-16 says the opposite');
});

test('the set of keys is a sorted set, whatever is added and deleted', (t) => {
  const keys = new SortedKeys();
  const model = new Set<string>();
  for (let step = 0; step < 5_000; step++) {
    const key = `k${(step * 7_919) % 1_301}`;
    if (step % 3 === 2) t.is(keys.delete(key), model.delete(key));
    else {
      t.is(keys.add(key), !model.has(key));
      model.add(key);
    }
  }
  t.is(keys.size, model.size);
  t.deepEqual([...keys.range('')], [...model].sort());
  const prefixed = [...model].filter((key) => key.startsWith('k1')).sort();
  t.deepEqual([...keys.range('k1')], prefixed);
  t.deepEqual([...keys.range('k1', prefixed[10])], prefixed.slice(11));
  for (const key of model) keys.delete(key);
  t.deepEqual([...keys.range('')], []);
  t.true(keys.add('again'));
  t.deepEqual([...keys.range('')], ['again']);
});

interface Step {
  readonly changes: readonly { readonly key: string; readonly isDeletion: boolean }[];
  /** How far behind the head to compact; undefined: not now. */
  readonly compactBehind: number | undefined;
  readonly sweep: number;
}

const step: fc.Arbitrary<Step> = fc.record({
  changes: fc.uniqueArray(
    fc.record({ key: fc.constantFrom('a', 'b', 'b/1', 'b/2', '😀', '\uffff'), isDeletion: fc.boolean() }),
    { minLength: 1, maxLength: 3, selector: ({ key }) => key },
  ),
  compactBehind: fc.option(fc.nat(6), { nil: undefined, freq: 4 }),
  sweep: fc.nat(5),
});

/** Every revision's state, kept whole: slow and obviously right. */
type Model = Map<number, Map<string, { value: string; created: number; modified: number }>>;

function stateOf(keyspace: Keyspace, revision: number): unknown[] {
  return keyspace
    .list({ prefix: '', revision })
    .versions.map(({ key, created, revision: modified, value }) => [
      key,
      new TextDecoder().decode(value),
      created,
      modified,
    ]);
}

function expected(model: Model, revision: number): unknown[] {
  return [...model.get(revision)!]
    .sort(([a], [b]) => byBytes(a, b))
    .map(([key, { value, created, modified }]) => [key, value, created, modified]);
}

function versionsOf(keyspace: Keyspace, { changes }: Step, revision: number): Version[] {
  return changes
    .filter(({ key, isDeletion }) => !isDeletion || keyspace.current(key) !== undefined)
    .map(({ key, isDeletion }, index) => ({
      key,
      revision,
      index,
      created: isDeletion ? 0 : (keyspace.current(key)?.created ?? revision),
      isDeletion,
      value: isDeletion ? undefined : new TextEncoder().encode(`${index}@${revision}`),
      previous: undefined,
    }));
}

test('every kept revision reads as it was, under any mix of changes, compaction, sweeps and restarts', (t) => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      let keyspace = new Keyspace();
      const model: Model = new Map([[1, new Map()]]);
      /** What a disk would hold. */
      const disk = new Map<string, Version>();
      const place = ({ revision, index }: Version): string => `${String(revision).padStart(6, '0')}/${index}`;
      const forget = (dropped: readonly Version[]): void => {
        for (const version of dropped)
          if (!disk.delete(place(version))) throw new Error(`${place(version)} was dropped twice`);
      };
      for (const [at, one] of steps.entries()) {
        const revision = keyspace.revision + 1;
        const versions = versionsOf(keyspace, one, revision);
        if (versions.length > 0) {
          const state = new Map(model.get(revision - 1));
          for (const { key, isDeletion, created, value } of versions)
            if (isDeletion) state.delete(key);
            else state.set(key, { value: new TextDecoder().decode(value), created, modified: revision });
          model.set(revision, state);
          keyspace.apply(revision, versions);
          for (const version of versions) disk.set(place(version), version);
        }
        if (one.compactBehind !== undefined) keyspace.compactTo(Math.max(0, keyspace.revision - one.compactBehind));
        forget(keyspace.sweep(one.sweep).dropped);
        if (at % 7 === 6) {
          const kept = [...disk.entries()].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, version]) => ({ ...version }));
          const restored = new Keyspace();
          forget(restored.restore(keyspace.revision, keyspace.compacted, kept));
          keyspace = restored;
        }
        for (let asked = Math.max(1, keyspace.compacted); asked <= keyspace.revision; asked++) {
          const found = JSON.stringify(stateOf(keyspace, asked));
          if (found !== JSON.stringify(expected(model, asked))) throw new Error(`revision ${asked} reads ${found}`);
        }
        if (keyspace.liveKeys !== model.get(keyspace.revision)!.size) throw new Error('liveKeys is wrong');
      }
      keyspace.compactTo(keyspace.revision);
      forget(keyspace.sweep(Infinity).dropped);
      const live = model.get(keyspace.revision)!;
      if (disk.size !== live.size) throw new Error(`${disk.size} versions are left of ${live.size} keys`);
    }),
    { numRuns: 300 },
  );
  t.pass();
});

test('a key is checked before it comes near a store', (t) => {
  for (const key of ['a', '\u0000', '€'.repeat(341), 'k'.repeat(1_024), '😀']) t.notThrows(() => checkKey(key));
  for (const key of ['', '€'.repeat(342), 'k'.repeat(1_025), 'a\ud83d', '\ude00'])
    t.throws(() => checkKey(key), { code: 'STORE_INVALID' });
});

test('retention keeps by age, but not fewer than the least and not more than the most', (t) => {
  const retention = new Retention({ keepSeconds: 3, keepRevisions: 10, maxRevisions: 1_000 });
  t.is(retention.tickMs, 250);
  for (let tick = 0; tick < 12; tick++) t.true(retention.tick(100 + tick) <= 0, 'nothing is old yet');
  t.is(retention.tick(112), 100, 'what is as old as three seconds');
  t.is(retention.tick(5_000), 4_000, 'no more than the most');
  for (let tick = 0; tick < 100; tick++) retention.tick(5_000);
  t.is(retention.tick(5_000), 4_990, 'no fewer than the least');
});
