/** Runs work one after the other for each key, and side by side for different keys. */
export class CallOrder {
  /** The last work of each key: the next one waits for it. */
  readonly #tails = new Map<string, Promise<unknown>>();

  run<T>(key: string, work: () => Promise<T>): Promise<T> {
    const tail = this.#tails.get(key) ?? Promise.resolve();
    const next = tail.then(work, work);
    this.#tails.set(key, next);
    const clear = (): void => {
      if (this.#tails.get(key) === next) this.#tails.delete(key);
    };
    next.then(clear, clear);
    return next;
  }
}
