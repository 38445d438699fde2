import type { StoreCapability } from '../../contract/store.ts';
import type { KitCase } from '../kit.ts';
import { change, commit, listed, type StoreSubject } from './subject.ts';

/** In the order of their UTF-8 bytes; UTF-16 would put the last before the one above it. */
const oddKeys = [
  '\u0000',
  '\u0000a',
  ' ',
  '/',
  '/a',
  '/a/',
  '/a/b',
  '/a0',
  'A',
  'a',
  'a\u0000',
  'aa',
  'é',
  '中',
  '\uffff',
  '😀',
];

export const readCases: readonly KitCase<StoreSubject, StoreCapability>[] = [
  {
    title: 'keys are ordered by their UTF-8 bytes',
    run: async (t, { store }) => {
      for (const key of [...oddKeys].sort().reverse()) await commit(store, change(key, 'x'));
      const { entries } = await store.list({ prefix: '' });
      t.deepEqual(
        entries.map(({ key }) => key),
        oddKeys,
      );
      for (const key of oddKeys) t.is((await store.get(key))?.key, key);
    },
  },
  {
    title: 'a list has the keys under its prefix, and no others',
    run: async (t, { store }) => {
      for (const key of ['/a', '/a/', '/a/1', '/a/2', '/a0', '/b']) await commit(store, change(key, 'x'));
      t.deepEqual(listed(await store.list({ prefix: '/a/' })), ['/a/=x', '/a/1=x', '/a/2=x']);
      t.deepEqual(listed(await store.list({ prefix: '/c' })), []);
      t.is((await store.list({ prefix: '' })).entries.length, 6);
    },
  },
  {
    title: 'pages put together are the whole list, and only the last has no more',
    run: async (t, { store }) => {
      await commit(store, ...oddKeys.map((key) => change(key, 'x')));
      for (const limit of [1, 3, oddKeys.length - 1, oddKeys.length, 100]) {
        const keys: string[] = [];
        for (;;) {
          const after = keys.at(-1);
          const page = await store.list({ prefix: '', limit, ...(after === undefined ? {} : { after }) });
          t.true(page.entries.length <= limit);
          keys.push(...page.entries.map(({ key }) => key));
          t.is(page.more, keys.length < oddKeys.length, `more, with limit ${limit} at ${keys.length}`);
          if (!page.more) break;
          if (page.entries.length === 0) return void t.fail('an empty page says there is more');
        }
        t.deepEqual(keys, oddKeys, `limit ${limit}`);
      }
    },
  },
  {
    title: 'a page may begin after a key that does not exist, and outside the prefix',
    run: async (t, { store }) => {
      for (const key of ['/a/1', '/a/3', '/b/1']) await commit(store, change(key, 'x'));
      t.deepEqual(listed(await store.list({ prefix: '/a/', after: '/a/2' })), ['/a/3=x']);
      t.deepEqual(listed(await store.list({ prefix: '/a/', after: '/' })), ['/a/1=x', '/a/3=x']);
      t.deepEqual(listed(await store.list({ prefix: '/a/', after: '/b/' })), []);
    },
  },
  {
    title: 'a list at an earlier revision is the state of that revision',
    run: async (t, { store }) => {
      await commit(store, change('a', '1'), change('b', '1'));
      await commit(store, change('a', '2'));
      await commit(store, change('b', undefined), change('c', '1'));
      await commit(store, change('b', '2'));
      const at = async (revision: number) => listed(await store.list({ prefix: '', revision }));
      t.deepEqual(await at(1), []);
      t.deepEqual(await at(2), ['a=1', 'b=1']);
      t.deepEqual(await at(3), ['a=2', 'b=1']);
      t.deepEqual(await at(4), ['a=2', 'c=1']);
      t.deepEqual(await at(5), ['a=2', 'b=2', 'c=1']);
      t.is((await store.list({ prefix: '', revision: 3 })).revision, 3);
      t.is((await store.list({ prefix: '' })).revision, 5);
    },
  },
  {
    title: 'pages at one revision are one snapshot, whatever is written between them',
    run: async (t, { store }) => {
      const keys = Array.from({ length: 20 }, (_, index) => `k${String(index).padStart(2, '0')}`);
      await commit(store, ...keys.map((key) => change(key, 'old')));
      const { revision } = await store.list({ prefix: 'k', limit: 1 });
      const seen: string[] = [];
      let after = '';
      for (;;) {
        const page = await store.list({ prefix: 'k', limit: 3, revision, ...(after === '' ? {} : { after }) });
        seen.push(...listed(page));
        if (!page.more || page.entries.length === 0) break;
        after = page.entries.at(-1)!.key;
        await commit(
          store,
          change(`k${String(seen.length).padStart(2, '0')}`, 'new'),
          change(`k00-${seen.length}`, 'x'),
        );
        await commit(store, change('k19', undefined), change('k18', 'new'));
      }
      t.deepEqual(
        seen,
        keys.map((key) => `${key}=old`),
      );
    },
  },
  {
    title: 'a list at a revision that has not happened is refused',
    run: async (t, { store }) => {
      await commit(store, change('a', '1'));
      await t.throwsAsync(store.list({ prefix: '', revision: 3 }), { code: 'FUTURE_REVISION' });
    },
  },
  {
    title: 'a commit that was answered is seen by every later read',
    run: async (t, { store }) => {
      for (let round = 0; round < 20; round++) {
        const revisions = await Promise.all(
          Array.from({ length: 8 }, async (_, writer) => {
            const revision = await commit(store, change(`w${writer}`, String(round)));
            t.is((await store.get(`w${writer}`))?.modified, revision);
            t.true((await store.list({ prefix: `w${writer}` })).revision >= revision);
            return revision;
          }),
        );
        t.is(new Set(revisions).size, 8);
        t.is(store.status().revision, Math.max(...revisions));
      }
    },
  },
  {
    title: 'status counts the keys that exist',
    run: async (t, { store }) => {
      await commit(store, change('a', '1'), change('b', '1'));
      await commit(store, change('a', '2'));
      t.is(store.status().keys, 2);
      await commit(store, change('a', undefined));
      t.is(store.status().keys, 1);
      await commit(store, change('a', '3'));
      t.is(store.status().keys, 2);
      t.true(store.status().sizeBytes > 0);
    },
  },
  {
    title: 'calls after dispose are refused, and dispose twice is harmless',
    run: async (t, { store }) => {
      await commit(store, change('a', '1'));
      await store[Symbol.asyncDispose]();
      await store[Symbol.asyncDispose]();
      const closed = { code: 'STORE_CLOSED' };
      await t.throwsAsync(async () => store.get('a'), closed);
      await t.throwsAsync(async () => store.list({ prefix: '' }), closed);
      await t.throwsAsync(async () => store.commit([change('a', '2')]), closed);
      await t.throwsAsync(async () => store.compact(2), closed);
      t.false(store.status().writable);
    },
  },
  {
    title: 'commits that run when the store is disposed run to their end',
    run: async (t, { store }) => {
      const pending = Array.from({ length: 20 }, (_, index) => store.commit([change(`k${index}`, 'x')]));
      await store[Symbol.asyncDispose]();
      const results = await Promise.all(pending);
      t.deepEqual(
        results.map((result) => result.ok),
        results.map(() => true),
      );
    },
  },
];
