/**
 * The proxy's in-memory picture of one nft table, and the difference of two. Pure.
 *
 * Names of maps, sets and chains end in "%": it stands for the generation (-a or -b). A rebuild makes everything anew under
 * the other generation and then switches the hooks over in one transaction, so that no packet meets half a table.
 */
export const fixedSets = [
  'services',
  'masquerade',
  'no-endpoints',
  'hairpin',
  'cluster-ips',
  'cluster-cidrs',
  'restricted',
  'allowed',
] as const;
/** The n-th endpoint of each service address is in the map `slots-<n>`, of its local ones in `local-slots-<n>`. */
export type SlotMap = `slots-${number}` | `local-slots-${number}`;
export type SetName = (typeof fixedSets)[number] | SlotMap;

export function isSlotMap(set: SetName): set is SlotMap {
  return set.startsWith('slots-') || set.startsWith('local-slots-');
}

export interface Element {
  readonly set: SetName;
  /** "10.96.0.1 . tcp . 80" */
  readonly key: string;
  /** What a map gives; empty for a set. */
  readonly data: string;
}

export interface Chain {
  readonly name: string;
  readonly rules: readonly string[];
}

/** A set that the packet path fills: clients that stick to one endpoint. */
export interface AffinitySet {
  readonly name: string;
  readonly seconds: number;
}

/** What one port of one Service needs. Fragments may share chains and elements; the first claim of a key wins. */
export interface Fragment {
  readonly elements: readonly Element[];
  readonly chains: readonly Chain[];
  readonly affinity: readonly AffinitySet[];
}

export interface Picture {
  readonly elements: ReadonlyMap<SetName, ReadonlyMap<string, string>>;
  /** Rules, one a line. */
  readonly chains: ReadonlyMap<string, string>;
  readonly affinity: ReadonlyMap<string, number>;
}

export const emptyPicture: Picture = { elements: new Map(), chains: new Map(), affinity: new Map() };

const sharedPattern = /^(?:local-)?(?:pick|slot)-(\d+)%$|^external-(\d+)-\d+%$/;

/**
 * Chains that any number of services share stay once made: there are few, and removing them would gain nothing. Not so those
 * that draw from very many endpoints: they are large, and each size is used by hardly more than one service.
 */
export function isShared(chain: string): boolean {
  const [, one, two] = sharedPattern.exec(chain) ?? [];
  const size = one ?? two;
  return size !== undefined && Number(size) <= 64;
}

export function compose(fragments: Iterable<Fragment>): Picture {
  const elements = new Map<SetName, Map<string, string>>();
  const chains = new Map<string, string>();
  const affinity = new Map<string, number>();
  for (const fragment of fragments) {
    for (const { set, key, data } of fragment.elements) {
      let of = elements.get(set);
      if (of === undefined) elements.set(set, (of = new Map()));
      if (!of.has(key)) of.set(key, data);
    }
    for (const { name, rules } of fragment.chains) if (!chains.has(name)) chains.set(name, rules.join('\n'));
    for (const { name, seconds } of fragment.affinity) affinity.set(name, seconds);
  }
  return { elements, chains, affinity };
}

export interface Difference {
  /** Slot maps that are not in the table yet. */
  readonly slotMaps: readonly SlotMap[];
  readonly removed: readonly Element[];
  readonly added: readonly Element[];
  /** New ones and those whose rules differ. */
  readonly chains: readonly Chain[];
  readonly staleChains: readonly string[];
  readonly affinity: readonly AffinitySet[];
  readonly staleAffinity: readonly string[];
}

export function difference(current: Picture, desired: Picture): Difference {
  const removed: Element[] = [];
  const added: Element[] = [];
  for (const set of new Set([...current.elements.keys(), ...desired.elements.keys()])) {
    const before = current.elements.get(set);
    const after = desired.elements.get(set);
    // An element's data cannot be changed in place: it is removed and added in one transaction.
    for (const [key, data] of before ?? []) if (after?.get(key) !== data) removed.push({ set, key, data });
    for (const [key, data] of after ?? []) if (before?.get(key) !== data) added.push({ set, key, data });
  }
  const chains: Chain[] = [];
  for (const [name, rules] of desired.chains)
    if (current.chains.get(name) !== rules) chains.push({ name, rules: rules.split('\n') });
  const staleChains = [...current.chains.keys()].filter((name) => !desired.chains.has(name) && !isShared(name));
  const affinity: AffinitySet[] = [];
  for (const [name, seconds] of desired.affinity) if (!current.affinity.has(name)) affinity.push({ name, seconds });
  const staleAffinity = [...current.affinity.keys()].filter((name) => !desired.affinity.has(name));
  const slotMaps = [...desired.elements.keys()].filter(isSlotMap).filter((set) => !current.elements.has(set));
  return { slotMaps, removed, added, chains, staleChains, affinity, staleAffinity };
}

export function sizeOf(change: Difference): number {
  return (
    change.slotMaps.length +
    change.removed.length +
    change.added.length +
    change.chains.length +
    change.staleChains.length +
    change.affinity.length +
    change.staleAffinity.length
  );
}

/** What is in the table after `desired` was applied over `current`: shared chains and slot maps stay. */
export function settled(current: Picture, desired: Picture): Picture {
  const chains = [...current.chains].filter(([name]) => isShared(name) && !desired.chains.has(name));
  const maps = [...current.elements.keys()].filter((set) => isSlotMap(set) && !desired.elements.has(set));
  return {
    affinity: desired.affinity,
    chains: chains.length === 0 ? desired.chains : new Map([...chains, ...desired.chains]),
    elements: new Map<SetName, ReadonlyMap<string, string>>([
      ...maps.map((set) => [set, new Map()] as const),
      ...desired.elements,
    ]),
  };
}

/** The address, protocol and port that an element is about; elements of one such key change in one transaction. */
function groupOf({ set, key }: Element): string {
  if (set === 'hairpin' || set === 'cluster-ips' || set === 'cluster-cidrs') return '';
  return key.split(' . ', 3).join(' . ');
}

/**
 * Cuts a large difference into parts of about `limit` elements, each of which leaves every service address whole. Chains
 * come with the first part, the flush of stale ones with the last.
 */
export function* parts(change: Difference, limit: number): Generator<Difference> {
  if (change.removed.length + change.added.length <= limit) {
    yield change;
    return;
  }
  const groups = new Map<string, { removed: Element[]; added: Element[] }>();
  const groupFor = (element: Element): { removed: Element[]; added: Element[] } => {
    const name = groupOf(element);
    let group = groups.get(name);
    if (group === undefined) groups.set(name, (group = { removed: [], added: [] }));
    return group;
  };
  for (const element of change.added) groupFor(element).added.push(element);
  for (const element of change.removed) groupFor(element).removed.push(element);
  const common = groups.get('');
  groups.delete('');
  const nothing: Difference = {
    slotMaps: [],
    removed: [],
    added: [],
    chains: [],
    staleChains: [],
    affinity: [],
    staleAffinity: [],
  };
  yield {
    ...nothing,
    slotMaps: change.slotMaps,
    chains: change.chains,
    affinity: change.affinity,
    added: common?.added ?? [],
  };
  let removed: Element[] = [];
  let added: Element[] = [];
  for (const group of groups.values()) {
    removed.push(...group.removed);
    added.push(...group.added);
    if (removed.length + added.length < limit) continue;
    yield { ...nothing, removed, added };
    removed = [];
    added = [];
  }
  removed.push(...(common?.removed ?? []));
  yield { ...nothing, removed, added, staleChains: change.staleChains, staleAffinity: change.staleAffinity };
}
