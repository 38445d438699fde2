/**
 * The conformance kit of kind `store`: one test for each promise of kernel/contract/store.ts. Run it against every
 * implementation:
 *
 *     storeConformance(test, { name: 'memory', capabilities: [], open: async () => createStore() });
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { StoreCapability } from '../contract/store.ts';
import { registerCases, type KitAssertions, type KitTest } from './kit.ts';
import { commitCases } from './store/commit-cases.ts';
import { compactionCases } from './store/compaction-cases.ts';
import { durabilityCases } from './store/durability-cases.ts';
import { historyCases } from './store/history-cases.ts';
import { readCases } from './store/read-cases.ts';
import type { OpenedStore, StoreSubject } from './store/subject.ts';
import { watchCases } from './store/watch-cases.ts';

export interface StoreConformance {
  /** Begins the title of every test. */
  readonly name: string;
  readonly capabilities: readonly StoreCapability[];
  /** Opens a fresh store in an empty folder. A durable store is opened again with the same folder after its disposal. */
  readonly open: (folder: string) => Promise<OpenedStore>;
}

export function storeConformance(test: KitTest, { name, capabilities, open }: StoreConformance): void {
  registerCases(test, {
    name,
    capabilities,
    cases: [...commitCases, ...readCases, ...watchCases, ...compactionCases, ...durabilityCases, ...historyCases],
    subject: (t) => openSubject(t, open),
  });
}

async function openSubject(t: KitAssertions, open: StoreConformance['open']): Promise<StoreSubject> {
  const folder = await mkdtemp(join(tmpdir(), 'pintle-store-kit-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  let store = await open(folder);
  t.teardown(() => store[Symbol.asyncDispose]());
  return {
    store,
    reopen: async () => {
      await store[Symbol.asyncDispose]();
      store = await open(folder);
      return store;
    },
  };
}
