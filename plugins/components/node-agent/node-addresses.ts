/** Which addresses this node is known by: those of its config, or the host's own, followed as they change. */
import { readFileSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import { contains, familyOf as numberOf, parseCidr } from '../../../netplugins/linux/ip-address.ts';

type Family = 'IPv4' | 'IPv6';
const familyOf = (text: string): Family => (text.includes(':') ? 'IPv6' : 'IPv4');

/** Families of ranges, each once, in their order. */
function familiesOf(cidrs: readonly string[]): readonly Family[] {
  return [...new Set(cidrs.map(familyOf))];
}

interface HostAddress {
  readonly address: string;
  readonly interface: string;
}

/** Global addresses of interfaces that are up, in the kernel's order. */
function hostAddresses(): readonly HostAddress[] {
  const all = Object.entries(networkInterfaces()).flatMap(([name, each]) =>
    (each ?? []).map((one) => ({ ...one, interface: name })),
  );
  return all.filter((each) => !each.internal && !each.address.startsWith('fe80'));
}

/** Interfaces of the main table's default routes, those that are preferred first. */
function defaultInterfaces(): readonly string[] {
  // proc_pid_net(5): Iface Destination Gateway Flags RefCnt Use Metric Mask ...; of IPv6 the destination and its length come first.
  const rows = (file: string): readonly (readonly string[])[] => {
    try {
      return readFileSync(file, 'latin1')
        .split('\n')
        .map((line) => line.trim().split(/\s+/));
    } catch {
      return [];
    }
  };
  const found = [
    ...rows('/proc/self/net/route')
      .filter(([, destination, , , , , , mask]) => destination === '00000000' && mask === '00000000')
      .map(([name = '', , , , , , metric]) => ({ name, metric: Number(metric) })),
    ...rows('/proc/self/net/ipv6_route')
      .filter(([destination, length]) => length === '00' && /^0+$/.test(destination ?? ''))
      .map((row) => ({ name: row.at(-1) ?? '', metric: Number.parseInt(row[5] ?? '', 16) })),
  ];
  return found.sort((a, b) => a.metric - b.metric).map(({ name }) => name);
}

export class NodeAddresses {
  readonly #isConfigured: boolean;
  readonly #list: () => readonly HostAddress[];
  readonly #podCidrs: readonly string[];
  readonly #defaults: () => readonly string[];
  readonly #families: readonly Family[];
  #current: readonly string[];

  /**
   * `podCidrs` are the cluster's: of each of their families the host's address is taken, where it has one, and what is in
   * them is the pod network's own (its bridge, its tunnel) and leads nobody to this node.
   */
  constructor(
    configured: readonly string[],
    podCidrs: readonly string[],
    list: () => readonly HostAddress[] = hostAddresses,
    defaults: () => readonly string[] = defaultInterfaces,
  ) {
    this.#isConfigured = configured.length > 0;
    this.#families = familiesOf(podCidrs);
    this.#podCidrs = podCidrs;
    this.#list = list;
    this.#defaults = defaults;
    this.#current = this.#isConfigured ? configured : this.#chosen([]);
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
    const chosen = this.#chosen(this.#current);
    if (chosen.length === 0 || chosen.join() === this.#current.join()) return false;
    this.#current = chosen;
    return true;
  }

  /**
   * One a family: that which it has already, else that of the interface with the default route, else the first. A host
   * without any of these families has its first address.
   */
  #chosen(current: readonly string[]): readonly string[] {
    const there = this.#list().filter(({ address }) => !this.#isOfPods(address));
    const first = (family?: Family): string | undefined => {
      const usable = there.filter(({ address }) => family === undefined || familyOf(address) === family);
      if (usable.length < 2) return usable[0]?.address;
      const preferred = this.#defaults().find((name) => usable.some((each) => each.interface === name));
      return (usable.find((each) => each.interface === preferred) ?? usable[0])?.address;
    };
    const chosen = this.#families.flatMap((family) => {
      const known = current.find((address) => familyOf(address) === family);
      const isThere = known !== undefined && there.some(({ address }) => address === known);
      return (isThere ? known : (first(family) ?? known)) ?? [];
    });
    return chosen.length > 0 ? chosen : [first('IPv4') ?? first() ?? []].flat();
  }

  #isOfPods(address: string): boolean {
    return this.#podCidrs.some((text) => {
      const cidr = parseCidr(text);
      return cidr.family === numberOf(address) && contains(cidr, address);
    });
  }
}
