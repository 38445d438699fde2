/**
 * What a controller waits to see in its caches before it acts on a key again, so that it never creates or deletes twice
 * because a cache has not seen its own last write. Forgotten after five minutes, should a write never show.
 */
import type { Clock, KubernetesObject } from '../contract/index.ts';
import type { Informer } from './informer.ts';
import { keyOf } from './metadata.ts';

const maxAgeMs = 300_000;

interface Expectation {
  readonly at: number;
  readonly isMet: () => boolean;
}

export class Expectations {
  readonly #clock: Clock;
  readonly #waiting = new Map<string, Expectation[]>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** The informer must have seen this write. */
  written<T extends KubernetesObject>(key: string, informer: Informer<T>, written: T): void {
    const revision = Number(written.metadata.resourceVersion);
    this.#add(key, () => informer.revision >= revision);
  }

  /** The informer must have seen that this object is going or gone. */
  deleted<T extends KubernetesObject>(key: string, informer: Informer<T>, object: T): void {
    const id = keyOf(object);
    const { uid } = object.metadata;
    this.#add(key, () => {
      const cached = informer.get(id);
      return cached?.metadata.uid !== uid || cached.metadata.deletionTimestamp !== undefined;
    });
  }

  areMet(key: string): boolean {
    const waiting = this.#waiting.get(key);
    if (waiting === undefined) return true;
    const oldest = this.#clock.now() - maxAgeMs;
    const rest = waiting.filter((expectation) => expectation.at > oldest && !expectation.isMet());
    if (rest.length === 0) this.#waiting.delete(key);
    else this.#waiting.set(key, rest);
    return rest.length === 0;
  }

  forget(key: string): void {
    this.#waiting.delete(key);
  }

  #add(key: string, isMet: () => boolean): void {
    if (isMet()) return;
    const expectation = { at: this.#clock.now(), isMet };
    const waiting = this.#waiting.get(key);
    if (waiting === undefined) this.#waiting.set(key, [expectation]);
    else waiting.push(expectation);
  }
}
