/**
 * Who needs what: several ports may claim the same key, and the first that did decides its value until it lets go. Tells
 * which keys changed, so that the cost of a change depends on the change alone.
 */
interface Claim<Value> {
  owner: object;
  value: Value;
  /** Of those that count when this one is let go, in their order; many thousands may need the same. */
  others: Map<object, Value> | undefined;
}

export class Claims<Value> {
  readonly #claims = new Map<string, Claim<Value>>();
  /** Values before the first change since `takeChanges`; undefined until that is called: then all is new. */
  #before: Map<string, Value | undefined> | undefined;

  get(key: string): Value | undefined {
    return this.#claims.get(key)?.value;
  }

  /** Keys with their values. */
  *entries(): Generator<readonly [string, Value]> {
    for (const [key, { value }] of this.#claims) yield [key, value];
  }

  keys(): IterableIterator<string> {
    return this.#claims.keys();
  }

  get size(): number {
    return this.#claims.size;
  }

  add(owner: object, key: string, value: Value): void {
    const claim = this.#claims.get(key);
    if (claim === undefined) {
      if (this.#before?.has(key) === false) this.#before.set(key, undefined);
      this.#claims.set(key, { owner, value, others: undefined });
    } else if (claim.owner !== owner) {
      claim.others ??= new Map();
      if (!claim.others.has(owner)) claim.others.set(owner, value);
    }
  }

  remove(owner: object, key: string): void {
    const claim = this.#claims.get(key);
    if (claim === undefined) return;
    if (claim.owner !== owner) {
      claim.others?.delete(owner);
      return;
    }
    if (this.#before?.has(key) === false) this.#before.set(key, claim.value);
    const next = claim.others?.entries().next();
    if (next === undefined || next.done === true) {
      this.#claims.delete(key);
      return;
    }
    [claim.owner, claim.value] = next.value;
    claim.others?.delete(claim.owner);
  }

  /** What changed since the last call: values before and after. Equal objects count as changed; the caller compares. */
  takeChanges(): { readonly key: string; readonly before: Value | undefined; readonly after: Value | undefined }[] {
    const changes: { key: string; before: Value | undefined; after: Value | undefined }[] = [];
    if (this.#before === undefined)
      for (const [key, { value }] of this.#claims) changes.push({ key, before: undefined, after: value });
    else
      for (const [key, before] of this.#before) {
        const after = this.get(key);
        if (before !== after) changes.push({ key, before, after });
      }
    this.skipChanges();
    return changes;
  }

  /** As if `takeChanges` had been called. */
  skipChanges(): void {
    if (this.#before === undefined) this.#before = new Map();
    else this.#before.clear();
  }
}
