import test, { type ExecutionContext } from 'ava';
import { recordCases } from '../../../kernel/conformance/recorder.ts';
import { storeConformance } from '../../../kernel/conformance/store.ts';
import memory from '../../../plugins/stores/memory/index.ts';
import { startStore } from '../stores/start-store.ts';
import { brokenStores, type Sound } from './broken-stores.ts';

/** A broken store need not be waited for; a sound one has time on a busy machine. */
const brokenMs = 4_000;
const soundMs = 60_000;

/** Broken stores may not dispose the sound one that they hide. */
async function startSound(t: ExecutionContext, folder: string): Promise<Sound> {
  const sound = await startStore(memory, folder);
  t.teardown(() => sound[Symbol.asyncDispose]());
  return sound;
}

async function failures(
  open: (folder: string) => Promise<Sound>,
  { only, durable = false, timeoutMs = brokenMs }: { only?: string; durable?: boolean; timeoutMs?: number },
): Promise<string[]> {
  const recorder = recordCases({ timeoutMs });
  storeConformance(recorder.test, { name: 'subject', capabilities: durable ? ['durable'] : [], open });
  const results = await recorder.run((title) => only === undefined || title === `subject: ${only}`);
  if (only !== undefined && results.length !== 1) throw new Error(`the kit has no case "${only}"`);
  return results.filter(({ outcome }) => outcome === 'failed').map(({ title }) => title.replace('subject: ', ''));
}

test('the kit finds nothing wrong with a sound store', async (t) => {
  t.deepEqual(await failures((folder) => startStore(memory, folder), { timeoutMs: soundMs }), []);
});

for (const { name, noticedBy, make } of brokenStores)
  test(`the kit notices a store that ${name}`, async (t) => {
    t.deepEqual(await failures(async (folder) => make(await startSound(t, folder)), { only: noticedBy }), [noticedBy]);
  });

test('the kit notices a store that says it is durable and forgets at a restart', async (t) => {
  const found = await failures((folder) => startStore(memory, folder), { durable: true, timeoutMs: 15_000 });
  t.deepEqual(found, [
    'after a restart everything is there: entries, revision, border',
    'after a restart kept history is still readable and watchable, and no more than that',
    'a watch can start after a restart when every key is older than the border',
    'the revision never goes back, also when the last changes were deletions and are compacted',
    'large and many values come back as they were',
  ]);
});

test('the case with many clients notices a store that seldom drops an event', async (t) => {
  const title =
    'what many clients see under compaction is one history: linearizable reads and commits, complete watches';
  const open = async (folder: string): Promise<Sound> => {
    const sound = await startSound(t, folder);
    let count = 0;
    return {
      ...sound,
      watch: async function* (query, signal) {
        for await (const batch of sound.watch(query, signal))
          yield { ...batch, events: batch.events.filter(() => ++count % 150 !== 0) };
      },
    };
  };
  t.deepEqual(await failures(open, { only: title }), [title]);
});
