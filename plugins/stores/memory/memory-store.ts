/** A store without a disk: everything is gone when the process ends. For tests, and for clusters that nobody will miss. */
import type { Clock } from '../../../kernel/contract/plugin.ts';
import type { CommitResult, Store, StoreChange, StoreStatus } from '../../../kernel/contract/store.ts';
import { PintleError } from '../../../kernel/contract/errors.ts';
import { checkChanges } from '../../../kernel/machinery/store/check-changes.ts';
import {
  checkRevision,
  conflictOf,
  entryOf,
  futureRevision,
  judge,
  Keyspace,
  readableRevision,
  type ReadValue,
  type Version,
} from '../../../kernel/machinery/store/keyspace.ts';
import { runRetention, type RetentionLimits } from '../../../kernel/machinery/store/retention.ts';
import { WatchHub } from '../../../kernel/machinery/store/watch-hub.ts';

const sweepSteps = 1_000;
const readValue: ReadValue = (version) => version.value!;

export function createMemoryStore(options: {
  readonly history: RetentionLimits;
  readonly clock: Clock;
}): Store & AsyncDisposable {
  const keyspace = new Keyspace();
  const hub = new WatchHub(keyspace, readValue);
  const stop = new AbortController();
  let sizeBytes = 0;
  let sweeping: Promise<void> | undefined;

  const checkOpen = () => {
    if (stop.signal.aborted) throw closedStore();
  };

  /** Sweeps behind the border, a step a turn of the event loop. */
  const sweep = async (): Promise<void> => {
    while (!stop.signal.aborted) {
      const { dropped, done } = keyspace.sweep(sweepSteps);
      for (const version of dropped) sizeBytes -= sizeOf(version);
      if (done) return;
      await new Promise((resolve) => setImmediate(resolve));
    }
  };

  const compact = async (revision: number): Promise<void> => {
    checkOpen();
    checkRevision(revision, 0);
    if (revision > keyspace.revision) throw futureRevision(revision, keyspace.revision);
    if (keyspace.compactTo(revision)) hub.notify();
    while (keyspace.needsSweep && !stop.signal.aborted) {
      sweeping ??= sweep().finally(() => (sweeping = undefined));
      await sweeping;
    }
  };

  const retention = runRetention({
    limits: options.history,
    clock: options.clock,
    signal: stop.signal,
    revision: () => keyspace.revision,
    compact: async (revision) => {
      if (revision > keyspace.compacted) await compact(revision);
    },
  });

  return {
    get: async (key) => {
      checkOpen();
      const version = keyspace.current(key);
      return version === undefined ? undefined : entryOf(version, readValue);
    },

    list: async (query) => {
      checkOpen();
      const revision = readableRevision(keyspace, query.revision);
      const { versions, more } = keyspace.list({ ...query, revision });
      return { entries: versions.map((version) => entryOf(version, readValue)), revision, more };
    },

    commit: async (changes: readonly StoreChange[]): Promise<CommitResult> => {
      checkOpen();
      checkChanges(changes);
      const verdict = judge(changes, (key) => keyspace.current(key));
      if ('conflict' in verdict) return conflictOf(verdict.conflict.key, verdict.found, readValue);
      if (verdict.effective.length === 0) return { ok: true, revision: keyspace.revision };
      const revision = keyspace.revision + 1;
      const versions = verdict.effective.map(({ key, value }, index): Version => {
        const isDeletion = value === undefined;
        return {
          key,
          revision,
          index,
          created: isDeletion ? 0 : (keyspace.current(key)?.created ?? revision),
          isDeletion,
          value: isDeletion ? undefined : Uint8Array.from(value),
          previous: undefined,
        };
      });
      keyspace.apply(revision, versions);
      for (const version of versions) sizeBytes += sizeOf(version);
      hub.notify();
      return { ok: true, revision };
    },

    watch: (query, signal) => hub.watch(query, signal),

    compact,

    status: (): StoreStatus => ({
      revision: keyspace.revision,
      compacted: keyspace.compacted,
      keys: keyspace.liveKeys,
      sizeBytes,
      writable: !stop.signal.aborted,
      ...(stop.signal.aborted ? { reason: 'the store has been disposed' } : {}),
    }),

    [Symbol.asyncDispose]: async () => {
      stop.abort();
      hub.close(closedStore());
      await retention;
      await sweeping;
    },
  };
}

function closedStore(): PintleError {
  return new PintleError(
    'STORE_CLOSED',
    'The memory store has been disposed; nothing can be read or written any more.',
  );
}

/** Bytes of key and value; the objects around them are not counted. */
function sizeOf(version: Version): number {
  return version.key.length + (version.value?.byteLength ?? 0);
}
