/** Which addresses this node is known by: those of its config, or the host's own, followed as they change. */
import { networkInterfaces } from 'node:os';

type Family = 'IPv4' | 'IPv6';
const familyOf = (text: string): Family => (text.includes(':') ? 'IPv6' : 'IPv4');

/** Families of ranges, each once, in their order. */
export function familiesOf(cidrs: readonly string[]): readonly Family[] {
  return [...new Set(cidrs.map(familyOf))];
}

/** Global addresses of interfaces that are up, in the kernel's order. */
function hostAddresses(): readonly string[] {
  const all = Object.values(networkInterfaces()).flatMap((each) => each ?? []);
  const usable = all.filter((each) => !each.internal && !each.address.startsWith('fe80'));
  const isFirst = (one: (typeof usable)[number]): boolean => one.family === 'IPv4';
  return [...usable.filter(isFirst), ...usable.filter((one) => !isFirst(one))].map(({ address }) => address);
}

export class NodeAddresses {
  readonly #isConfigured: boolean;
  readonly #list: () => readonly string[];
  readonly #families: readonly Family[];
  #current: readonly string[];

  /** `families` are those of the cluster's pods: of each the host's first address is taken, where it has one. */
  constructor(
    configured: readonly string[],
    families: readonly Family[] = ['IPv4'],
    list: () => readonly string[] = hostAddresses,
  ) {
    this.#isConfigured = configured.length > 0;
    this.#families = families;
    this.#list = list;
    this.#current = this.#isConfigured ? configured : this.#chosen(list(), []);
  }

  /** Empty: the host has none but loopback. */
  get current(): readonly string[] {
    return this.#current;
  }

  /**
   * Looks again; true when they are others now. An address is kept as long as the host has it, and until it has another: an
   * interface that goes down for a moment moves nothing.
   */
  refresh(): boolean {
    if (this.#isConfigured) return false;
    const chosen = this.#chosen(this.#list(), this.#current);
    if (chosen.length === 0 || chosen.join() === this.#current.join()) return false;
    this.#current = chosen;
    return true;
  }

  /** One a family: that which it has already, else the first. A host without any of these families has its first address. */
  #chosen(there: readonly string[], current: readonly string[]): readonly string[] {
    const chosen = this.#families.flatMap((family) => {
      const usable = there.filter((address) => familyOf(address) === family);
      const known = current.find((address) => familyOf(address) === family);
      return (known !== undefined && usable.includes(known) ? known : (usable[0] ?? known)) ?? [];
    });
    return chosen.length > 0 ? chosen : there.slice(0, 1);
  }
}
