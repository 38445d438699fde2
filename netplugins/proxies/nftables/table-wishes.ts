/**
 * What one table is wanted to hold, as claims of many fragments, and the difference from what was taken before. The cost of
 * a change depends on the change alone, not on how much is there. Pure.
 */
import { Claims } from '../../linux/claims.ts';
import {
  fixedSets,
  groupOf,
  isExtraSlotMap,
  isShared,
  type AffinitySet,
  type Chain,
  type Difference,
  type Element,
  type Fragment,
  type SetName,
  type SlotMap,
} from './table-change.ts';

/** Elements as text, one a line: what is claimed at once, as it must not be mixed with another's. */
const bundleOf = (elements: readonly Element[]): string =>
  elements.map(({ set, key, data }) => `${set}\t${key}\t${data}`).join('\n');

function elementsIn(bundle: string | undefined): Element[] {
  if (bundle === undefined) return [];
  return bundle.split('\n').map((line) => {
    const [set = '', key = '', data = ''] = line.split('\t');
    return { set: set as SetName, key, data };
  });
}

/** Elements by what is claimed: those about one address, protocol and port together, others each by itself. */
function* bundles({ elements }: Fragment): Generator<readonly [string, readonly Element[]]> {
  const groups = new Map<string, Element[]>();
  for (const element of elements) {
    const group = groupOf(element);
    const of = groups.get(group);
    if (group === '') yield [`${element.set} ${element.key}`, [element]];
    else if (of === undefined) groups.set(group, [element]);
    else of.push(element);
  }
  yield* groups;
}

export class TableWishes {
  readonly #elements = new Claims<string>();
  readonly #chains = new Claims<string>();
  readonly #affinity = new Claims<number>();
  /** Shared chains and further slot maps that the table has: they stay when nobody needs them any more. */
  readonly #sharedChains = new Map<string, string>();
  readonly #slotMaps = new Set<SlotMap>();

  claim(fragment: Fragment): void {
    for (const [group, elements] of bundles(fragment)) this.#elements.add(fragment, group, bundleOf(elements));
    for (const { name, rules } of fragment.chains) this.#chains.add(fragment, name, rules.join('\n'));
    for (const { name, seconds } of fragment.affinity) this.#affinity.add(fragment, name, seconds);
  }

  release(fragment: Fragment): void {
    for (const [group] of bundles(fragment)) this.#elements.remove(fragment, group);
    for (const { name } of fragment.chains) this.#chains.remove(fragment, name);
    for (const { name } of fragment.affinity) this.#affinity.remove(fragment, name);
  }

  /** Since the last taking. */
  takeChange(): Difference {
    const [removed, added]: [Element[], Element[]] = [[], []];
    for (const { before, after } of this.#elements.takeChanges()) {
      const old = new Map(elementsIn(before).map((element) => [`${element.set} ${element.key}`, element]));
      for (const element of elementsIn(after)) {
        const id = `${element.set} ${element.key}`;
        if (old.get(id)?.data === element.data) old.delete(id);
        else added.push(element);
      }
      // An element's data cannot be changed in place: it is removed and added in one transaction.
      removed.push(...old.values());
    }
    const slotMaps = this.#newSlotMaps(added);
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
    for (const claims of [this.#elements, this.#chains, this.#affinity]) claims.skipChanges();
    const added: Element[] = [];
    for (const [, bundle] of this.#elements.entries()) added.push(...elementsIn(bundle));
    const chains: Chain[] = [];
    for (const [name, rules] of this.#chains.entries()) {
      if (isShared(name)) this.#sharedChains.set(name, rules);
      chains.push({ name, rules: rules.split('\n') });
    }
    const affinity = [...this.#affinity.entries()].map(([name, seconds]) => ({ name, seconds }));
    const slotMaps = this.#newSlotMaps(added);
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

  #newSlotMaps(added: readonly Element[]): SlotMap[] {
    const made: SlotMap[] = [];
    for (const { set } of added) {
      if (!isExtraSlotMap(set) || this.#slotMaps.has(set)) continue;
      this.#slotMaps.add(set);
      made.push(set);
    }
    return made;
  }
}
