/**
 * Who needs what: several ports may claim the same key, and the first that did decides its value until it lets go. Tells
 * which keys changed, so that the cost of a change depends on the change alone.
 */
export class Claims<Value> {
  readonly #claims = new Map<string, { readonly owner: object; readonly value: Value }[]>();
  /** Values before the first change since `takeChanges`. */
  readonly #before = new Map<string, Value | undefined>();

  get(key: string): Value | undefined {
    return this.#claims.get(key)?.[0]?.value;
  }

  /** Keys with their values. */
  *entries(): Generator<readonly [string, Value]> {
    for (const [key, [first]] of this.#claims) if (first !== undefined) yield [key, first.value];
  }

  keys(): IterableIterator<string> {
    return this.#claims.keys();
  }

  get size(): number {
    return this.#claims.size;
  }

  add(owner: object, key: string, value: Value): void {
    const claims = this.#claims.get(key);
    if (claims?.some((claim) => claim.owner === owner) === true) return;
    this.#touch(key);
    if (claims === undefined) this.#claims.set(key, [{ owner, value }]);
    else claims.push({ owner, value });
  }

  remove(owner: object, key: string): void {
    const claims = this.#claims.get(key);
    const index = claims?.findIndex((claim) => claim.owner === owner) ?? -1;
    if (claims === undefined || index < 0) return;
    this.#touch(key);
    claims.splice(index, 1);
    if (claims.length === 0) this.#claims.delete(key);
  }

  /** What changed since the last call: values before and after. Equal objects count as changed; the caller compares. */
  takeChanges(): { readonly key: string; readonly before: Value | undefined; readonly after: Value | undefined }[] {
    const changes = [...this.#before]
      .map(([key, before]) => ({ key, before, after: this.get(key) }))
      .filter(({ before, after }) => before !== after);
    this.#before.clear();
    return changes;
  }

  #touch(key: string): void {
    if (!this.#before.has(key)) this.#before.set(key, this.get(key));
  }
}
