/**
 * What one nft table consists of, in the proxy's memory, and what a change of it consists of. Pure.
 *
 * Names of maps, sets and chains end in "%": it stands for the generation (-a or -b). A rebuild makes everything anew under
 * the other generation and then switches the hooks over in one transaction, so that no packet meets half a table.
 */
const plainSets = [
  'shapes',
  'local-shapes',
  'shape-chains',
  'ids',
  'endpoints',
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
/** What every table has, by generations. */
export const setNames: readonly SetName[] = [
  ...plainSets,
  ...(['slots', 'local-slots'] as const).flatMap((kind) =>
    Array.from({ length: drawnSlots }, (_, index): SlotMap => `${kind}-${index}`),
  ),
];

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

/**
 * What one port of one Service needs. Fragments may share chains and elements. Of two that have elements about one address,
 * protocol and port, the first has all of them.
 */
export interface Fragment {
  readonly elements: readonly Element[];
  readonly chains: readonly Chain[];
}

export interface Difference {
  readonly removed: readonly Element[];
  readonly added: readonly Element[];
  /** New ones and those whose rules differ. */
  readonly chains: readonly Chain[];
  /** Nothing leads to them any more when all else is done. */
  readonly staleChains: readonly string[];
}

const isRangeSet = (set: SetName): boolean => set === 'cluster-cidrs' || set === 'service-cidrs';

/** Whether nothing is to be added but elements, none of them a range of addresses alone. */
export function isElementsOnly({ chains, removed, added }: Difference): boolean {
  const isNoRange = ({ set }: Element): boolean => !isRangeSet(set);
  return chains.length === 0 && removed.every(isNoRange) && added.every(isNoRange);
}

/** A part in the steps in which it is cheapest, each of which leaves every service address whole: chains, elements alone. */
export function* steps(part: Difference): Generator<Difference> {
  const { removed, added, chains } = part;
  const elements = { ...noChange, removed, added };
  if (chains.length === 0 || !isElementsOnly(elements) || removed.length + added.length === 0) {
    yield part;
    return;
  }
  yield { ...noChange, chains };
  yield elements;
}

const noChange: Difference = { removed: [], added: [], chains: [], staleChains: [] };

export function sizeOf({ removed, added, chains, staleChains }: Difference): number {
  return removed.length + added.length + chains.length + staleChains.length;
}

/** The address, protocol and port that an element is about; elements of one such key change in one transaction. */
export function groupOf({ set, key }: Element): string {
  if (set === 'hairpin' || set === 'cluster-ips' || set === 'shape-chains' || isRangeSet(set)) return '';
  return key.split(' . ', 3).join(' . ');
}

/**
 * Cuts a large difference into parts of about `limit` elements, each of which leaves every service address whole. Chains
 * come with the first part.
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
  // Chains first, then what each is whole by itself.
  let chains = change.chains;
  for (const some of chunks(common?.added ?? [], limit)) {
    yield { ...noChange, chains, added: some };
    chains = [];
  }
  if (chains.length > 0) yield { ...noChange, chains };
  let removed: Element[] = [];
  let added: Element[] = [];
  for (const group of groups.values()) {
    for (const element of group.removed) removed.push(element);
    for (const element of group.added) added.push(element);
    if (removed.length + added.length < limit) continue;
    yield { ...noChange, removed, added };
    removed = [];
    added = [];
  }
  if (removed.length + added.length > 0) yield { ...noChange, removed, added };
  for (const some of chunks(common?.removed ?? [], limit)) yield { ...noChange, removed: some };
}

function* chunks(elements: readonly Element[], limit: number): Generator<readonly Element[]> {
  for (let begin = 0; begin < elements.length; begin += limit) yield elements.slice(begin, begin + limit);
}
