/** Commits that share one disk transaction, and the judgement over them. */
import type { CommitResult, StoreChange } from '../../../kernel/contract/store.ts';
import {
  conflictOf,
  judge,
  type Keyspace,
  type ReadValue,
  type Version,
} from '../../../kernel/machinery/store/keyspace.ts';
import type { LogAppend } from './lmdb-file.ts';
import { setCreated, valueOf } from './record.ts';

export interface PendingCommit {
  readonly changes: readonly StoreChange[];
  /** One a change, encoded when the commit was called. */
  readonly records: readonly Buffer[];
  readonly bytes: number;
  readonly resolve: (result: CommitResult) => void;
  readonly reject: (error: unknown) => void;
}

/** What to write, and what to answer when it is durable. */
export interface JudgedBatch {
  readonly revisions: readonly { readonly revision: number; readonly versions: readonly Version[] }[];
  readonly appends: readonly LogAppend[];
  readonly answers: readonly (() => void)[];
  /** The revision of the store when all of it is written. */
  readonly revision: number;
}

/** Judges in order; each transaction sees those before it in the batch, which are answered only together with it. */
export function judgeBatch(commits: readonly PendingCommit[], keyspace: Keyspace, readValue: ReadValue): JudgedBatch {
  const revisions: { revision: number; versions: Version[] }[] = [];
  const appends: LogAppend[] = [];
  const answers: (() => void)[] = [];
  const pending = new Map<string, Version>();
  const current = (key: string): Version | undefined => {
    const version = pending.get(key);
    if (version === undefined) return keyspace.current(key);
    return version.isDeletion ? undefined : version;
  };
  let revision = keyspace.revision;
  for (const { changes, records, resolve } of commits) {
    const verdict = judge(changes, current);
    if ('conflict' in verdict) {
      const result = conflictOf(verdict.conflict.key, verdict.found, readValue);
      answers.push(() => resolve(result));
      continue;
    }
    if (verdict.effective.length > 0) {
      revision++;
      const versions = verdict.effective.map((change, index): Version => {
        const record = records[changes.indexOf(change)]!;
        const isDeletion = change.value === undefined;
        const created = isDeletion ? 0 : (current(change.key)?.created ?? revision);
        setCreated(record, created);
        const value = isDeletion ? undefined : valueOf(record);
        const version: Version = { key: change.key, revision, index, created, isDeletion, value, previous: undefined };
        appends.push({ version, record });
        return version;
      });
      for (const version of versions) pending.set(version.key, version);
      revisions.push({ revision, versions });
    }
    const reached = revision;
    answers.push(() => resolve({ ok: true, revision: reached }));
  }
  return { revisions, appends, answers, revision };
}
