/**
 * The sets of one address family in the kernel. Owns every set whose name is one of ours. ipset sends no notifications, so
 * `check` compares the numbers of elements.
 */
import type { IpSets, SetChange } from '../../linux/ipset.ts';
import { isRefused } from '../../linux/libc.ts';
import type { IpFamily } from '../../linux/service-addresses.ts';
import { definitionOf, kernelSetName, setNames, type SetName } from './sets.ts';

/** The element's mark, or null when elements of the set have none. */
export type Mark = number | null;
export type SetContents = (set: SetName) => Iterable<readonly [string, Mark]>;

const releaseMs = 5_000;

export interface SetDifference {
  readonly set: SetName;
  readonly element: string;
  /** Undefined: is to be removed. */
  readonly after: Mark | undefined;
}

export class ServiceSets {
  readonly #sets: IpSets;
  readonly #family: IpFamily;

  constructor(sets: IpSets, family: IpFamily) {
    this.#sets = sets;
    this.#family = family;
  }

  /** Makes what is missing. Returns how many it made. */
  create(): number {
    return setNames.filter((set) => this.#sets.create(definitionOf(this.#family, set))).length;
  }

  contents(set: SetName): ReadonlyMap<string, number | undefined> {
    return this.#sets.elements(kernelSetName(this.#family, set)) ?? new Map<string, undefined>();
  }

  /** What is to be done for the sets to hold exactly this. */
  difference(desired: SetContents): SetDifference[] {
    const differences: SetDifference[] = [];
    for (const set of setNames) {
      const found = new Map(this.contents(set));
      for (const [element, mark] of desired(set)) {
        if (!found.has(element) || (mark !== null && found.get(element) !== mark))
          differences.push({ set, element, after: mark });
        found.delete(element);
      }
      for (const element of found.keys()) differences.push({ set, element, after: undefined });
    }
    return differences;
  }

  add(differences: readonly SetDifference[]): void {
    this.#apply(
      differences.filter(({ after }) => after !== undefined),
      setNames,
    );
  }

  remove(differences: readonly SetDifference[]): void {
    this.#apply(
      differences.filter(({ after }) => after === undefined),
      [...setNames].reverse(),
    );
  }

  /** Whether each set is there with as many elements as it should have. */
  check(expected: (set: SetName) => number): boolean {
    const found = new Map(this.#sets.headers().map(({ name, elements }) => [name, elements]));
    return setNames.every((set) => found.get(kernelSetName(this.#family, set)) === expected(set));
  }

  /** The kernel lets go of rules in nftables a moment after they are gone, and of a set not before. */
  async destroy(): Promise<void> {
    const end = performance.now() + releaseMs;
    for (const set of setNames) {
      for (;;) {
        try {
          this.#sets.destroy(kernelSetName(this.#family, set));
          break;
        } catch (error) {
          if (!isRefused(error, 'IPSET_BUSY') || performance.now() > end) throw error;
          await new Promise((resolve) => setTimeout(resolve, 20));
        }
      }
    }
  }

  #apply(differences: readonly SetDifference[], order: readonly SetName[]): void {
    if (differences.length === 0) return;
    const changes = order.flatMap((set) =>
      differences
        .filter((each) => each.set === set)
        .map(({ element, after }): SetChange => ({
          verb: after === undefined ? 'delete' : 'add',
          set: kernelSetName(this.#family, set),
          element,
          mark: after ?? undefined,
        })),
    );
    this.#sets.apply(changes);
  }
}
