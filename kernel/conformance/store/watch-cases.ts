import type { StoreCapability, WatchBatch } from '../../contract/store.ts';
import type { KitCase } from '../kit.ts';
import { checkHistory } from './history-checker.ts';
import type { SeenBatch } from './history.ts';
import { change, commit, events, firstOf, nextTurn, seenBatch, watchUntil, type StoreSubject } from './subject.ts';

async function writeSome({ store }: StoreSubject): Promise<number> {
  await commit(store, change('/a/1', '1'), change('/b/1', '1'));
  await commit(store, change('/a/1', '2'));
  await commit(store, change('/a/2', '1'), change('/a/1', undefined));
  await commit(store, change('/b/2', '1'));
  return commit(store, change('/a/1', '3'));
}

const some = ['2 /a/1=1', '2 /b/1=1', '3 /a/1=2', '4 /a/2=1', '4 /a/1=(deleted)', '5 /b/2=1', '6 /a/1=3'];

export const watchCases: readonly KitCase<StoreSubject, StoreCapability>[] = [
  {
    title: 'a watch delivers every change after its revision, in order, none twice',
    run: async (t, subject) => {
      const last = await writeSome(subject);
      for (let after = 1; after <= last; after++) {
        if (after === last) await commit(subject.store, change('/c', 'end'));
        const batches = await watchUntil(subject.store, { prefix: '', after }, after === last ? last + 1 : last);
        const due = [...some, '7 /c=end'].filter((line) => Number(line.split(' ')[0]) > after);
        t.deepEqual(events(batches), after === last ? due : due.slice(0, -1), `after ${after}`);
      }
    },
  },
  {
    title: 'a watch delivers what falls under its prefix, and nothing else',
    run: async (t, subject) => {
      const last = await writeSome(subject);
      const batches = await watchUntil(subject.store, { prefix: '/a/', after: 1 }, last);
      t.deepEqual(
        events(batches),
        some.filter((line) => line.includes('/a/')),
      );
    },
  },
  {
    title: 'changes of one revision come in one batch',
    run: async (t, { store }) => {
      const keys = Array.from({ length: 1_500 }, (_, index) => `k${index}`);
      for (let round = 0; round < 4; round++) await commit(store, ...keys.map((key) => change(key, String(round))));
      const batches = await watchUntil(store, { prefix: '', after: 1 }, 5);
      t.is(events(batches).length, 6_000);
      const carriers = new Map<number, number>();
      for (const batch of batches)
        for (const revision of new Set(batch.events.map((event) => event.revision)))
          carriers.set(revision, (carriers.get(revision) ?? 0) + 1);
      t.deepEqual([...carriers.values()], [1, 1, 1, 1]);
    },
  },
  {
    title: 'events tell what was before, and when the key came to be',
    run: async (t, { store }) => {
      await commit(store, change('a', '1'));
      await commit(store, change('a', '2'));
      await commit(store, change('a', undefined));
      await commit(store, change('a', '3'));
      const found = (await watchUntil(store, { prefix: '', after: 1 }, 5)).flatMap((batch) => batch.events);
      const one = { key: 'a', value: '1', created: 2, modified: 2 };
      const two = { key: 'a', value: '2', created: 2, modified: 3 };
      const three = { key: 'a', value: '3', created: 5, modified: 5 };
      t.deepEqual(found, [
        { key: 'a', revision: 2, entry: one, previous: undefined },
        { key: 'a', revision: 3, entry: two, previous: one },
        { key: 'a', revision: 4, entry: undefined, previous: two },
        { key: 'a', revision: 5, entry: three, previous: undefined },
      ]);
    },
  },
  {
    title: 'progress never runs ahead of events, and comes without events too',
    run: async (t, subject) => {
      const last = await writeSome(subject);
      const batches = await watchUntil(subject.store, { prefix: '/nothing', after: 1 }, last);
      t.deepEqual(events(batches), []);
      let progress = 1;
      const all = await watchUntil(subject.store, { prefix: '', after: 1 }, last);
      t.deepEqual(events(all), some, 'what progress covers was delivered');
      for (const batch of all) {
        for (const event of batch.events) t.true(event.revision > progress && event.revision <= batch.progress);
        t.true(batch.progress >= progress);
        progress = batch.progress;
      }
      t.is(progress, last);
    },
  },
  {
    title: 'a watch that waits is told of later changes',
    run: async (t, { store }) => {
      const watching = watchUntil(store, { prefix: '/a', after: 1 }, 4);
      await nextTurn();
      await commit(store, change('/b', '1'));
      await nextTurn();
      await commit(store, change('/a', '1'));
      await commit(store, change('/a', undefined));
      t.deepEqual(events(await watching), ['3 /a=1', '4 /a=(deleted)']);
    },
  },
  {
    title: 'a watch can be resumed from any progress that it has told',
    run: async (t, subject) => {
      const { store } = subject;
      const last = await writeSome(subject);
      const seen: string[] = [];
      for (let after = 1; after < last + 5;) {
        if (after >= last) await commit(store, change('/more', String(after)));
        const next = await firstOf(store, { prefix: '', after });
        if (next.done === true) return void t.fail('the watch ended');
        seen.push(...events([seenBatch(next.value)]));
        if (next.value.progress <= after) return void t.fail('a batch made no progress');
        after = next.value.progress;
      }
      const more = Array.from({ length: 5 }, (_, index) => `${last + 1 + index} /more=${last + index}`);
      t.deepEqual(seen, [...some, ...more]);
    },
  },
  {
    title: 'a watch of a revision that has not happened is refused, and so does not deliver old events',
    run: async (t, subject) => {
      const last = await writeSome(subject);
      await t.throwsAsync(firstOf(subject.store, { prefix: '', after: last + 1 }), { code: 'FUTURE_REVISION' });
      await t.throwsAsync(firstOf(subject.store, { prefix: '', after: last + 1_000 }), { code: 'FUTURE_REVISION' });
    },
  },
  {
    title: 'a watch returns when its signal aborts: while it waits, before it begins, and with events left',
    run: async (t, subject) => {
      const { store } = subject;
      const waiting = new AbortController();
      const next = store.watch({ prefix: '', after: 1 }, waiting.signal)[Symbol.asyncIterator]().next();
      await nextTurn();
      waiting.abort();
      t.is((await next).done, true);
      t.is(
        (await store.watch({ prefix: '', after: 1 }, AbortSignal.abort())[Symbol.asyncIterator]().next()).done,
        true,
      );
      await writeSome(subject);
      const reading = new AbortController();
      let batches = 0;
      for await (const _ of store.watch({ prefix: '', after: 1 }, reading.signal)) {
        batches++;
        reading.abort();
      }
      t.is(batches, 1);
    },
  },
  {
    title: 'a watch whose reader leaves ends, also while it waits',
    run: async (t, { store }) => {
      const stop = new AbortController();
      const iterator = store.watch({ prefix: '', after: 1 }, stop.signal)[Symbol.asyncIterator]();
      const next = iterator.next();
      await nextTurn();
      await iterator.return?.();
      t.is((await next).done, true);
      t.is((await iterator.next()).done, true);
    },
  },
  {
    title: 'calls of next that overlap get batches in order',
    run: async (t, { store }) => {
      const stop = new AbortController();
      t.teardown(() => stop.abort());
      const iterator = store.watch({ prefix: '', after: 1 }, stop.signal)[Symbol.asyncIterator]();
      const pending = [iterator.next(), iterator.next(), iterator.next()];
      const batches: SeenBatch[] = [];
      for (let round = 0; round < pending.length; round++) {
        await commit(store, change('a', String(round)));
        const next = (await pending[round]) as IteratorResult<WatchBatch>;
        if (next.done === true) return void t.fail('the watch ended');
        batches.push(seenBatch(next.value));
      }
      t.deepEqual(events(batches), ['2 a=0', '3 a=1', '4 a=2']);
    },
  },
  {
    title: 'dispose ends the watches that wait',
    run: async (t, { store }) => {
      const stop = new AbortController();
      t.teardown(() => stop.abort());
      const next = store.watch({ prefix: '', after: 1 }, stop.signal)[Symbol.asyncIterator]().next();
      await nextTurn();
      const refused = t.throwsAsync(next, { code: 'STORE_CLOSED' });
      await store[Symbol.asyncDispose]();
      await refused;
    },
  },
  {
    title: 'a watcher that does not read holds up neither writers nor other watchers, and misses nothing',
    run: async (t, { store }) => {
      const stop = new AbortController();
      t.teardown(() => stop.abort());
      const slow = store.watch({ prefix: '', after: 1 }, stop.signal)[Symbol.asyncIterator]();
      const slowBatches: SeenBatch[] = [];
      const first = slow.next();
      let last = await commit(store, change('k0', '0'));
      slowBatches.push(seenBatch((await first).value as WatchBatch));
      const value = 'x'.repeat(10_000);
      for (let index = 1; index < 300; index++)
        last = await commit(store, change(`k${index % 7}`, `${index} ${value}`));
      const fast = await watchUntil(store, { prefix: '', after: 1 }, last);
      while (slowBatches.at(-1)!.progress < last) slowBatches.push(seenBatch((await slow.next()).value as WatchBatch));
      t.is(events(fast).length, 300);
      t.deepEqual(events(slowBatches), events(fast));
      t.deepEqual(
        checkHistory({
          base: { revision: 1, entries: [] },
          log: fast.flatMap((batch) => batch.events),
          seen: [{ kind: 'watch', prefix: '', after: 1, batches: slowBatches }],
          ownAfter: last,
        }),
        [],
      );
    },
  },
];
