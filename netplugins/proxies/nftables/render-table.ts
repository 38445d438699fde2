/** The nft text of transactions: the table's maps and hooks, differences, the switch of generations, removal. Pure. */
import { isSlotMap, setNames, type Difference, type Element, type SetName } from './table-change.ts';
import type { NftElementChange } from '../../linux/nft-elements.ts';
import type { NftFamily } from './render-port.ts';
import { forgetNumber } from './shapes.ts';

export const tableName = 'pintle-proxy';
/** Serves while a table that cannot be built upon is made anew: tables cannot be renamed. */
export const standInName = 'pintle-proxy-stand-in';
export type TableName = typeof tableName | typeof standInName;
export type Generation = '-a' | '-b';

export function otherGeneration(generation: Generation): Generation {
  return generation === '-a' ? '-b' : '-a';
}

/** Chains that hang on hooks. Everything else belongs to a generation. */
export const hookNames = [
  'filter-prerouting',
  'filter-output',
  'filter-forward',
  'unknown-prerouting',
  'unknown-output',
  'nat-prerouting',
  'nat-output',
  'nat-postrouting',
] as const;

function definitionOf(set: SetName, family: NftFamily): string {
  const address = family === 'ip' ? 'ipv4_addr' : 'ipv6_addr';
  const key = `${address} . inet_proto . inet_service`;
  if (isSlotMap(set)) return `map NAME { type ${key} : ${address} . inet_service; }`;
  switch (set) {
    case 'shapes':
    case 'local-shapes':
      return `map NAME { type ${key} : classid; }`;
    case 'shape-chains':
      return 'map NAME { type classid : verdict; }';
    case 'ids':
      return `map NAME { type ${key} . classid : classid; }`;
    case 'endpoints':
      return `map NAME { type ${key} . classid : ${address} . inet_service; }`;
    case 'external-local':
    case 'masquerade-outside':
    case 'masquerade-always':
    case 'masquerade-node':
    case 'no-endpoints':
    case 'restricted':
      return `set NAME { type ${key}; }`;
    case 'hairpin':
      return `set NAME { type ${address} . ${address}; }`;
    case 'cluster-ips':
      return `set NAME { type ${address}; }`;
    case 'cluster-cidrs':
    case 'service-cidrs':
      return `set NAME { type ${address}; flags interval; }`;
    case 'allowed':
      return `set NAME { type ${key} . ${address}; flags interval; }`;
  }
}

/** The set that the packet path fills. It has no generation, so that a rebuild forgets no client. */
export const clientSet = 'clients';

/** The kernel makes room for them at once: 2 MiB of hash table. */
const mostClients = 196_608;

/** Makes the table, when missing, and the empty maps and sets of a generation. */
export function renderSets(family: NftFamily, generation: Generation, table: TableName = tableName): string {
  const address = family === 'ip' ? 'ipv4_addr' : 'ipv6_addr';
  const lines = setNames.map((set) => {
    const [kind = '', rest = ''] = definitionOf(set, family).split(' NAME ');
    return `add ${kind} ${family} ${table} ${set}${generation} ${rest}`;
  });
  // What has expired is not found any more; it is cleared away now and then, a walk through the whole table.
  lines.push(
    `add set ${family} ${table} ${clientSet} ` +
      `{ type classid . ${address}; flags dynamic,timeout; size ${mostClients}; gc-interval 30s; }`,
  );
  return `${[`add table ${family} ${table}`, ...lines].join('\n')}\n`;
}

interface Hook {
  readonly name: (typeof hookNames)[number];
  readonly type: string;
  readonly rules: readonly string[];
}

/**
 * Where packets enter. Filters before the translation see the service's address; what still has a cluster address after it
 * belongs to no port of any service, and what is in the service range to no service at all.
 */
function hooksOf(family: NftFamily): readonly Hook[] {
  const service = `${family} daddr . meta l4proto . th dport`;
  const filter = [
    `ct state new ${service} @restricted% ${service} . ${family} saddr != @allowed% drop`,
    `ct state new ${service} @no-endpoints% goto reject-new%`,
  ];
  const unknown = [
    `ct state new ${family} daddr @cluster-ips% goto reject-new%`,
    // An address that the node has is somebody's, and is not routed away.
    `ct state new ${family} daddr @service-cidrs% fib daddr type != local goto reject-new%`,
  ];
  // A late packet of an endpoint that tracking no longer takes for part of its connection would pass untranslated; its
  // client does not know that sender, and ends the connection.
  const untracked = ['saddr', 'daddr'].map((end) => `ct state invalid ${family} ${end} @cluster-cidrs% drop`);
  const dispatch = [`${service} @external-local% goto external-local%`, 'goto draw%'];
  // The protocols are named because nft knows the size of proto-dst only then.
  const translated = 'ct status dnat meta l4proto { tcp, udp, sctp }';
  const asked = `ct original ${family} daddr . meta l4proto . ct original proto-dst`;
  return [
    { name: 'filter-prerouting', type: 'type filter hook prerouting priority -110', rules: filter },
    { name: 'filter-output', type: 'type filter hook output priority -110', rules: filter },
    { name: 'filter-forward', type: 'type filter hook forward priority 0', rules: untracked },
    { name: 'unknown-prerouting', type: 'type filter hook prerouting priority -95', rules: unknown },
    { name: 'unknown-output', type: 'type filter hook output priority -95', rules: unknown },
    { name: 'nat-prerouting', type: 'type nat hook prerouting priority -100', rules: dispatch },
    { name: 'nat-output', type: 'type nat hook output priority -100', rules: dispatch },
    {
      name: 'nat-postrouting',
      type: 'type nat hook postrouting priority 100',
      rules: [
        ...forgetNumber(asked).map((rule) => `${translated} ${rule}`),
        `ct status dnat ${family} saddr . ${family} daddr @hairpin% masquerade fully-random`,
        ...['outside', 'always', 'node'].map(
          (when) => `${translated} ${asked} @masquerade-${when}% goto masquerade-${when}%`,
        ),
      ],
    },
  ];
}

/** One transaction after which packets use `generation` of `table`, and there is no other table of ours. */
export function renderSwitch(family: NftFamily, generation: Generation, table: TableName = tableName): string {
  const lines: string[] = [renderTableRemoval(family, table === tableName ? standInName : tableName)];
  for (const { name, type, rules } of hooksOf(family)) {
    lines.push(`add chain ${family} ${table} ${name} { ${type}; policy accept; }`);
    lines.push(`flush chain ${family} ${table} ${name}`);
    for (const rule of rules) lines.push(`add rule ${family} ${table} ${name} ${rule.replaceAll('%', generation)}`);
  }
  return `${lines.join('\n')}\n`;
}

/** Elements by set, in the order of their sets' first. */
function bySet(elements: readonly Element[]): Map<SetName, Element[]> {
  const sets = new Map<SetName, Element[]>();
  for (const element of elements) {
    const of = sets.get(element.set);
    if (of === undefined) sets.set(element.set, [element]);
    else of.push(element);
  }
  return sets;
}

function elementLines(
  verb: 'add' | 'delete',
  elements: readonly Element[],
  family: NftFamily,
  generation: Generation,
  table: TableName,
): string[] {
  const text = ({ key, data }: Element): string =>
    verb === 'add' && data !== '' ? `${key} : ${data.replaceAll('%', generation)}` : key;
  return [...bySet(elements)].map(
    ([set, of]) => `${verb} element ${family} ${table} ${set}${generation} { ${of.map(text).join(', ')} }`,
  );
}

/** What `renderDifference` says of a change that is of elements only. */
export function elementChanges({ removed, added }: Difference, generation: Generation): NftElementChange[] {
  const changes = (verb: 'add' | 'delete', elements: readonly Element[]): NftElementChange[] =>
    [...bySet(elements)].map(([set, of]) => ({
      ...{ verb, set: `${set}${generation}`, isInterval: set === 'allowed' },
      elements: of.map(({ key, data }) => ({ key, data: data.replaceAll('%', generation) })),
    }));
  return [...changes('delete', removed), ...changes('add', added)];
}

/**
 * Rules in one transaction: each is 700 bytes of netlink, and an ordinary user's socket takes 208 KiB at once
 * (net.core.wmem_default).
 */
const chunkRules = 150;

/**
 * The transactions of a change: one, or several where there are many rules, which nothing leads to until the last. Stale
 * chains are left: see `renderDeletions`.
 */
export function renderDifference(
  change: Difference,
  family: NftFamily,
  generation: Generation,
  ofTable: TableName = tableName,
): readonly string[] {
  const table = `${family} ${ofTable}`;
  const named = (name: string): string => name.replaceAll('%', generation);
  const rules = change.chains.flatMap(({ name, rules: of }) =>
    of.map((rule) => `add rule ${table} ${named(name)} ${named(rule)}`),
  );
  const chains = change.chains.map(({ name }) => `${table} ${named(name)}`);
  const transactions = [[...chains.map((name) => `add chain ${name}`), ...chains.map((name) => `flush chain ${name}`)]];
  for (let begin = 0; begin < rules.length; begin += chunkRules) {
    if (begin > 0) transactions.push([]);
    transactions.at(-1)!.push(...rules.slice(begin, begin + chunkRules));
  }
  const last = transactions.at(-1)!;
  for (const line of elementLines('delete', change.removed, family, generation, ofTable)) last.push(line);
  for (const line of elementLines('add', change.added, family, generation, ofTable)) last.push(line);
  return transactions.filter((lines) => lines.length > 0).map((lines) => `${lines.join('\n')}\n`);
}

export interface Leftovers {
  readonly chains: readonly string[];
  readonly sets: readonly string[];
  readonly maps: readonly string[];
}

/** Such lines are 60 to 100 bytes of netlink each. Another version's table had thousands of chains. */
const chunkLines = 1_000;

function inTransactions(lines: readonly string[]): readonly string[] {
  const texts: string[] = [];
  for (let begin = 0; begin < lines.length; begin += chunkLines)
    texts.push(lines.slice(begin, begin + chunkLines).join(''));
  return texts;
}

/**
 * Deletes what nothing uses any more, in transactions of its own: kernels before 6.2 notice only after the commit that a
 * removed map element no longer refers to a chain.
 */
export function renderDeletions({ chains, sets, maps }: Leftovers, family: NftFamily): readonly string[] {
  const table = `${family} ${tableName}`;
  return inTransactions([
    // Chains refer to one another.
    ...chains.map((name) => `flush chain ${table} ${name}\n`),
    ...chains.map((name) => `delete chain ${table} ${name}\n`),
    ...maps.map((name) => `delete map ${table} ${name}\n`),
    ...sets.map((name) => `delete set ${table} ${name}\n`),
  ]);
}

/** Empties them first, so that none refers to another. */
export function renderFlushes({ chains, sets, maps }: Leftovers, family: NftFamily): readonly string[] {
  const table = `${family} ${tableName}`;
  return inTransactions([
    ...chains.map((name) => `flush chain ${table} ${name}\n`),
    ...maps.map((name) => `flush map ${table} ${name}\n`),
    ...sets.map((name) => `flush set ${table} ${name}\n`),
  ]);
}

/** Adding a table that exists changes nothing, so that the deletion never fails. */
export function renderTableRemoval(family: NftFamily, table: TableName): string {
  return `add table ${family} ${table}\ndelete table ${family} ${table}`;
}

export function renderRemoval(family: NftFamily): string {
  return ([tableName, standInName] as const).map((table) => `${renderTableRemoval(family, table)}\n`).join('');
}
