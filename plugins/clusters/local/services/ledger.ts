/**
 * What the Services of the state hold (addresses, ports), plus what running calls have taken but not yet written. It
 * follows the state, so that it needs no bookkeeping of its own, and a restart or another server's writes are seen.
 */
import type { KubernetesObject } from '../../../../kernel/contract/index.ts';
import type { Change, Collection, Follower } from '../state/collection.ts';

export class Ledger<K> implements Follower {
  readonly #collection: Collection;
  readonly #held = new Map<K, number>();
  readonly #taken = new Set<K>();
  readonly #holdings: (object: KubernetesObject) => Iterable<K>;

  constructor(collection: Collection, holdings: (object: KubernetesObject) => Iterable<K>) {
    this.#collection = collection;
    this.#holdings = holdings;
    collection.follow(this);
    this.reset();
  }

  reset(): void {
    this.#held.clear();
    this.#collection.tree.scan('', (_key, object) => {
      this.#count(object, 1);
      return true;
    });
  }

  changed({ type, object, previous }: Change): void {
    if (previous) this.#count(previous, -1);
    if (type !== 'DELETED') this.#count(object, 1);
  }

  #count(object: KubernetesObject, by: number): void {
    for (const item of this.#holdings(object)) {
      const count = (this.#held.get(item) ?? 0) + by;
      if (count > 0) this.#held.set(item, count);
      else this.#held.delete(item);
    }
  }

  isFree(item: K): boolean {
    return !this.#held.has(item) && !this.#taken.has(item);
  }

  take(item: K): boolean {
    if (!this.isFree(item)) return false;
    this.#taken.add(item);
    return true;
  }

  /** Ends a `take`: the state holds the item by now, or it is not wanted any more. */
  settle(item: K): void {
    this.#taken.delete(item);
  }
}
