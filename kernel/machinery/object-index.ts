import type { Change } from './reflector.ts';

/** Objects by the values that a function gives for each, kept current change by change. */
export class ObjectIndex<T> {
  readonly #valuesOf: (object: T) => readonly string[];
  readonly #found = new Map<string, Map<string, T>>();

  constructor(valuesOf: (object: T) => readonly string[]) {
    this.#valuesOf = valuesOf;
  }

  find(value: string): readonly T[] {
    const found = this.#found.get(value);
    return found === undefined ? [] : [...found.values()];
  }

  apply({ key, object, previous }: Change<T>): void {
    if (previous !== undefined) {
      for (const value of this.#valuesOf(previous)) {
        const entries = this.#found.get(value);
        entries?.delete(key);
        if (entries?.size === 0) this.#found.delete(value);
      }
    }
    if (object === undefined) return;
    for (const value of this.#valuesOf(object)) {
      const entries = this.#found.get(value);
      if (entries === undefined) this.#found.set(value, new Map([[key, object]]));
      else entries.set(key, object);
    }
  }
}
