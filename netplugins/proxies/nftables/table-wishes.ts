/**
 * What one table is wanted to hold, as claims of many fragments, and the difference from what was taken before. The cost of
 * a change depends on the change alone, not on how much is there. Pure.
 */
import { Claims } from '../../linux/claims.ts';
import {
  groupOf,
  setNames,
  type Chain,
  type Difference,
  type Element,
  type Fragment,
  type SetName,
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

const idsOf = ({ elements }: Fragment): string[] => elements.filter(({ set }) => set === 'ids').map(({ data }) => data);

export class TableWishes {
  readonly #elements = new Claims<string>();
  readonly #chains = new Claims<string>();
  /** Endpoints' own numbers, where there is affinity. */
  readonly #ids = new Claims<true>();

  claim(fragment: Fragment): void {
    for (const [group, elements] of bundles(fragment)) this.#elements.add(fragment, group, bundleOf(elements));
    for (const { name, rules } of fragment.chains) this.#chains.add(fragment, name, rules.join('\n'));
    for (const id of idsOf(fragment)) this.#ids.add(fragment, id, true);
  }

  release(fragment: Fragment): void {
    for (const [group] of bundles(fragment)) this.#elements.remove(fragment, group);
    for (const { name } of fragment.chains) this.#chains.remove(fragment, name);
    for (const id of idsOf(fragment)) this.#ids.remove(fragment, id);
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
      for (const element of old.values()) removed.push(element);
    }
    const [chains, staleChains]: [Chain[], string[]] = [[], []];
    for (const { key: name, after } of this.#chains.takeChanges()) {
      if (after === undefined) staleChains.push(name);
      else chains.push({ name, rules: after.split('\n') });
    }
    return { removed, added, chains, staleChains };
  }

  /** Whether endpoints with affinity went since the last call. */
  takeForgotten(): boolean {
    return this.#ids.takeChanges().some(({ after }) => after === undefined);
  }

  hasId(id: string): boolean {
    return this.#ids.get(id) === true;
  }

  /** All of it, for a table that is built anew. */
  takeWhole(): Difference {
    for (const claims of [this.#elements, this.#chains]) claims.skipChanges();
    const added: Element[] = [];
    for (const [, bundle] of this.#elements.entries()) for (const element of elementsIn(bundle)) added.push(element);
    const chains = [...this.#chains.entries()].map(([name, rules]) => ({ name, rules: rules.split('\n') }));
    return { removed: [], added, chains, staleChains: [] };
  }

  /** Sets, maps and chains that each generation of the table has; all of the names end in "%". */
  names(): Set<string> {
    return new Set([...setNames.map((name) => `${name}%`), ...this.#chains.keys()]);
  }
}
