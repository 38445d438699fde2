/** A set of strings in UTF-8 byte order. Chunked, so that adding to a hundred thousand keys moves a few hundred. */
import { compareKeys } from './key-order.ts';

const chunkSize = 512;

export class SortedKeys {
  /** No chunk is empty, except the only one. */
  readonly #chunks: string[][] = [[]];
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** False when the key was there. */
  add(key: string): boolean {
    const at = this.#chunkOf(key);
    const chunk = this.#chunks[at]!;
    const position = lowerBound(chunk, key);
    if (chunk[position] === key) return false;
    chunk.splice(position, 0, key);
    this.#size++;
    if (chunk.length > chunkSize) this.#chunks.splice(at + 1, 0, chunk.splice(chunkSize >> 1));
    return true;
  }

  /** False when the key was not there. */
  delete(key: string): boolean {
    const at = this.#chunkOf(key);
    const chunk = this.#chunks[at]!;
    const position = lowerBound(chunk, key);
    if (chunk[position] !== key) return false;
    chunk.splice(position, 1);
    this.#size--;
    if (chunk.length === 0 && this.#chunks.length > 1) this.#chunks.splice(at, 1);
    return true;
  }

  /** The keys that start with `prefix` and, with `after`, come after it. The set must not change while this is read. */
  *range(prefix: string, after?: string): Generator<string, void, undefined> {
    const from = after !== undefined && compareKeys(after, prefix) >= 0 ? after : prefix;
    let at = this.#chunkOf(from);
    let position = lowerBound(this.#chunks[at]!, from);
    for (; at < this.#chunks.length; at++, position = 0) {
      const chunk = this.#chunks[at]!;
      for (; position < chunk.length; position++) {
        const key = chunk[position]!;
        if (!key.startsWith(prefix)) return;
        if (key !== after) yield key;
      }
    }
  }

  /** The last chunk that starts at or before the key, else the first. */
  #chunkOf(key: string): number {
    let low = 0;
    let high = this.#chunks.length;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (compareKeys(this.#chunks[middle]![0]!, key) <= 0) low = middle;
      else high = middle;
    }
    return low;
  }
}

/** The first position whose key is at or after `key`. */
function lowerBound(chunk: readonly string[], key: string): number {
  let low = 0;
  let high = chunk.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (compareKeys(chunk[middle]!, key) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}
