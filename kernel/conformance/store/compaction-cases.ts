import type { StoreCapability, WatchBatch } from '../../contract/store.ts';
import type { KitCase } from '../kit.ts';
import {
  change,
  commit,
  events,
  firstOf,
  listed,
  nextTurn,
  seenBatch,
  watchUntil,
  type StoreSubject,
} from './subject.ts';

const compacted = { code: 'COMPACTED' };

export const compactionCases: readonly KitCase<StoreSubject, StoreCapability>[] = [
  {
    title: 'after compaction reads and watches work exactly at the border, and below it are refused',
    run: async (t, { store }) => {
      for (let value = 1; value <= 5; value++)
        await commit(store, change('a', String(value)), change(`b${value}`, 'x'));
      await store.compact(4);
      t.is(store.status().compacted, 4);
      t.deepEqual(listed(await store.list({ prefix: '', revision: 4 })), ['a=3', 'b1=x', 'b2=x', 'b3=x']);
      t.deepEqual(events(await watchUntil(store, { prefix: '', after: 4 }, 6)), ['5 a=4', '5 b4=x', '6 a=5', '6 b5=x']);
      await t.throwsAsync(store.list({ prefix: '', revision: 3 }), compacted);
      await t.throwsAsync(firstOf(store, { prefix: '', after: 3 }), compacted);
      await t.throwsAsync(firstOf(store, { prefix: 'nothing', after: 1 }), compacted);
      t.deepEqual(listed(await store.list({ prefix: 'a' })), ['a=5']);
    },
  },
  {
    title: 'the first change after the border still tells what was before it',
    run: async (t, { store }) => {
      await commit(store, change('a', '1'));
      await commit(store, change('other', '1'));
      await commit(store, change('a', '2'));
      await store.compact(3);
      const [event] = (await watchUntil(store, { prefix: 'a', after: 3 }, 4)).flatMap((batch) => batch.events);
      t.deepEqual(event?.previous, { key: 'a', value: '1', created: 2, modified: 2 });
      t.deepEqual(event?.entry, { key: 'a', value: '2', created: 2, modified: 4 });
    },
  },
  {
    title: 'compaction at a deletion keeps the deletion for a watch that is just below, and the key stays deleted',
    run: async (t, { store }) => {
      await commit(store, change('a', '1'));
      await commit(store, change('b', '1'));
      await commit(store, change('a', undefined));
      await store.compact(3);
      t.deepEqual(events(await watchUntil(store, { prefix: 'a', after: 3 }, 4)), ['4 a=(deleted)']);
      await store.compact(4);
      t.is(await store.get('a'), undefined);
      t.deepEqual(listed(await store.list({ prefix: '', revision: 4 })), ['b=1']);
      await commit(store, change('a', '2', 0));
      t.deepEqual(events(await watchUntil(store, { prefix: '', after: 4 }, 5)), ['5 a=2']);
      t.deepEqual(listed(await store.list({ prefix: '', revision: 4 })), ['b=1']);
    },
  },
  {
    title: 'a key deleted and made again over the border keeps its versions apart',
    run: async (t, { store }) => {
      await commit(store, change('a', '1'));
      await commit(store, change('a', undefined));
      await commit(store, change('a', '2'));
      await commit(store, change('a', '3'));
      await store.compact(3);
      const found = (await watchUntil(store, { prefix: '', after: 3 }, 5)).flatMap((batch) => batch.events);
      t.deepEqual(
        found.map(({ entry, previous }) => [entry?.value, entry?.created, previous?.value]),
        [
          ['2', 4, undefined],
          ['3', 4, '2'],
        ],
      );
      t.deepEqual(listed(await store.list({ prefix: '', revision: 3 })), []);
    },
  },
  {
    title: 'keys that never changed since are kept, and watches begin after them',
    run: async (t, { store }) => {
      await commit(store, change('old', '1'));
      for (let value = 0; value < 10; value++) await commit(store, change('busy', String(value)));
      await store.compact(12);
      t.deepEqual(listed(await store.list({ prefix: '' })), ['busy=9', 'old=1']);
      t.deepEqual(listed(await store.list({ prefix: '', revision: 12 })), ['busy=9', 'old=1']);
      t.is((await store.get('old'))?.modified, 2);
      await commit(store, change('old', '2', 2));
      t.deepEqual(events(await watchUntil(store, { prefix: '', after: 12 }, 13)), ['13 old=2']);
    },
  },
  {
    title: 'compacting again at or below the border does nothing',
    run: async (t, { store }) => {
      for (let value = 0; value < 5; value++) await commit(store, change('a', String(value)));
      await store.compact(5);
      for (let again = 0; again < 10; again++) await store.compact(5);
      await store.compact(2);
      await store.compact(0);
      t.is(store.status().compacted, 5);
      t.is(store.status().revision, 6);
      t.deepEqual(events(await watchUntil(store, { prefix: '', after: 5 }, 6)), ['6 a=4']);
    },
  },
  {
    title: 'compaction of what has not happened is refused',
    run: async (t, { store }) => {
      await commit(store, change('a', '1'));
      await t.throwsAsync(store.compact(3), { code: 'FUTURE_REVISION' });
      await store.compact(2);
      t.deepEqual(listed(await store.list({ prefix: '' })), ['a=1']);
    },
  },
  {
    title: 'a watch that lags behind the border is told so, one that kept up goes on',
    run: async (t, { store }) => {
      const stop = new AbortController();
      t.teardown(() => stop.abort());
      const slow = store.watch({ prefix: '', after: 1 }, stop.signal)[Symbol.asyncIterator]();
      const quick = store.watch({ prefix: '', after: 1 }, stop.signal)[Symbol.asyncIterator]();
      const first = [slow.next(), quick.next()];
      await commit(store, change('a', '0'));
      await Promise.all(first);
      for (let value = 1; value <= 20; value++) {
        await commit(store, change('a', String(value)));
        t.deepEqual(events([seenBatch((await quick.next()).value as WatchBatch)]), [`${value + 2} a=${value}`]);
      }
      await store.compact(15);
      await t.throwsAsync(slow.next(), compacted);
      t.is((await slow.next()).done, true, 'a watch that failed has ended');
      const next = quick.next();
      await nextTurn();
      await commit(store, change('a', 'last'));
      t.deepEqual(events([seenBatch((await next).value as WatchBatch)]), ['23 a=last']);
    },
  },
  {
    title: 'a watch that waits at the head outlives compaction up to the head',
    run: async (t, { store }) => {
      const last = await commit(store, change('a', '1'));
      const watching = watchUntil(store, { prefix: 'b', after: last }, last + 1);
      await nextTurn();
      await store.compact(last);
      await commit(store, change('b', '1'));
      t.deepEqual(events(await watching), [`${last + 1} b=1`]);
    },
  },
  {
    title: 'compaction does not hold up commits, and they lose nothing by it',
    run: async (t, { store }) => {
      for (let round = 0; round < 20; round++)
        await commit(store, ...Array.from({ length: 200 }, (_, index) => change(`k${index}`, String(round))));
      const compacting = store.compact(store.status().revision);
      const revisions = await Promise.all(
        Array.from({ length: 50 }, (_, index) => commit(store, change(`k${index}`, 'new'))),
      );
      await compacting;
      t.is(new Set(revisions).size, 50);
      const { entries } = await store.list({ prefix: '' });
      t.is(entries.length, 200);
      t.is(listed({ entries }).filter((line) => line.endsWith('=new')).length, 50);
      t.is(listed({ entries }).filter((line) => line.endsWith('=19')).length, 150);
    },
  },
];
