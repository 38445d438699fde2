/**
 * The MVCC index of a store, in memory: for each key its versions, newest first, and the log of all versions above the
 * compacted revision. Pure: it neither waits nor writes. A store applies what is durable, and reads any kept revision.
 *
 * Compaction has two halves. `compactTo` moves the border at once (reads and watches below it are refused from then on);
 * `sweep` then forgets the versions behind it in bounded steps and says which they were, so that a store with a disk can
 * remove them there.
 */
import type { CommitResult, StoreChange, StoredEntry } from '../../contract/store.ts';
import { PintleError } from '../../contract/errors.ts';
import { SortedKeys } from './sorted-keys.ts';

/** One change of one key. The value is absent for a deletion, and where the store keeps it elsewhere. */
export interface Version {
  readonly key: string;
  readonly revision: number;
  /** Position among the changes of its revision. */
  readonly index: number;
  /** Revision at which the key came to be; 0 for a deletion. */
  readonly created: number;
  readonly isDeletion: boolean;
  value: Uint8Array | undefined;
  /** The version before; undefined for the first one kept. */
  previous: Version | undefined;
}

/** Reads the value of a version, which is no deletion. */
export type ReadValue = (version: Version) => Uint8Array;

export class Keyspace {
  #revision = 1;
  #compacted = 0;
  #liveKeys = 0;
  /** The newest version of each key, deletions included until they are swept. */
  readonly #heads = new Map<string, Version>();
  readonly #keys = new SortedKeys();
  /** Versions in order, from #logStart on; those before it are swept. */
  #log: Version[] = [];
  #logStart = 0;

  get revision(): number {
    return this.#revision;
  }
  get compacted(): number {
    return this.#compacted;
  }
  get liveKeys(): number {
    return this.#liveKeys;
  }
  get needsSweep(): boolean {
    const oldest = this.#log[this.#logStart];
    return oldest !== undefined && oldest.revision <= this.#compacted;
  }
  /** Versions that a watch could still ask for, and those that wait for the sweep. */
  get logLength(): number {
    return this.#log.length - this.#logStart;
  }

  /** The newest version of a key, unless that is a deletion. */
  current(key: string): Version | undefined {
    const head = this.#heads.get(key);
    return head === undefined || head.isDeletion ? undefined : head;
  }

  /** Appends the versions of one revision, which must be above all others. Sets their `previous`. */
  apply(revision: number, versions: readonly Version[]): void {
    if (revision <= this.#revision) throw new Error(`revision ${revision} is not above ${this.#revision}`);
    this.#revision = revision;
    for (const version of versions) this.#append(version);
  }

  /** Takes a store's kept state at start. Returns the versions of `versions` (in order) that compaction had left to sweep. */
  restore(revision: number, compacted: number, versions: Iterable<Version>): Version[] {
    const dropped: Version[] = [];
    for (const version of versions) {
      this.#append(version);
      if (version.revision > compacted) continue;
      this.#sweepVersion(this.#log.pop()!, dropped);
    }
    this.#revision = revision;
    this.#compacted = compacted;
    return dropped;
  }

  /** The versions that are visible at `revision`, in key order, at most `limit` of them. */
  list(query: { prefix: string; after?: string | undefined; limit?: number | undefined; revision: number }): {
    versions: Version[];
    more: boolean;
  } {
    const versions: Version[] = [];
    const limit = query.limit ?? Infinity;
    for (const key of this.#keys.range(query.prefix, query.after)) {
      let version = this.#heads.get(key);
      while (version !== undefined && version.revision > query.revision) version = version.previous;
      if (version === undefined || version.isDeletion) continue;
      if (versions.length === limit) return { versions, more: true };
      versions.push(version);
    }
    return { versions, more: false };
  }

  /** The log above a revision, by position: `at(position)` is undefined at the end. Valid until the next sweep. */
  positionAfter(revision: number): number {
    let low = this.#logStart;
    let high = this.#log.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#log[middle]!.revision <= revision) low = middle + 1;
      else high = middle;
    }
    return low;
  }
  at(position: number): Version | undefined {
    return this.#log[position];
  }

  /** Moves the border. False when it already was there or above. */
  compactTo(revision: number): boolean {
    if (revision <= this.#compacted) return false;
    this.#compacted = revision;
    return true;
  }

  /** Forgets versions behind the border, looking at no more than `steps` of the log. Empty and `done` when none is left. */
  sweep(steps: number): { dropped: Version[]; done: boolean } {
    const dropped: Version[] = [];
    for (let step = 0; step < steps; step++) {
      const version = this.#log[this.#logStart];
      if (version === undefined || version.revision > this.#compacted) return { dropped, done: true };
      this.#log[this.#logStart++] = undefined as never;
      this.#sweepVersion(version, dropped);
      if (this.#logStart > 1_024 && this.#logStart * 2 > this.#log.length) {
        this.#log = this.#log.slice(this.#logStart);
        this.#logStart = 0;
      }
    }
    return { dropped, done: false };
  }

  #append(version: Version): void {
    const before = this.#heads.get(version.key);
    version.previous = before;
    if (before === undefined) this.#keys.add(version.key);
    if (before === undefined || before.isDeletion) this.#liveKeys++;
    if (version.isDeletion) this.#liveKeys--;
    this.#heads.set(version.key, version);
    this.#log.push(version);
  }

  /**
   * A version at or below the border hides all before it. A deletion there has nothing left to hide and goes too; one with
   * a successor goes when that is swept.
   */
  #sweepVersion(version: Version, dropped: Version[]): void {
    for (let older = version.previous; older !== undefined; older = older.previous) dropped.push(older);
    version.previous = undefined;
    if (!version.isDeletion || this.#heads.get(version.key) !== version) return;
    this.#heads.delete(version.key);
    this.#keys.delete(version.key);
    dropped.push(version);
  }
}

/**
 * Judges a transaction. `current` is the view that it has (it may hold transactions that are not durable yet). Returns the
 * conflict, or the changes that remain: deleting an absent key is none.
 */
export function judge<Entry extends { readonly revision: number }>(
  changes: readonly StoreChange[],
  current: (key: string) => Entry | undefined,
): { readonly conflict: StoreChange; readonly found: Entry | undefined } | { readonly effective: StoreChange[] } {
  const effective: StoreChange[] = [];
  for (const change of changes) {
    const found = current(change.key);
    if (change.expected !== undefined && change.expected !== (found?.revision ?? 0)) return { conflict: change, found };
    if (change.value !== undefined || found !== undefined) effective.push(change);
  }
  return { effective };
}

export function entryOf(version: Version, readValue: ReadValue): StoredEntry {
  return { key: version.key, value: readValue(version), created: version.created, modified: version.revision };
}

export function conflictOf(key: string, found: Version | undefined, readValue: ReadValue): CommitResult {
  return { ok: false, key, current: found === undefined ? undefined : entryOf(found, readValue) };
}

/** The revision that a read means. Rejects one that is compacted, that has not happened, or that is none. */
export function readableRevision(keyspace: Keyspace, asked: number | undefined): number {
  if (asked === undefined) return keyspace.revision;
  checkRevision(asked, 1);
  if (asked > keyspace.revision) throw futureRevision(asked, keyspace.revision);
  if (asked < keyspace.compacted) throw compactedRevision(asked, keyspace.compacted);
  return asked;
}

export function checkRevision(revision: number, least: number): void {
  if (!Number.isSafeInteger(revision) || revision < least)
    throw new PintleError('STORE_INVALID', `A store revision is ${revision}; expected an integer from ${least} on.`);
}

export function futureRevision(asked: number, revision: number): PintleError {
  return new PintleError(
    'FUTURE_REVISION',
    `Revision ${asked} has not happened yet: the store is at ${revision}. Ask for a revision that it has answered with.`,
    { details: { revision } },
  );
}

export function compactedRevision(asked: number, compacted: number): PintleError {
  return new PintleError(
    'COMPACTED',
    `Revision ${asked} is compacted: history is kept from ${compacted} on. List again and watch from there.`,
    { details: { compacted } },
  );
}
