/**
 * What one nft table consists of, in the proxy's memory, and what a change of it consists of. Pure.
 *
 * Names of maps, sets and chains end in "%": it stands for the generation (-a or -b). A rebuild makes everything anew under
 * the other generation and then switches the hooks over in one transaction, so that no packet meets half a table.
 */
const plainSets = [
  'services',
  'external-local',
  'masquerade-outside',
  'masquerade-always',
  'masquerade-node',
  'no-endpoints',
  'hairpin',
  'cluster-ips',
  'cluster-cidrs',
  'service-cidrs',
  'restricted',
  'allowed',
] as const;
/** The n-th endpoint of each service address is in the map `slots-<n>`, of its local ones in `local-slots-<n>`. */
export type SlotMap = `slots-${number}` | `local-slots-${number}`;
export type SetName = (typeof plainSets)[number] | SlotMap;

/** The endpoints of an address with no more than these are drawn by rules that are the same for all. */
export const drawnSlots = 16;
/** What every table has. */
export const fixedSets: readonly SetName[] = [
  ...plainSets,
  ...(['slots', 'local-slots'] as const).flatMap((kind) =>
    Array.from({ length: drawnSlots }, (_, index): SlotMap => `${kind}-${index}`),
  ),
];
const fixed: ReadonlySet<SetName> = new Set(fixedSets);

export function isSlotMap(set: SetName): set is SlotMap {
  return set.startsWith('slots-') || set.startsWith('local-slots-');
}

/** One that the table has only when some address has as many endpoints. */
export function isExtraSlotMap(set: SetName): set is SlotMap {
  return isSlotMap(set) && !fixed.has(set);
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

/**
 * What one port of one Service needs. Fragments may share chains and elements. Of two that have elements about one address,
 * protocol and port, the first has all of them.
 */
export interface Fragment {
  readonly elements: readonly Element[];
  readonly chains: readonly Chain[];
  readonly affinity: readonly AffinitySet[];
}

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

const isRangeSet = (set: SetName): boolean => set === 'cluster-cidrs' || set === 'service-cidrs';

/** Whether elements are all that changes, and none is a range of addresses alone. */
export function isElementsOnly(change: Difference): boolean {
  return (
    change.slotMaps.length + change.chains.length + change.staleChains.length + change.affinity.length === 0 &&
    [...change.removed, ...change.added].every(({ set }) => !isRangeSet(set))
  );
}

/**
 * A part in the steps in which it is cheapest: what leads nowhere yet, elements alone, what nothing leads to any more. Each
 * leaves every service address whole.
 */
export function* steps(part: Difference): Generator<Difference> {
  const { removed, added, staleChains, staleAffinity } = part;
  const elements = { ...noChange, removed, added };
  if (isElementsOnly(part) || !isElementsOnly(elements) || removed.length + added.length === 0) {
    yield part;
    return;
  }
  yield { ...part, removed: [], added: [], staleChains: [], staleAffinity: [] };
  yield elements;
  if (staleChains.length > 0) yield { ...noChange, staleChains, staleAffinity };
}

const noChange: Difference = {
  slotMaps: [],
  removed: [],
  added: [],
  chains: [],
  staleChains: [],
  affinity: [],
  staleAffinity: [],
};

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

/** The address, protocol and port that an element is about; elements of one such key change in one transaction. */
export function groupOf({ set, key }: Element): string {
  if (set === 'hairpin' || set === 'cluster-ips' || isRangeSet(set)) return '';
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
  yield {
    ...noChange,
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
    yield { ...noChange, removed, added };
    removed = [];
    added = [];
  }
  removed.push(...(common?.removed ?? []));
  yield { ...noChange, removed, added, staleChains: change.staleChains, staleAffinity: change.staleAffinity };
}
