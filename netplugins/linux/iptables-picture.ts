/** Chains of ours in tables, as data: the difference of two pictures and its iptables-restore text. Pure. */
export const tables = ['mangle', 'filter', 'nat'] as const;
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

/** A table that is not in it has no chains of ours. */
export type Picture = Readonly<Record<'filter' | 'nat', TablePicture> & Partial<Record<TableName, TablePicture>>>;

export const emptyTable: TablePicture = { chains: new Map(), lists: new Map(), hooks: [] };

/** In the order in which it is safe: packets meet the old rules or the new ones between any two steps. */
export interface TableChange {
  /** Chains to be made. */
  readonly made: readonly string[];
  /** Rules of new chains and of those whose rules differ. */
  readonly chains: ReadonlyMap<string, string>;
  /** "CHAIN rule" */
  readonly addedRules: readonly string[];
  /** Whole commands. */
  readonly hooks: readonly string[];
  readonly removedRules: readonly string[];
  readonly staleChains: readonly string[];
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

interface ListChange {
  readonly added: readonly string[];
  readonly removed: readonly string[];
  /** The whole chain, where that is less work. */
  readonly whole: string | undefined;
}

/** Looking for many rules to delete is slow; a short list is sent as a whole then. */
function listChange(before: readonly string[], after: readonly string[]): ListChange {
  const missing = new Set(after);
  const wanted = missing.size;
  const removed = before.filter((rule) => !missing.delete(rule));
  const isBetterWhole = removed.length > 64 && removed.length > wanted && wanted < shortList;
  return { added: [...missing], removed, whole: isBetterWhole ? after.join('\n') : undefined };
}

const shortList = 200;

export function tableDifference(before: TablePicture, after: TablePicture): TableChange {
  const made: string[] = [];
  const chains = new Map<string, string>();
  const staleChains: string[] = [];
  const addedRules: string[] = [];
  const removedRules: string[] = [];
  let size = 0;
  if (before === after) return { made, chains, addedRules, hooks: [], removedRules, staleChains, size };
  for (const [name, rules] of after.chains) {
    const old = before.chains.get(name);
    if (old === rules) continue;
    if (old === undefined) made.push(name);
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
    const { added, removed, whole } = listChange([...(old?.values() ?? [])], [...list.values()]);
    size += added.length + removed.length;
    if (whole !== undefined) chains.set(name, whole);
    else {
      for (const rule of added) addedRules.push(`${name} ${rule}`);
      for (const rule of removed) removedRules.push(`${name} ${rule}`);
    }
  }
  return { made, chains, addedRules, hooks: [], removedRules, staleChains, size };
}

/** Groups of lines that belong into one section each, put together to sections of about `limit` lines. */
function sections(table: TableName, groups: Iterable<readonly string[]>, limit: number): string {
  let text = '';
  let lines: string[] = [];
  const flush = (): void => {
    if (lines.length > 0) text += `*${table}\n${lines.join('\n')}\nCOMMIT\n`;
    lines = [];
  };
  for (const group of groups) {
    if (lines.length > 0 && lines.length + group.length > limit) flush();
    for (const line of group) lines.push(line);
  }
  flush();
  return text;
}

const declare = (name: string): string => `:${name} - [0:0]`;

function* additions(change: TableChange): Generator<readonly string[]> {
  for (const name of change.made) yield [declare(name)];
  const made = new Set(change.made);
  for (const [name, rules] of change.chains) {
    const lines = linesOf(rules).map((rule) => `-A ${name} ${rule}`);
    // A chain that is in use is emptied and filled in one step.
    if (made.has(name)) for (const line of lines) yield [line];
    else yield [declare(name), ...lines];
  }
  for (const rule of change.addedRules) yield [`-A ${rule}`];
}

function* removals(change: TableChange): Generator<readonly string[]> {
  for (const rule of change.removedRules) yield [`-D ${rule}`];
  for (const name of change.staleChains) yield [declare(name)];
  for (const name of change.staleChains) yield [`-X ${name}`];
}

/**
 * The text of iptables-restore for one table. `limit`: lines in one section, which is one step for the kernel; what is
 * shorter is one step altogether.
 */
export function changeText(
  table: TableName,
  change: TableChange,
  limit: number,
  part: 'all' | 'additions' | 'removals' = 'all',
): string {
  return sections(table, groupsOf(change, part), limit);
}

/** Handed on one by one: as arguments of one call they are too many for the stack from about 100,000 lines on. */
function* groupsOf(change: TableChange, part: 'all' | 'additions' | 'removals'): Generator<readonly string[]> {
  if (part !== 'removals') {
    yield* additions(change);
    if (change.hooks.length > 0) yield change.hooks;
  }
  if (part !== 'additions') yield* removals(change);
}

/** What iptables-save shows of ours in one table. */
export interface Found {
  /** Rules by chain. */
  readonly chains: ReadonlyMap<string, readonly string[]>;
  readonly hooks: readonly Hook[];
}

/** `prefix` begins the name of every chain of ours. */
export function readSave(text: string, table: TableName, prefix: string): Found {
  const chains = new Map<string, string[]>();
  const hooks: Hook[] = [];
  let isInside = false;
  for (const line of text.split('\n')) {
    if (line.startsWith('*')) isInside = line === `*${table}`;
    if (!isInside) continue;
    if (line.startsWith(`:${prefix}`)) chains.set(line.slice(1).split(' ', 1)[0] ?? '', []);
    if (!line.startsWith('-A ')) continue;
    const [, chain = ''] = line.split(' ', 2);
    if (chain.startsWith(prefix)) chains.get(chain)?.push(line.slice(`-A ${chain} `.length).trimEnd());
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

/**
 * Makes the table what `picture` says, whatever of ours is there. What is right already stays untouched: sending a large
 * table anew costs the nft back end half a minute.
 */
export function rebuild(picture: TablePicture, found: Found, notes: MadeChain): TableChange {
  const made: string[] = [];
  const chains = new Map<string, string>();
  const addedRules: string[] = [];
  const removedRules: string[] = [];
  const hooks: string[] = [];
  let size = 0;
  const wanted = new Set([...picture.chains.keys(), ...picture.lists.keys(), notes.name]);
  const noted = notes.rules === undefined ? [] : [[notes.name, notes.rules] as const];
  for (const [name, rules] of [...picture.chains, ...noted]) {
    const old = found.chains.get(name)?.join('\n');
    if (old === rules) continue;
    if (old === undefined) made.push(name);
    chains.set(name, rules);
    size += (old === undefined ? 1 : 0) + ruleDifference(old, rules);
  }
  for (const [name, list] of picture.lists) {
    const old = found.chains.get(name);
    if (old === undefined) made.push(name);
    const { added, removed, whole } = listChange(old ?? [], [...list.values()]);
    size += added.length + removed.length + (old === undefined ? 1 : 0);
    if (whole !== undefined) chains.set(name, whole);
    else {
      for (const rule of added) addedRules.push(`${name} ${rule}`);
      for (const rule of removed) removedRules.push(`${name} ${rule}`);
    }
  }
  // A hook that is there stays where it is: its place among the rules of others is not ours to change.
  const isRight = (hook: Hook): boolean => found.hooks.filter(isSame(hook)).length === 1;
  for (const hook of found.hooks)
    if (!picture.hooks.some(isSame(hook)) || !isRight(hook)) hooks.push(`-D ${hook.chain} ${hook.rule}`);
  for (const hook of [...picture.hooks].reverse()) if (!isRight(hook)) hooks.push(`-I ${hook.chain} ${hook.rule}`);
  const staleChains = [...found.chains.keys()].filter((name) => !wanted.has(name));
  size += hooks.length;
  for (const name of staleChains) size += 1 + (found.chains.get(name)?.length ?? 0);
  return { made, chains, addedRules, hooks, removedRules, staleChains, size };
}

/** Takes all of ours out of the table. Empty when nothing is there. */
export function removalText(table: TableName, found: Found, limit: number): string {
  const nothing = { made: [], chains: new Map(), addedRules: [], removedRules: [], size: 0 };
  const hooks = found.hooks.map(({ chain, rule }) => `-D ${chain} ${rule}`);
  return changeText(table, { ...nothing, hooks, staleChains: [...found.chains.keys()] }, limit);
}

/** Whether hooks and chains are there with as many rules as they should have. */
export function isWhole(picture: TablePicture, found: Found, made: string): boolean {
  const expected = new Map<string, number>();
  for (const [name, rules] of picture.chains) expected.set(name, linesOf(rules).length);
  for (const [name, list] of picture.lists) expected.set(name, list.size);
  return (
    picture.hooks.every((hook) => found.hooks.some(isSame(hook))) &&
    [...expected].every(([name, count]) => found.chains.get(name)?.length === count) &&
    [...found.chains.keys()].every((name) => expected.has(name) || name === made)
  );
}
