/** Chains of ours in the tables nat and filter, as data: the difference of two pictures and its iptables-restore text. Pure. */
export const tables = ['filter', 'nat'] as const;
export type TableName = (typeof tables)[number];

export interface Hook {
  /** A built-in chain: PREROUTING, INPUT ... */
  readonly chain: string;
  /** As iptables-save prints it, without "-A CHAIN". */
  readonly rule: string;
}

export interface TablePicture {
  /** Rules in order, one a line, without "-A NAME". */
  readonly chains: ReadonlyMap<string, string>;
  /** Chains whose rules may be in any order, each under a key: they change rule by rule, however long they are. */
  readonly lists: ReadonlyMap<string, ReadonlyMap<string, string>>;
  /** What leads into them. */
  readonly hooks: readonly Hook[];
}

export type Picture = Readonly<Record<TableName, TablePicture>>;

export interface TableChange {
  /** New ones and those whose rules differ. */
  readonly chains: ReadonlyMap<string, string>;
  readonly staleChains: readonly string[];
  /** "CHAIN rule" */
  readonly addedRules: readonly string[];
  readonly removedRules: readonly string[];
  /** Rules and chains added or removed. */
  readonly size: number;
}

const linesOf = (text: string | undefined): string[] => (text === undefined || text === '' ? [] : text.split('\n'));

/** How many rules are in one and not in the other. */
function ruleDifference(before: string | undefined, after: string): number {
  const rest = new Map<string, number>();
  for (const line of linesOf(before)) rest.set(line, (rest.get(line) ?? 0) + 1);
  let added = 0;
  for (const line of linesOf(after)) {
    const left = rest.get(line) ?? 0;
    if (left === 0) added += 1;
    else rest.set(line, left - 1);
  }
  const removed = [...rest.values()].reduce((sum, count) => sum + count, 0);
  // The same rules in another order are a change too.
  return Math.max(1, added + removed);
}

export function tableDifference(before: TablePicture, after: TablePicture): TableChange {
  const chains = new Map<string, string>();
  const staleChains: string[] = [];
  const addedRules: string[] = [];
  const removedRules: string[] = [];
  let size = 0;
  if (before === after) return { chains, staleChains, addedRules, removedRules, size };
  for (const [name, rules] of after.chains) {
    const old = before.chains.get(name);
    if (old === rules) continue;
    chains.set(name, rules);
    size += (old === undefined ? 1 : 0) + ruleDifference(old, rules);
  }
  for (const [name, rules] of before.chains) {
    if (after.chains.has(name)) continue;
    staleChains.push(name);
    size += 1 + linesOf(rules).length;
  }
  for (const [name, list] of after.lists) {
    const old = before.lists.get(name);
    if (old === list) continue;
    for (const [key, rule] of list) if (old?.get(key) !== rule) addedRules.push(`${name} ${rule}`);
    for (const [key, rule] of old ?? []) if (list.get(key) !== rule) removedRules.push(`${name} ${rule}`);
  }
  size += addedRules.length + removedRules.length;
  return { chains, staleChains, addedRules, removedRules, size };
}

const section = (table: TableName, lines: readonly string[]): string =>
  lines.length === 0 ? '' : `*${table}\n${lines.join('\n')}\nCOMMIT\n`;

function chainLines(chains: ReadonlyMap<string, string>): string[] {
  // Declaring a chain makes or empties it; all first, since rules lead from one to another.
  const lines = [...chains.keys()].map((name) => `:${name} - [0:0]`);
  for (const [name, rules] of chains) for (const rule of linesOf(rules)) lines.push(`-A ${name} ${rule}`);
  return lines;
}

const removalLines = (names: readonly string[]): string[] => [
  ...names.map((name) => `:${name} - [0:0]`),
  ...names.map((name) => `-X ${name}`),
];

/** New and changed chains and rules. */
export function additionsText(table: TableName, change: TableChange): string {
  return section(table, [...chainLines(change.chains), ...change.addedRules.map((rule) => `-I ${rule}`)]);
}

export function removalsText(table: TableName, change: TableChange): string {
  return section(table, [...change.removedRules.map((rule) => `-D ${rule}`), ...removalLines(change.staleChains)]);
}

export function changeText(table: TableName, change: TableChange): string {
  return section(table, [
    ...chainLines(change.chains),
    ...change.addedRules.map((rule) => `-I ${rule}`),
    ...change.removedRules.map((rule) => `-D ${rule}`),
    ...removalLines(change.staleChains),
  ]);
}

/** What iptables-save shows of ours in one table. */
export interface Found {
  /** Number of rules by chain. */
  readonly chains: ReadonlyMap<string, number>;
  readonly hooks: readonly Hook[];
}

/** `prefix` begins the name of every chain of ours. */
export function readSave(text: string, table: TableName, prefix: string): Found {
  const chains = new Map<string, number>();
  const hooks: Hook[] = [];
  let isInside = false;
  for (const line of text.split('\n')) {
    if (line.startsWith('*')) isInside = line === `*${table}`;
    if (!isInside) continue;
    if (line.startsWith(`:${prefix}`)) chains.set(line.slice(1).split(' ', 1)[0] ?? '', 0);
    if (!line.startsWith('-A ')) continue;
    const [, chain = ''] = line.split(' ', 2);
    if (chain.startsWith(prefix)) chains.set(chain, (chains.get(chain) ?? 0) + 1);
    else if (new RegExp(`(-j|-g) ${prefix}`).test(line))
      hooks.push({ chain, rule: line.slice(`-A ${chain} `.length).trim() });
  }
  return { chains, hooks };
}

/** A chain of notes of ours; `rules` undefined: leave the one that is there. */
export interface MadeChain {
  readonly name: string;
  readonly rules: string | undefined;
}

const isSame = (one: Hook) => (other: Hook) => one.chain === other.chain && one.rule === other.rule;

/** Makes the table what `picture` says, whatever of ours is there: in one section, so that no packet meets a gap. */
export function rebuildText(table: TableName, picture: TablePicture, found: Found, made: MadeChain): string {
  const chains = new Map(picture.chains);
  if (made.rules !== undefined) chains.set(made.name, made.rules);
  for (const [name, list] of picture.lists) chains.set(name, [...list.values()].join('\n'));
  const lines = chainLines(chains);
  // A hook that is there stays where it is: its place among the rules of others is not ours to change.
  const isRight = (hook: Hook): boolean => found.hooks.filter(isSame(hook)).length === 1;
  for (const hook of found.hooks)
    if (!picture.hooks.some(isSame(hook)) || !isRight(hook)) lines.push(`-D ${hook.chain} ${hook.rule}`);
  for (const hook of [...picture.hooks].reverse()) if (!isRight(hook)) lines.push(`-I ${hook.chain} ${hook.rule}`);
  const stale = [...found.chains.keys()].filter((name) => !chains.has(name) && name !== made.name);
  lines.push(...removalLines(stale));
  return section(table, lines);
}

/** Takes all of ours out of the table. Empty when nothing is there. */
export function removalText(table: TableName, found: Found): string {
  return section(table, [
    ...found.hooks.map(({ chain, rule }) => `-D ${chain} ${rule}`),
    ...removalLines([...found.chains.keys()]),
  ]);
}

/** Whether hooks and chains are there with as many rules as they should have. */
export function isWhole(picture: TablePicture, found: Found, made: string): boolean {
  const expected = new Map<string, number>();
  for (const [name, rules] of picture.chains) expected.set(name, linesOf(rules).length);
  for (const [name, list] of picture.lists) expected.set(name, list.size);
  return (
    picture.hooks.every((hook) => found.hooks.some(isSame(hook))) &&
    [...expected].every(([name, count]) => found.chains.get(name) === count) &&
    [...found.chains.keys()].every((name) => expected.has(name) || name === made)
  );
}

export function pictureSize(picture: Picture): number {
  let size = 0;
  for (const table of tables) {
    const { chains, lists, hooks } = picture[table];
    size += hooks.length + chains.size + lists.size;
    for (const rules of chains.values()) size += linesOf(rules).length;
    for (const list of lists.values()) size += list.size;
  }
  return size;
}
