import type { StoreCapability } from '../../contract/store.ts';
import type { KitCase } from '../kit.ts';
import { bytes, change, commit, conflicted, listed, seenOrUndefined, type StoreSubject } from './subject.ts';

const longestKey = 1_024;
const longestValue = 4 * 1_024 * 1_024;

export const commitCases: readonly KitCase<StoreSubject, StoreCapability>[] = [
  {
    title: 'a fresh store is at revision 1, empty and writable',
    run: async (t, { store }) => {
      const { revision, keys, writable, compacted } = store.status();
      t.deepEqual({ revision, keys, writable }, { revision: 1, keys: 0, writable: true });
      t.true(compacted <= 1);
      t.deepEqual(await store.list({ prefix: '' }), { entries: [], revision: 1, more: false });
    },
  },
  {
    title: 'each transaction takes the next revision, and its changes share it',
    run: async (t, { store }) => {
      t.is(await commit(store, change('a', '1'), change('b', '2')), 2);
      t.is(await commit(store, change('c', '3')), 3);
      t.deepEqual(
        [await store.get('a'), await store.get('b'), await store.get('c')].map((entry) => entry?.modified),
        [2, 2, 3],
      );
      t.is(store.status().revision, 3);
    },
  },
  {
    title: 'created stays with changes and starts anew after a deletion',
    run: async (t, { store }) => {
      await commit(store, change('a', '1'));
      await commit(store, change('a', '2'));
      t.deepEqual(seenOrUndefined(await store.get('a')), { key: 'a', value: '2', created: 2, modified: 3 });
      await commit(store, change('a', undefined));
      t.is(await store.get('a'), undefined);
      await commit(store, change('a', '3'));
      t.deepEqual(seenOrUndefined(await store.get('a')), { key: 'a', value: '3', created: 5, modified: 5 });
    },
  },
  {
    title: 'a commit whose condition holds is written',
    run: async (t, { store }) => {
      t.deepEqual(await store.commit([change('a', '1', 0)]), { ok: true, revision: 2 });
      t.deepEqual(await store.commit([change('a', '2', 2)]), { ok: true, revision: 3 });
      t.deepEqual(await store.commit([change('a', undefined, 3)]), { ok: true, revision: 4 });
      t.deepEqual(await store.commit([change('a', '4', 0)]), { ok: true, revision: 5 }, 'deleted is absent');
    },
  },
  {
    title: 'a commit whose condition fails changes nothing and shows what it met',
    run: async (t, { store }) => {
      await commit(store, change('a', '1'));
      const exists = await store.commit([change('b', 'x'), change('a', 'y', 0)]);
      t.deepEqual(conflicted(exists), { key: 'a', current: { key: 'a', value: '1', created: 2, modified: 2 } });
      const absent = await store.commit([change('c', 'x', 7)]);
      t.deepEqual(conflicted(absent), { key: 'c', current: undefined });
      const stale = await store.commit([change('a', undefined, 1)]);
      t.is(conflicted(stale)?.current?.modified, 2);
      t.deepEqual(listed(await store.list({ prefix: '' })), ['a=1']);
      t.is(store.status().revision, 2);
    },
  },
  {
    title: 'the first key whose condition fails is the one that is named',
    run: async (t, { store }) => {
      await commit(store, change('a', '1'), change('b', '1'));
      const result = await store.commit([change('z', 'x', 0), change('b', 'x', 9), change('a', 'x', 9)]);
      t.is(conflicted(result)?.key, 'b');
    },
  },
  {
    title: 'a condition on a key that was deleted fails with nothing to show',
    run: async (t, { store }) => {
      await commit(store, change('a', '1'));
      await commit(store, change('a', undefined));
      t.deepEqual(conflicted(await store.commit([change('a', '2', 2)])), { key: 'a', current: undefined });
    },
  },
  {
    title: 'deleting an absent key is no change',
    run: async (t, { store }) => {
      await commit(store, change('a', '1'));
      t.is(await commit(store, change('b', undefined)), 2);
      t.is(await commit(store, change('b', undefined, 0)), 2);
      t.is(await commit(store), 2);
      t.is(await commit(store, change('b', undefined), change('c', '1')), 3);
      t.is(store.status().revision, 3);
    },
  },
  {
    title: 'the bytes given to commit may be changed afterwards',
    run: async (t, { store }) => {
      const value = bytes('before');
      const pending = store.commit([{ key: 'a', value }]);
      value.fill(33);
      await pending;
      value.fill(34);
      t.deepEqual(listed(await store.list({ prefix: '' })), ['a=before']);
    },
  },
  {
    title: 'values are any bytes, none included',
    run: async (t, { store }) => {
      const all = Uint8Array.from({ length: 256 }, (_, index) => index);
      await store.commit([
        { key: 'all', value: all },
        { key: 'none', value: new Uint8Array() },
      ]);
      t.deepEqual([...((await store.get('all'))?.value ?? [])], [...all]);
      t.is((await store.get('none'))?.value.byteLength, 0);
      t.is(store.status().keys, 2);
    },
  },
  {
    title: 'keys and values up to the limits are kept, longer ones are refused and write nothing',
    run: async (t, { store }) => {
      const key = 'k'.repeat(longestKey);
      const wide = '€'.repeat(Math.floor(longestKey / 3));
      await commit(store, change(key, 'long'), change(wide, 'wide'));
      await store.commit([{ key: 'big', value: new Uint8Array(longestValue).fill(7) }]);
      t.deepEqual(listed(await store.list({ prefix: key })), [`${key}=long`]);
      t.is((await store.get(wide))?.modified, 2);
      const big = await store.get('big');
      t.is(big?.value.byteLength, longestValue);
      t.true(big?.value.every((byte) => byte === 7));

      const refused = { code: 'STORE_INVALID' };
      await t.throwsAsync(store.commit([change('x', '1'), change(`${key}k`, '1')]), refused);
      await t.throwsAsync(store.commit([change('x', '1'), change(`${wide}€`, '1')]), refused, 'bytes, not characters');
      await t.throwsAsync(store.commit([change('x', '1'), change('', '1')]), refused);
      await t.throwsAsync(store.commit([change('x', '1'), change('\ud800', '1')]), refused, 'a lone surrogate');
      await t.throwsAsync(store.commit([{ key: 'x', value: new Uint8Array(longestValue + 1) }]), refused);
      await t.throwsAsync(store.commit([change('x', '1'), change('x', '2')]), refused, 'one key twice');
      t.is(await store.get('x'), undefined);
      t.is(store.status().revision, 3);
    },
  },
  {
    title: 'a transaction of many keys is written whole, or not at all',
    run: async (t, { store }) => {
      const many = Array.from({ length: 500 }, (_, index) => change(`k${index}`, String(index)));
      t.is(await commit(store, ...many), 2);
      t.is((await store.list({ prefix: 'k' })).entries.length, 500);
      const again = many.map(({ key }, index) => change(key, 'new', index === 499 ? 1 : 2));
      t.is(conflicted(await store.commit(again))?.key, 'k499');
      t.true((await store.list({ prefix: 'k' })).entries.every(({ modified }) => modified === 2));
    },
  },
  {
    title: 'of commits at once on one condition exactly one is written',
    run: async (t, { store }) => {
      const results = await Promise.all(
        Array.from({ length: 50 }, (_, index) => store.commit([change('lock', String(index), 0)])),
      );
      t.is(results.filter(({ ok }) => ok).length, 1);
      const winner = String(results.findIndex(({ ok }) => ok));
      t.deepEqual(listed(await store.list({ prefix: '' })), [`lock=${winner}`]);
      for (const result of results) if (!result.ok) t.is(conflicted(result)?.current?.value, winner);
      t.is(store.status().revision, 2);
    },
  },
  {
    title: 'a counter that many increase by compare-and-swap loses nothing',
    run: async (t, { store }) => {
      const increase = async (): Promise<void> => {
        for (;;) {
          const entry = await store.get('counter');
          const next = Number(entry === undefined ? 0 : new TextDecoder().decode(entry.value)) + 1;
          if ((await store.commit([change('counter', String(next), entry?.modified ?? 0)])).ok) return;
        }
      };
      await Promise.all(
        Array.from({ length: 8 }, async () => {
          for (let round = 0; round < 10; round++) await increase();
        }),
      );
      t.deepEqual(listed(await store.list({ prefix: '' })), ['counter=80']);
    },
  },
];
