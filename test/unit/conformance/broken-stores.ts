/**
 * Stores that break one promise each, made from a sound one. The kit must notice every one of them.
 */
import { isPintleError } from '../../../kernel/contract/errors.ts';
import type { CommitResult, Store, StoreChange, StoreEvent, WatchBatch } from '../../../kernel/contract/store.ts';

export type Sound = Store & AsyncDisposable;

export interface BrokenStore {
  readonly name: string;
  /** The case of the kit that must fail, by its title. */
  readonly noticedBy: string;
  readonly make: (sound: Sound) => Sound;
}

/** Methods of a store may need their `this`. */
function changed(sound: Sound, broken: Partial<Store>): Sound {
  return {
    get: (key) => sound.get(key),
    list: (query) => sound.list(query),
    commit: (changes) => sound.commit(changes),
    watch: (query, signal) => sound.watch(query, signal),
    compact: (revision) => sound.compact(revision),
    status: () => sound.status(),
    [Symbol.asyncDispose]: () => sound[Symbol.asyncDispose](),
    ...broken,
  };
}

function changedWatch(
  sound: Sound,
  change: (batches: AsyncIterable<WatchBatch>, after: number) => AsyncIterable<WatchBatch>,
): Sound {
  return changed(sound, { watch: (query, signal) => change(sound.watch(query, signal), query.after) });
}

function changedEvents(sound: Sound, change: (events: readonly StoreEvent[]) => readonly StoreEvent[]): Sound {
  return changedWatch(sound, async function* (batches) {
    for await (const batch of batches) yield { ...batch, events: change(batch.events) };
  });
}

export const brokenStores: readonly BrokenStore[] = [
  {
    name: 'ignores conditions',
    noticedBy: 'a commit whose condition fails changes nothing and shows what it met',
    make: (sound) =>
      changed(sound, { commit: (changes) => sound.commit(changes.map(({ key, value }) => ({ key, value }))) }),
  },
  {
    name: 'checks the condition long before it writes',
    noticedBy: 'of commits at once on one condition exactly one is written',
    make: (sound) =>
      changed(sound, {
        commit: async (changes): Promise<CommitResult> => {
          for (const { key, expected } of changes) {
            const current = await sound.get(key);
            if (expected !== undefined && expected !== (current?.modified ?? 0)) return { ok: false, key, current };
          }
          await new Promise((resolve) => setImmediate(resolve));
          return sound.commit(changes.map(({ key, value }) => ({ key, value })));
        },
      }),
  },
  {
    name: 'writes the keys of a transaction one by one',
    noticedBy: 'each transaction takes the next revision, and its changes share it',
    make: (sound) =>
      changed(sound, {
        commit: async (changes) => {
          let result: CommitResult = { ok: true, revision: sound.status().revision };
          for (const change of changes) {
            result = await sound.commit([change]);
            if (!result.ok) return result;
          }
          return result;
        },
      }),
  },
  {
    name: 'keeps the bytes that it was given',
    noticedBy: 'the bytes given to commit may be changed afterwards',
    make: (sound) =>
      changed(sound, {
        commit: async (changes: readonly StoreChange[]) => {
          await new Promise((resolve) => setImmediate(resolve));
          return sound.commit(changes);
        },
      }),
  },
  {
    name: 'orders keys by UTF-16',
    noticedBy: 'keys are ordered by their UTF-8 bytes',
    make: (sound) =>
      changed(sound, {
        list: async (query) => {
          const answer = await sound.list(query);
          return { ...answer, entries: [...answer.entries].sort((a, b) => (a.key < b.key ? -1 : 1)) };
        },
      }),
  },
  {
    name: 'says there is more when there is not',
    noticedBy: 'pages put together are the whole list, and only the last has no more',
    make: (sound) =>
      changed(sound, {
        list: async (query) => {
          const answer = await sound.list(query);
          return { ...answer, more: answer.entries.length === query.limit };
        },
      }),
  },
  {
    name: 'reads the newest state whatever revision is asked for',
    noticedBy: 'a list at an earlier revision is the state of that revision',
    make: (sound) =>
      changed(sound, {
        list: async ({ prefix, after, limit, revision }) => {
          const answer = await sound.list({
            prefix,
            ...(after === undefined ? {} : { after }),
            ...(limit === undefined ? {} : { limit }),
          });
          return { ...answer, revision: revision ?? answer.revision };
        },
      }),
  },
  {
    name: 'answers reads from a while ago',
    noticedBy: 'a commit that was answered is seen by every later read',
    make: (sound) => {
      const stale = new Map<string, Awaited<ReturnType<Store['get']>>>();
      return changed(sound, {
        get: async (key) => {
          const entry = stale.get(key) ?? (await sound.get(key));
          stale.set(key, entry);
          return entry;
        },
      });
    },
  },
  {
    name: 'splits a revision over two batches',
    noticedBy: 'changes of one revision come in one batch',
    make: (sound) =>
      changedWatch(sound, async function* (batches, after) {
        let progress = after;
        for await (const batch of batches) {
          const half = batch.events.length >> 1;
          if (half > 0) yield { events: batch.events.slice(0, half), progress };
          yield { events: batch.events.slice(half), progress: batch.progress };
          progress = batch.progress;
        }
      }),
  },
  {
    name: 'drops deletions',
    noticedBy: 'a watch delivers every change after its revision, in order, none twice',
    make: (sound) => changedEvents(sound, (events) => events.filter(({ entry }) => entry !== undefined)),
  },
  {
    name: 'delivers a change twice when a watch is resumed',
    noticedBy: 'a watch can be resumed from any progress that it has told',
    make: (sound) =>
      changed(sound, {
        watch: ({ prefix, after }, signal) => sound.watch({ prefix, after: Math.max(1, after - 1) }, signal),
      }),
  },
  {
    name: 'delivers in the wrong order',
    noticedBy: 'a watch delivers every change after its revision, in order, none twice',
    make: (sound) => changedEvents(sound, (events) => [...events].reverse()),
  },
  {
    name: 'tells progress ahead of events',
    noticedBy: 'progress never runs ahead of events, and comes without events too',
    make: (sound) =>
      changedWatch(sound, async function* (batches) {
        for await (const batch of batches) {
          yield { events: [], progress: batch.progress };
          yield batch;
        }
      }),
  },
  {
    name: 'does not tell progress without events',
    noticedBy: 'progress never runs ahead of events, and comes without events too',
    make: (sound) =>
      changedWatch(sound, async function* (batches) {
        for await (const batch of batches) if (batch.events.length > 0) yield batch;
      }),
  },
  {
    name: 'ignores the prefix of a watch',
    noticedBy: 'a watch delivers what falls under its prefix, and nothing else',
    make: (sound) => changed(sound, { watch: ({ after }, signal) => sound.watch({ prefix: '', after }, signal) }),
  },
  {
    name: 'forgets the value before',
    noticedBy: 'events tell what was before, and when the key came to be',
    make: (sound) => changedEvents(sound, (events) => events.map((event) => ({ ...event, previous: undefined }))),
  },
  {
    name: 'delivers old events to a watch of the future',
    noticedBy: 'a watch of a revision that has not happened is refused, and so does not deliver old events',
    make: (sound) =>
      changed(sound, {
        watch: ({ prefix, after }, signal) =>
          sound.watch({ prefix, after: Math.min(after, sound.status().revision - 1) }, signal),
      }),
  },
  {
    name: 'ignores the signal of a watch',
    noticedBy: 'a watch returns when its signal aborts: while it waits, before it begins, and with events left',
    make: (sound) => changed(sound, { watch: (query) => sound.watch(query, new AbortController().signal) }),
  },
  {
    name: 'refuses a watch exactly at the border',
    noticedBy: 'after compaction reads and watches work exactly at the border, and below it are refused',
    make: (sound) =>
      changed(sound, { compact: (revision) => sound.compact(Math.min(revision + 1, sound.status().revision)) }),
  },
  {
    name: 'never compacts',
    noticedBy: 'after compaction reads and watches work exactly at the border, and below it are refused',
    make: (sound) => changed(sound, { compact: async () => undefined }),
  },
  {
    name: 'restarts a lagging watch at the border instead of telling',
    noticedBy: 'a watch that lags behind the border is told so, one that kept up goes on',
    make: (sound) =>
      changed(sound, {
        watch: async function* ({ prefix, after }, signal) {
          for (let from = after; ; from = sound.status().compacted)
            try {
              for await (const batch of sound.watch({ prefix, after: from }, signal)) yield batch;
              return;
            } catch (error) {
              // Goes on as if nothing were missing.
              if (!isPintleError(error, 'COMPACTED')) throw error;
            }
        },
      }),
  },
  {
    name: 'deletes for good what is compacted',
    noticedBy: 'keys that never changed since are kept, and watches begin after them',
    make: (sound) => {
      let border = 0;
      return changed(sound, {
        compact: async (revision) => {
          await sound.compact(revision);
          border = revision;
        },
        list: async (query) => {
          const answer = await sound.list(query);
          return { ...answer, entries: answer.entries.filter(({ modified }) => modified >= border) };
        },
      });
    },
  },
  {
    name: 'takes keys of any length',
    noticedBy: 'keys and values up to the limits are kept, longer ones are refused and write nothing',
    make: (sound) =>
      changed(sound, {
        commit: (changes) =>
          sound.commit(changes.map((change) => ({ ...change, key: change.key.slice(0, 1_024) || '?' }))),
      }),
  },
  {
    name: 'works on after dispose',
    noticedBy: 'calls after dispose are refused, and dispose twice is harmless',
    make: (sound) => changed(sound, { [Symbol.asyncDispose]: async () => undefined } as Partial<Sound>),
  },
];
