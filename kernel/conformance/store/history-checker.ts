/**
 * Judges what clients of a store saw. Pure: give it the log of all changes (a watch of everything, from `base` on) and what
 * each client did and got; it returns the promises that were broken, none when all were kept.
 *
 * A store's revisions order all transactions, so linearizability needs no search: each answer is held against the replayed
 * log at the revisions that it may have seen, which its call and return times bound.
 */
import {
  firstIndex,
  isSame,
  show,
  showEvent,
  type History,
  type SeenCommit,
  type SeenEntry,
  type SeenEvent,
  type SeenGet,
  type SeenList,
} from './history.ts';
import { checkWatch } from './watch-checker.ts';

type State = ReadonlyMap<string, SeenEntry>;

/** One line a broken promise; empty when the history is right. */
export function checkHistory(history: History): string[] {
  const violations: string[] = [];
  const replay = new Replay(history, violations);
  const commits = history.seen.filter((one): one is SeenCommit => one.kind === 'commit');
  attribute(history, replay, commits, violations);
  const bounds = new RealTime(history, commits, replay);
  for (const one of history.seen) {
    if (one.kind === 'commit') checkCommit(one, replay, bounds, violations);
    else if (one.kind === 'get') checkGet(one, replay, bounds, violations);
    else if (one.kind === 'list') checkList(one, replay, bounds, violations);
    else checkWatch(one, history, violations);
  }
  return violations;
}

/** The versions of each key over the log; checks on the way that every event says what went before. */
class Replay {
  readonly lastRevision: number;
  readonly byRevision = new Map<number, SeenEvent[]>();
  /** Newest last; `entry` undefined for a deletion. */
  readonly #versions = new Map<string, { readonly revision: number; readonly entry: SeenEntry | undefined }[]>();

  constructor({ base, log, unseen = {} }: History, violations: string[]) {
    for (const entry of base.entries) this.#versions.set(entry.key, [{ revision: base.revision, entry }]);
    let revision = base.revision;
    for (const event of log) {
      const { key, entry, previous } = event;
      const where = `log: revision ${event.revision} of "${key}"`;
      if (event.revision < revision || event.revision <= base.revision)
        violations.push(`${where}: ordered: comes after revision ${revision}`);
      if (event.revision > revision + 1 && unseen.revisions !== true)
        violations.push(`${where}: reliable: follows revision ${revision}, those between are missing`);
      revision = Math.max(revision, event.revision);
      const versions = this.#versions.get(key) ?? [];
      const before = versions.at(-1);
      if (before?.revision === event.revision && event.revision > base.revision)
        violations.push(`${where}: unique: appears twice`);
      if (unseen.versions !== true && !isSame(previous, before?.entry))
        violations.push(`${where}: prevKV: previous is ${show(previous)}, was ${show(before?.entry)}`);
      if (entry === undefined && before?.entry === undefined) violations.push(`${where}: deletes what did not exist`);
      const created = unseen.versions === true ? entry?.created : (before?.entry?.created ?? event.revision);
      if (entry !== undefined && (entry.key !== key || entry.modified !== event.revision || entry.created !== created))
        violations.push(`${where}: isCreate: entry is ${show(entry)}, expected created ${created}`);
      versions.push({ revision: event.revision, entry });
      this.#versions.set(key, versions);
      const changes = this.byRevision.get(event.revision);
      if (changes === undefined) this.byRevision.set(event.revision, [event]);
      else changes.push(event);
    }
    this.lastRevision = revision;
  }

  at(key: string, revision: number): SeenEntry | undefined {
    const versions = this.#versions.get(key) ?? [];
    let low = 0;
    let high = versions.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (versions[middle]!.revision <= revision) low = middle + 1;
      else high = middle;
    }
    return versions[low - 1]?.entry;
  }

  state(prefix: string, revision: number): State {
    const state = new Map<string, SeenEntry>();
    for (const key of this.#versions.keys()) {
      const entry = key.startsWith(prefix) ? this.at(key, revision) : undefined;
      if (entry !== undefined) state.set(key, entry);
    }
    return state;
  }

  /** Whether `holds` is true of the key's entry at some revision of the range. */
  ever(key: string, from: number, to: number, holds: (entry: SeenEntry | undefined) => boolean): boolean {
    if (from > to) return false;
    if (holds(this.at(key, from))) return true;
    return (this.#versions.get(key) ?? []).some(
      ({ revision, entry }) => revision > from && revision <= to && holds(entry),
    );
  }
}

/** Every revision stems from exactly one transaction, and is exactly what that wrote. */
function attribute(history: History, replay: Replay, commits: readonly SeenCommit[], violations: string[]): void {
  const claimed = new Set<number>();
  const done = commits.filter((commit) => commit.outcome === 'done');
  const silent = commits.filter((commit) => commit.outcome === 'unknown');
  for (const commit of commits) {
    const { outcome, changes } = commit;
    if (typeof outcome !== 'object' || !('revision' in outcome)) continue;
    const { revision } = outcome;
    const changed = replay.byRevision.get(revision);
    const mayBeEmpty = changesNothing(changes, replay, revision);
    if (changed !== undefined && isWriteOf(changed, changes)) {
      if (claimed.has(revision) && !mayBeEmpty)
        violations.push(`unique: revision ${revision} was acknowledged to two transactions`);
      claimed.add(revision);
    } else if (!mayBeEmpty) {
      const found = changed === undefined ? 'is not in the log' : `holds ${changed.map(showEvent).join(', ')}`;
      violations.push(`durable: revision ${revision} was acknowledged for ${writeOf(changes)} and ${found}`);
    }
  }
  for (const [revision, changed] of replay.byRevision) {
    if (revision <= (history.ownAfter ?? history.base.revision) || claimed.has(revision)) continue;
    if (takeAuthor(done, changed) || takeAuthor(silent, changed)) continue;
    violations.push(`revision ${revision} holds ${changed.map(showEvent).join(', ')}, which nobody committed`);
  }
  for (const { changes } of done)
    violations.push(`durable: ${writeOf(changes)} was acknowledged and is not in the log`);
}

function takeAuthor(commits: SeenCommit[], changed: readonly SeenEvent[]): boolean {
  const author = commits.findIndex(({ changes }) => isWriteOf(changed, changes));
  if (author !== -1) commits.splice(author, 1);
  return author !== -1;
}

/** One that deletes only what is absent changes nothing, and answers with the revision of another. */
function changesNothing(changes: SeenCommit['changes'], replay: Replay, revision: number): boolean {
  return changes.every(({ key, value }) => value === undefined && replay.at(key, revision) === undefined);
}

/** When a revision was certainly reached, and when it certainly was not yet. */
class RealTime {
  /** Return times with the revision known by then, both rising. */
  readonly #reached: { readonly time: number; readonly revision: number }[] = [];
  /** Call times with the revision that did not exist before, both rising. */
  readonly #started: { readonly time: number; readonly revision: number }[] = [];
  readonly #base: number;
  readonly #last: number;

  constructor({ base, seen }: History, commits: readonly SeenCommit[], replay: Replay) {
    this.#base = base.revision;
    this.#last = replay.lastRevision;
    const known: { time: number; revision: number }[] = [];
    for (const one of seen) {
      if (one.kind === 'commit' && typeof one.outcome === 'object' && 'revision' in one.outcome)
        known.push({ time: one.return, revision: one.outcome.revision });
      if (one.kind === 'list' && one.asked === undefined) known.push({ time: one.return, revision: one.revision });
      if (one.kind === 'get' && one.entry !== undefined) known.push({ time: one.return, revision: one.entry.modified });
    }
    known.sort((a, b) => a.time - b.time);
    let most = base.revision;
    for (const { time, revision } of known) this.#reached.push({ time, revision: (most = Math.max(most, revision)) });

    const begun: { time: number; revision: number }[] = [];
    for (const { call, outcome, changes } of commits) {
      if (typeof outcome !== 'object' || !('revision' in outcome)) continue;
      if (changes.some((change) => change.value !== undefined)) begun.push({ time: call, revision: outcome.revision });
    }
    begun.sort((a, b) => b.time - a.time);
    let least = Infinity;
    for (const { time, revision } of begun)
      this.#started.unshift({ time, revision: (least = Math.min(least, revision)) });
  }

  /** Every call after `time` sees at least this revision. */
  least(time: number): number {
    const at = firstIndex(this.#reached, (one) => one.time >= time);
    return this.#reached[at - 1]?.revision ?? this.#base;
  }

  /** No call that returned before `time` sees more than this revision. */
  most(time: number): number {
    const at = firstIndex(this.#started, (one) => one.time > time);
    return Math.min(this.#last, (this.#started[at]?.revision ?? Infinity) - 1);
  }
}

function checkCommit(commit: SeenCommit, replay: Replay, bounds: RealTime, violations: string[]): void {
  const { outcome, changes } = commit;
  if (typeof outcome !== 'object') return;
  const least = bounds.least(commit.call);
  if ('revision' in outcome) {
    const changed = replay.byRevision.get(outcome.revision);
    const mayBeEmpty = changesNothing(changes, replay, outcome.revision);
    if (outcome.revision < least || (outcome.revision === least && !mayBeEmpty))
      violations.push(
        `linearizable: a commit called after revision ${least} was seen got revision ${outcome.revision}`,
      );
    if (mayBeEmpty || changed === undefined || !isWriteOf(changed, changes)) return;
    for (const { key, expected } of changes) {
      const found = replay.at(key, outcome.revision - 1)?.modified ?? 0;
      if (expected !== undefined && expected !== found)
        violations.push(
          `compare-and-swap: revision ${outcome.revision} expected "${key}" at ${expected}, it was at ${found}`,
        );
    }
    return;
  }
  const expected = changes.find((change) => change.key === outcome.conflict)?.expected;
  if (expected === undefined || expected === (outcome.current?.modified ?? 0))
    violations.push(
      `compare-and-swap: a conflict on "${outcome.conflict}" found what it expected: ${show(outcome.current)}`,
    );
  if (!replay.ever(outcome.conflict, least, bounds.most(commit.return), (entry) => isSame(entry, outcome.current)))
    violations.push(
      `linearizable: a conflict on "${outcome.conflict}" saw ${show(outcome.current)}, which was not the state during the call`,
    );
}

function checkGet(get: SeenGet, replay: Replay, bounds: RealTime, violations: string[]): void {
  const least = bounds.least(get.call);
  if (!replay.ever(get.key, least, bounds.most(get.return), (entry) => isSame(entry, get.entry)))
    violations.push(
      `linearizable: a read of "${get.key}" saw ${show(get.entry)}, which was not the state during the call (from revision ${least})`,
    );
}

function checkList(list: SeenList, replay: Replay, bounds: RealTime, violations: string[]): void {
  const least = bounds.least(list.call);
  const what = `a list of "${list.prefix}" at revision ${list.revision}`;
  if (list.asked === undefined && list.revision < least)
    violations.push(`linearizable: ${what} is stale: ${least} had been seen`);
  if (list.asked !== undefined && list.revision !== list.asked)
    violations.push(`${what} was asked for revision ${list.asked}`);
  const state = replay.state(list.prefix, list.revision);
  const right =
    list.entries.length === state.size && list.entries.every((entry) => isSame(entry, state.get(entry.key)));
  if (!right)
    violations.push(
      `snapshot: ${what} has ${list.entries.length} entries that are not the ${state.size} of that revision`,
    );
}

/** What a transaction writes when all of it takes effect, in a form that can be compared. */
function writeOf(changes: SeenCommit['changes']): string {
  return changes
    .map(({ key, value }) => `${key}=${value === undefined ? '(deleted)' : JSON.stringify(value)}`)
    .join(', ');
}

/** Deletions of absent keys leave no event. */
function isWriteOf(changed: readonly SeenEvent[], changes: SeenCommit['changes']): boolean {
  const left = new Map(changed.map((event) => [event.key, event]));
  for (const { key, value } of changes) {
    const event = left.get(key);
    if (event === undefined ? value !== undefined : event.entry?.value !== value) return false;
    left.delete(key);
  }
  return left.size === 0 && changed.length > 0;
}
