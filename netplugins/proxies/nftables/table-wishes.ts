/**
 * What one table is wanted to hold, as claims of many fragments, and the difference from what was taken before. The cost of
 * a change depends on the change alone, not on how much is there. Pure.
 */
import { Claims } from '../../linux/claims.ts';
import {
  fixedSets,
  isShared,
  isSlotMap,
  type AffinitySet,
  type Chain,
  type Difference,
  type Element,
  type Fragment,
  type SetName,
  type SlotMap,
} from './table-change.ts';

export class TableWishes {
  readonly #elements = new Map<SetName, Claims<string>>();
  readonly #chains = new Claims<string>();
  readonly #affinity = new Claims<number>();
  /** Shared chains and slot maps that the table has: they stay when nobody needs them any more. */
  readonly #sharedChains = new Map<string, string>();
  readonly #slotMaps = new Set<SlotMap>();

  claim(fragment: Fragment): void {
    for (const { set, key, data } of fragment.elements) this.#of(set).add(fragment, key, data);
    for (const { name, rules } of fragment.chains) this.#chains.add(fragment, name, rules.join('\n'));
    for (const { name, seconds } of fragment.affinity) this.#affinity.add(fragment, name, seconds);
  }

  release(fragment: Fragment): void {
    for (const { set, key } of fragment.elements) this.#of(set).remove(fragment, key);
    for (const { name } of fragment.chains) this.#chains.remove(fragment, name);
    for (const { name } of fragment.affinity) this.#affinity.remove(fragment, name);
  }

  /** Since the last taking. */
  takeChange(): Difference {
    const [removed, added]: [Element[], Element[]] = [[], []];
    const slotMaps: SlotMap[] = [];
    for (const [set, claims] of this.#elements)
      for (const { key, before, after } of claims.takeChanges()) {
        // An element's data cannot be changed in place: it is removed and added in one transaction.
        if (before !== undefined) removed.push({ set, key, data: before });
        if (after === undefined) continue;
        added.push({ set, key, data: after });
        if (!isSlotMap(set) || this.#slotMaps.has(set)) continue;
        this.#slotMaps.add(set);
        slotMaps.push(set);
      }
    const [chains, staleChains]: [Chain[], string[]] = [[], []];
    for (const { key: name, after } of this.#chains.takeChanges()) {
      if (after === undefined) {
        if (!isShared(name)) staleChains.push(name);
        continue;
      }
      if (this.#sharedChains.get(name) === after) continue;
      if (isShared(name)) this.#sharedChains.set(name, after);
      chains.push({ name, rules: after.split('\n') });
    }
    const [affinity, staleAffinity]: [AffinitySet[], string[]] = [[], []];
    for (const { key: name, before, after } of this.#affinity.takeChanges()) {
      if (after === undefined) staleAffinity.push(name);
      else if (before === undefined) affinity.push({ name, seconds: after });
    }
    return { slotMaps, removed, added, chains, staleChains, affinity, staleAffinity };
  }

  /** All of it, for a table that is built anew. */
  takeWhole(): Difference {
    this.#sharedChains.clear();
    this.#slotMaps.clear();
    for (const claims of [...this.#elements.values(), this.#chains, this.#affinity]) claims.skipChanges();
    const added: Element[] = [];
    for (const [set, claims] of this.#elements) {
      if (isSlotMap(set) && claims.size > 0) this.#slotMaps.add(set);
      for (const [key, data] of claims.entries()) added.push({ set, key, data });
    }
    const chains: Chain[] = [];
    for (const [name, rules] of this.#chains.entries()) {
      if (isShared(name)) this.#sharedChains.set(name, rules);
      chains.push({ name, rules: rules.split('\n') });
    }
    const affinity = [...this.#affinity.entries()].map(([name, seconds]) => ({ name, seconds }));
    const slotMaps = [...this.#slotMaps];
    return { slotMaps, removed: [], added, chains, staleChains: [], affinity, staleAffinity: [] };
  }

  /** Sets, maps and chains that the table has by now; a name ends in "%" where a generation has its own. */
  names(): Set<string> {
    return new Set([
      ...[...fixedSets, ...this.#slotMaps].map((name) => `${name}%`),
      ...this.#chains.keys(),
      ...this.#sharedChains.keys(),
      ...this.#affinity.keys(),
    ]);
  }

  #of(set: SetName): Claims<string> {
    let claims = this.#elements.get(set);
    if (claims === undefined) this.#elements.set(set, (claims = new Claims()));
    return claims;
  }
}
