/** An informer's copy, with this process's own writes that the informer has not seen yet. */
import type { KubernetesObject } from '../contract/index.ts';
import type { Informer } from './informer.ts';
import { keyOf } from './metadata.ts';

const revisionOf = ({ metadata }: KubernetesObject): number => Number(metadata.resourceVersion);

export class Newest<T extends KubernetesObject> {
  readonly #informer: Informer<T>;
  readonly #own = new Map<string, T>();

  constructor(informer: Informer<T>) {
    this.#informer = informer;
  }

  /** The answer of a write. Returns it. */
  keep(written: T): T {
    this.#own.set(keyOf(written), written);
    return written;
  }

  get(key: string): T | undefined {
    const seen = this.#informer.get(key);
    const own = this.#own.get(key);
    if (own === undefined) return seen;
    // What the informer has passed is either in it, or gone.
    if (this.#informer.revision < revisionOf(own)) return own;
    this.#own.delete(key);
    return seen;
  }

  list(): readonly T[] {
    if (this.#own.size === 0) return this.#informer.list();
    const all = new Map(this.#informer.list().map((object) => [keyOf(object), object] as const));
    for (const key of this.#own.keys()) {
      const newest = this.get(key);
      if (newest !== undefined) all.set(key, newest);
    }
    return [...all.values()];
  }
}
