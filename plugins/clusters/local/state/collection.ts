/**
 * The objects of one stored resource: the tree of now, and a bounded log of the changes that led to it. Every revision inside
 * the log can still be listed: now and then a change keeps the tree as it was after it, and the changes since then lead to
 * those between. (A tree shares nearly everything with the one before; what it does not is more than many an object.)
 */
import type { KubernetesObject, WatchEvent } from '../../../../kernel/contract/index.ts';
import { OrderedTree } from './ordered-tree.ts';

export type ObjectTree = OrderedTree<KubernetesObject>;

export interface Change {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED';
  readonly revision: number;
  readonly timeMs: number;
  /** "namespace/name" or "name". */
  readonly key: string;
  /** As it is after the change; of a deletion the last state, with the deletion's resourceVersion. */
  readonly object: KubernetesObject;
  readonly previous: KubernetesObject | undefined;
  /** The state right after it; undefined for most. */
  readonly tree: ObjectTree | undefined;
  /** Size of the object in the store; 0 for a deletion, which keeps nothing new. */
  readonly bytes: number;
  /** What whoever follows everything is told, and others by name: made when first needed, shared by all watchers. */
  event: WatchEvent<KubernetesObject> | undefined;
  events: Map<string, WatchEvent<KubernetesObject>> | undefined;
}

/** Changes from one kept tree to the next: so many are done again, at most, to find the state between. */
const treeEvery = 64;

export interface HistoryLimits {
  readonly maxChanges: number;
  /** Of all objects in the history of one resource, or half of what its objects are now when that is more. */
  readonly maxBytes: number;
  readonly maxAgeMs: number;
}

export interface Follower {
  /** Called in the order of revisions; must not throw and must not wait. */
  changed(change: Change, sequence: number): void;
  /** Everything has been replaced: what was known of single changes is lost. */
  reset(): void;
}

/** The same object with another resourceVersion, frozen. */
export function atRevision(object: KubernetesObject, revision: number): KubernetesObject {
  const metadata = Object.freeze({ ...object.metadata, resourceVersion: String(revision) });
  return Object.freeze({ ...object, metadata });
}

/** What concerns a follower: changes of one key, or of objects with this value (before or after) in the indexed field. */
export type Trigger = { readonly key: string } | { readonly field: string };

function triggerName(trigger: Trigger): string {
  return 'key' in trigger ? `k${trigger.key}` : `f${trigger.field}`;
}

export class Collection {
  #tree: ObjectTree = OrderedTree.empty;
  #log: Change[] = [];
  #logBytes = 0;
  /** The sequence number of #log[0]. */
  #first = 0;
  /** State before #log[0], and the revision up to which changes are forgotten. */
  #baseTree: ObjectTree = OrderedTree.empty;
  #baseRevision = 0;
  readonly #limits: HistoryLimits;
  readonly #followers = new Set<Follower>();
  readonly #triggered = new Map<string, Set<Follower>>();
  #indexed: ((object: KubernetesObject) => string) | undefined;
  readonly #keysByField = new Map<string, Set<string>>();

  constructor(limits: HistoryLimits) {
    this.#limits = limits;
  }

  get tree(): ObjectTree {
    return this.#tree;
  }

  /** The sequence number that the next change will get. */
  get end(): number {
    return this.#first + this.#log.length;
  }

  get(key: string): KubernetesObject | undefined {
    return this.#tree.get(key);
  }

  /** How many hear of every change. */
  get followerCount(): number {
    return this.#followers.size;
  }

  /** Keys of now with this value in the indexed field, in order; undefined when no field is indexed. */
  keysWith(value: string): readonly string[] | undefined {
    return this.#indexed && [...(this.#keysByField.get(value) ?? [])].sort();
  }

  /** The field that triggers can name, and by which keys are found. Set before the first follower. */
  indexBy(field: (object: KubernetesObject) => string): void {
    this.#indexed = field;
    this.#reindex();
  }

  #reindex(): void {
    this.#keysByField.clear();
    if (!this.#indexed) return;
    this.#tree.scan('', (key, object) => {
      this.#index(key, undefined, object);
      return true;
    });
  }

  #index(key: string, previous: KubernetesObject | undefined, object: KubernetesObject | undefined): void {
    if (!this.#indexed) return;
    const was = previous && this.#indexed(previous);
    const is = object && this.#indexed(object);
    if (was === is) return;
    if (was !== undefined) {
      const keys = this.#keysByField.get(was);
      keys?.delete(key);
      if (keys?.size === 0) this.#keysByField.delete(was);
    }
    if (is === undefined) return;
    const keys = this.#keysByField.get(is);
    if (keys) keys.add(key);
    else this.#keysByField.set(is, new Set([key]));
  }

  /** With a trigger the follower hears of nothing else: a thousand watchers of a thousand nodes cost one look-up. */
  follow(follower: Follower, trigger?: Trigger): () => void {
    const set = trigger ? this.#followersOf(triggerName(trigger)) : this.#followers;
    set.add(follower);
    return () => {
      set.delete(follower);
      if (trigger && set.size === 0) this.#triggered.delete(triggerName(trigger));
    };
  }

  #followersOf(name: string): Set<Follower> {
    let set = this.#triggered.get(name);
    if (!set) this.#triggered.set(name, (set = new Set()));
    return set;
  }

  #notify(change: Change, sequence: number): void {
    for (const follower of this.#followers) follower.changed(change, sequence);
    if (this.#triggered.size === 0) return;
    const names = new Set([triggerName({ key: change.key })]);
    if (this.#indexed) {
      names.add(triggerName({ field: this.#indexed(change.object) }));
      if (change.previous) names.add(triggerName({ field: this.#indexed(change.previous) }));
    }
    for (const name of names)
      for (const follower of this.#triggered.get(name) ?? []) follower.changed(change, sequence);
  }

  /** Replaces everything: start, or the store forgot what we had not yet seen. Older revisions are no longer known. */
  reset(entries: readonly (readonly [string, KubernetesObject])[], revision: number): void {
    this.#tree = OrderedTree.from(entries);
    this.#reindex();
    this.#baseTree = this.#tree;
    this.#baseRevision = revision;
    // Skips one sequence number, so that whoever stands at the old end finds that its place is gone.
    this.#first = this.end + 1;
    this.#log = [];
    this.#logBytes = 0;
    for (const set of [this.#followers, ...this.#triggered.values()]) for (const follower of set) follower.reset();
  }

  apply(
    key: string,
    object: KubernetesObject | undefined,
    revision: number,
    timeMs: number,
    bytes = 0,
  ): Change | undefined {
    const previous = this.#tree.get(key);
    if (!object && !previous) return undefined;
    this.#tree = object ? this.#tree.with(key, object) : this.#tree.without(key);
    this.#index(key, previous, object);
    const sequence = this.end;
    const change: Change = {
      type: !object ? 'DELETED' : previous ? 'MODIFIED' : 'ADDED',
      revision,
      timeMs,
      key,
      object: object ?? atRevision(previous!, revision),
      previous,
      tree: sequence % treeEvery === 0 ? this.#tree : undefined,
      bytes,
      event: undefined,
      events: undefined,
    };
    this.#log.push(change);
    this.#logBytes += bytes;
    this.#keepWithinLimits();
    this.#notify(change, sequence);
    return change;
  }

  /** Forgets a fifth at a time: the log is copied for it. */
  #keepWithinLimits(): void {
    const { maxChanges } = this.#limits;
    // Who falls out of the history reads all objects again: the more there are, the later that shall be.
    const maxBytes = Math.max(this.#limits.maxBytes, (this.#tree.size / 2) * (this.#logBytes / this.#log.length));
    let count = this.#log.length > maxChanges * 1.25 ? this.#log.length - maxChanges : 0;
    if (this.#logBytes > maxBytes * 1.25) {
      let bytes = 0;
      for (let at = 0; at < this.#log.length - 1 && (at < count || this.#logBytes - bytes > maxBytes); at++) {
        bytes += this.#log[at]!.bytes;
        count = Math.max(count, at + 1);
      }
    }
    if (count > 0) this.#forget(count);
  }

  /** Forgets changes that are older than the limit. */
  trim(nowMs: number): void {
    const oldest = nowMs - this.#limits.maxAgeMs;
    let count = 0;
    while (count < this.#log.length && this.#log[count]!.timeMs < oldest) count++;
    if (count > 0) this.#forget(count);
  }

  #forget(count: number): void {
    this.#baseTree = this.#treeAfter(count);
    this.#baseRevision = this.#log[count - 1]!.revision;
    this.#first += count;
    for (let at = 0; at < count; at++) this.#logBytes -= this.#log[at]!.bytes;
    this.#log = this.#log.slice(count);
  }

  /** The state right after this revision; undefined when it is no longer known. `revision` must not be in the future. */
  treeAt(revision: number): ObjectTree | undefined {
    if (revision < this.#baseRevision) return undefined;
    return this.#treeAfter(this.#indexAfter(revision));
  }

  /** The state after the first `count` changes of the log. */
  #treeAfter(count: number): ObjectTree {
    if (count === this.#log.length) return this.#tree;
    let from = count;
    while (from > 0 && this.#log[from - 1]!.tree === undefined) from--;
    let tree = from === 0 ? this.#baseTree : this.#log[from - 1]!.tree!;
    for (; from < count; from++) {
      const { type, key, object } = this.#log[from]!;
      tree = type === 'DELETED' ? tree.without(key) : tree.with(key, object);
    }
    return tree;
  }

  /** Sequence number of the first change after `revision`; undefined when changes after it have been forgotten. */
  sequenceAfter(revision: number): number | undefined {
    return revision < this.#baseRevision ? undefined : this.#first + this.#indexAfter(revision);
  }

  /** The change of this sequence number; 'forgotten' when the log has dropped it, undefined when it has not happened. */
  at(sequence: number): Change | 'forgotten' | undefined {
    return sequence < this.#first ? 'forgotten' : this.#log[sequence - this.#first];
  }

  /** The revision up to which changes are forgotten. */
  get forgotten(): number {
    return this.#baseRevision;
  }

  #indexAfter(revision: number): number {
    let low = 0;
    let high = this.#log.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#log[middle]!.revision <= revision) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
