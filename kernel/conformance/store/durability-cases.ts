import type { StoreCapability } from '../../contract/store.ts';
import type { KitCase } from '../kit.ts';
import { change, commit, events, firstOf, listed, seenOrUndefined, watchUntil, type StoreSubject } from './subject.ts';

const durable = { needs: ['durable'] as const };

export const durabilityCases: readonly KitCase<StoreSubject, StoreCapability>[] = [
  {
    ...durable,
    title: 'after a restart everything is there: entries, revision, border',
    run: async (t, { store, reopen }) => {
      await commit(store, change('a', '1'), change('b', '1'));
      await commit(store, change('a', '2'));
      await commit(store, change('b', undefined), change('😀', 'c'));
      await store.compact(2);
      const before = store.status();
      const again = await reopen();
      const { revision, compacted, keys } = again.status();
      t.deepEqual({ revision, compacted, keys }, { revision: 4, compacted: 2, keys: before.keys });
      t.deepEqual(listed(await again.list({ prefix: '' })), ['a=2', '😀=c']);
      t.deepEqual(seenOrUndefined(await again.get('a')), { key: 'a', value: '2', created: 2, modified: 3 });
      t.is(await commit(again, change('a', '3', 3)), 5, 'the revision goes on');
    },
  },
  {
    ...durable,
    title: 'after a restart kept history is still readable and watchable, and no more than that',
    run: async (t, { store, reopen }) => {
      for (let value = 1; value <= 4; value++) await commit(store, change('a', String(value)));
      await commit(store, change('a', undefined));
      await commit(store, change('a', '6'));
      await store.compact(3);
      const again = await reopen();
      t.deepEqual(listed(await again.list({ prefix: '', revision: 3 })), ['a=2']);
      t.deepEqual(listed(await again.list({ prefix: '', revision: 6 })), []);
      const found = (await watchUntil(again, { prefix: '', after: 3 }, 7)).flatMap((batch) => batch.events);
      t.deepEqual(events([{ events: found, progress: 7 }]), ['4 a=3', '5 a=4', '6 a=(deleted)', '7 a=6']);
      t.is(found[0]?.previous?.value, '2');
      t.is(found[3]?.previous, undefined);
      await t.throwsAsync(again.list({ prefix: '', revision: 2 }), { code: 'COMPACTED' });
      await t.throwsAsync(firstOf(again, { prefix: '', after: 2 }), { code: 'COMPACTED' });
    },
  },
  {
    ...durable,
    title: 'a watch can start after a restart when every key is older than the border',
    run: async (t, { store, reopen }) => {
      await commit(store, change('a', '1'));
      for (let value = 0; value < 5; value++) await commit(store, change('b', String(value)));
      await commit(store, change('b', undefined));
      const last = store.status().revision;
      await store.compact(last);
      const again = await reopen();
      t.is(again.status().revision, last);
      t.deepEqual(listed(await again.list({ prefix: '' })), ['a=1']);
      const watching = watchUntil(again, { prefix: '', after: last }, last + 1);
      await commit(again, change('c', '1'));
      t.deepEqual(events(await watching), [`${last + 1} c=1`]);
    },
  },
  {
    ...durable,
    title: 'the revision never goes back, also when the last changes were deletions and are compacted',
    run: async (t, { store, reopen }) => {
      await commit(store, change('a', '1'));
      await commit(store, change('a', undefined));
      await store.compact(3);
      const again = await reopen();
      t.is(again.status().revision, 3);
      t.is(again.status().keys, 0);
      t.is(await commit(again, change('a', '2', 0)), 4);
      t.is((await again.get('a'))?.created, 4);
    },
  },
  {
    ...durable,
    title: 'large and many values come back as they were',
    run: async (t, { store, reopen }) => {
      const big = new Uint8Array(1_500_000).map((_, index) => index % 251);
      await store.commit([{ key: 'big', value: big }]);
      await commit(store, ...Array.from({ length: 3_000 }, (_, index) => change(`k${index}`, `value ${index}`)));
      const again = await reopen();
      t.true(Buffer.from((await again.get('big'))?.value ?? []).equals(big));
      const { entries } = await again.list({ prefix: 'k' });
      t.is(entries.length, 3_000);
      t.true(entries.every(({ key, value }) => new TextDecoder().decode(value) === `value ${key.slice(1)}`));
    },
  },
];
