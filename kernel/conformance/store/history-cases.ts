import type { StoreCapability } from '../../contract/store.ts';
import type { KitCase } from '../kit.ts';
import { checkHistory } from './history-checker.ts';
import type { SeenBatch, SeenCommit } from './history.ts';
import { RecordingClient } from './recording-client.ts';
import { nextTurn, seenBatch, type StoreSubject } from './subject.ts';

const writers = 8;
const rounds = 60;
const watchers = 12;
const keys = 10;

export const historyCases: readonly KitCase<StoreSubject, StoreCapability>[] = [
  {
    title: 'what many clients see under compaction is one history: linearizable reads and commits, complete watches',
    run: async (t, { store }) => {
      const seed = Math.floor(Math.random() * 2 ** 31);
      t.log(`seed ${seed}`);
      const random = randomNumbers(seed);
      const clients: RecordingClient[] = [];
      const client = (): RecordingClient => {
        const one = new RecordingClient(store);
        clients.push(one);
        return one;
      };

      const stop = new AbortController();
      const log: SeenBatch[] = [];
      const logging = (async () => {
        for await (const batch of store.watch({ prefix: '', after: 1 }, stop.signal)) log.push(seenBatch(batch));
      })();
      await nextTurn();

      const watching: Promise<void>[] = [];
      const openWatch = (): void => {
        const { revision } = store.status();
        const after = Math.max(1, revision - Math.floor(random() * 100));
        const pause = random() < 0.5 ? nextTurn : async (): Promise<void> => undefined;
        watching.push(
          client().watch(random() < 0.5 ? '' : `k${Math.floor(random() * keys)}`, after, stop.signal, pause),
        );
      };

      const write = async (writer: number): Promise<void> => {
        const me = client();
        for (let round = 0; round < rounds; round++) {
          const key = `k${Math.floor(random() * keys)}`;
          const value = `${writer}-${round}`;
          const choice = random();
          // A store that answers without waiting would let one writer end before the next begins.
          if (random() < 0.3) await nextTurn();
          if (choice < 0.4) await me.commit([{ key, value, expected: await me.get(key) }]);
          else if (choice < 0.6) await me.commit([{ key, value }]);
          else if (choice < 0.7) await me.commit([{ key, value: undefined }]);
          else if (choice < 0.8) await me.commit(manyKeys(key, value));
          else if (choice < 0.9) await me.list('');
          else await me.list('', Math.max(1, store.status().revision - Math.floor(random() * 20)));
        }
      };

      let isWriting = true;
      const disturb = async (): Promise<void> => {
        for (let turn = 0; isWriting; turn++) {
          if (turn % 20 === 0 && watching.length < watchers) openWatch();
          // The watch that keeps the log may lag a little; the border stays behind it.
          if (turn % 7 === 0) await store.compact(Math.max(0, (log.at(-1)?.progress ?? 1) - 5));
          await nextTurn();
        }
      };
      const disturbing = disturb();
      await Promise.all(Array.from({ length: writers }, (_, writer) => write(writer)));
      isWriting = false;
      await disturbing;
      const last = store.status().revision;
      while ((log.at(-1)?.progress ?? 1) < last) await nextTurn();
      await client().list('');
      stop.abort();
      await Promise.all([logging, ...watching]);

      const violations = checkHistory({
        base: { revision: 1, entries: [] },
        log: log.flatMap((batch) => batch.events),
        seen: [...clients.flatMap(({ seen }) => seen), { kind: 'watch', prefix: '', after: 1, batches: log }],
      });
      t.deepEqual(violations.slice(0, 10), []);
      t.true(last > writers * rounds * 0.2, `${last} revisions are too few to show anything`);
    },
  },
];

function manyKeys(key: string, value: string): SeenCommit['changes'] {
  return [
    { key, value },
    { key: `${key}/second`, value },
    { key: `other/${key}`, value: undefined },
  ];
}

/** Mulberry32: the same numbers for the same seed. */
function randomNumbers(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
