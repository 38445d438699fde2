/**
 * The chains of one owner in some tables (nat and filter, unless told otherwise) of one address family and one iptables back end, and the in-memory
 * picture of them. Owns every chain whose name begins with its prefix and the rules that lead into those; touches no other.
 * Reads the tables only when it begins and after somebody else changed them.
 */
import { isPintleError } from '../../kernel/contract/index.ts';
import { openIptables, sectionLines, type Iptables, type IptablesOptions } from './iptables.ts';
import {
  changeText,
  emptyTable,
  isWhole,
  readSave,
  rebuild,
  removalText,
  tableDifference,
  type Found,
  type MadeChain,
  type Picture,
  type TableName,
} from './iptables-picture.ts';
import { deleteEmptyTable, nftChains } from './nf-tables.ts';
import type { IpFamily } from './service-addresses.ts';
import { tableLayout } from './xtables-info.ts';

const nothingFound: Found = { chains: new Map(), hooks: [] };

export class OwnedChains {
  readonly family: IpFamily;
  readonly #options: IptablesOptions;
  readonly #prefix: string;
  readonly #iptables: Iptables;
  /** Its rules name what was not there before us: built-in chains and tables that the nft back end made. */
  readonly #made: string;
  readonly #tables: readonly TableName[];
  readonly #limit: number;
  #picture: Picture | undefined;
  #isInDoubt = false;
  #damages = 0;
  #layouts = '';

  constructor(prefix: string, options: IptablesOptions & { readonly tables?: readonly TableName[] }) {
    this.family = options.family;
    this.#prefix = prefix;
    this.#options = options;
    this.#tables = options.tables ?? ['filter', 'nat'];
    this.#iptables = openIptables(options);
    this.#limit = sectionLines(options.backend);
    this.#made = `${prefix}MADE`;
  }

  /** The kernel has what was applied last. False until then, after damage and after a failure. */
  get isSound(): boolean {
    return this.#picture !== undefined;
  }

  /** Somebody else changed our chains: the next `apply` builds all anew. */
  markDamaged(): void {
    this.#damages += 1;
    this.#picture = undefined;
  }

  /** Perhaps somebody did: `check` reads the tables. */
  markInDoubt(): void {
    this.#isInDoubt = true;
  }

  async check(): Promise<void> {
    if (!this.#isInDoubt) return;
    this.#isInDoubt = false;
    if (this.isSound && !(await this.#isWhole())) this.markDamaged();
  }

  /** All rules of the tables as iptables-save prints them, for a reader. */
  text(): Promise<string> {
    return this.#iptables.save();
  }

  /** Brings the kernel to `desired`. Returns how many rules and chains were added or removed. */
  async apply(desired: Picture): Promise<number> {
    const current = this.#picture;
    const damages = this.#damages;
    if (current === undefined) return this.#rebuild(desired);
    const filter = tableDifference(current.filter, desired.filter);
    const nat = tableDifference(current.nat, desired.nat);
    const mangle = tableDifference(current.mangle ?? emptyTable, desired.mangle ?? emptyTable);
    const changed = filter.size + nat.size + mangle.size;
    if (changed === 0) return 0;
    // Until all is in, the picture is not what the kernel has.
    this.#picture = undefined;
    // The filter judges what nat leaves untranslated: it gains rules before nat loses any, and loses them after nat gains.
    const limit = this.#limit;
    await this.#iptables.restore(
      changeText('mangle', mangle, limit) +
        changeText('filter', filter, limit, 'additions') +
        changeText('nat', nat, limit) +
        changeText('filter', filter, limit, 'removals'),
    );
    this.#settle(desired, damages);
    return changed;
  }

  async #rebuild(desired: Picture): Promise<number> {
    const damages = this.#damages;
    const before = await this.#find();
    const parts = this.#tables.map((table) => {
      const found = before.get(table) ?? nothingFound;
      return { table, change: rebuild(desired[table] ?? emptyTable, found, this.#madeChain(table, desired, found)) };
    });
    await this.#iptables.restore(parts.map(({ table, change }) => changeText(table, change, this.#limit)).join(''));
    this.#settle(desired, damages);
    return parts.reduce((sum, { change }) => sum + change.size, 0);
  }

  /** Damage that was told of during the write may have come after it. */
  #settle(desired: Picture, damages: number): void {
    this.#layouts = this.#layout();
    if (damages === this.#damages) this.#picture = desired;
  }

  /** Removes all of ours, whoever made it, and what the nft back end made for us if nobody else uses it. */
  async remove(): Promise<void> {
    this.#picture = undefined;
    const found = [...(await this.#find())].filter(([, { chains, hooks }]) => chains.size > 0 || hooks.length > 0);
    const made = found.map(([table, { chains }]) => ({ table, names: madeNames(chains.get(this.#made) ?? []) }));
    await this.#iptables.restore(found.map(([table, ours]) => removalText(table, ours, this.#limit)).join(''));
    const chains = made.map(({ table, names }) => ({ table, names: names.filter((name) => name !== 'table') }));
    const all = chains.filter(({ names }) => names.length > 0).map(({ table, names }) => deletion(table, ...names));
    // Refused when one is in use by others: then each for itself.
    if (!(await this.#isDone(all.join(''))))
      for (const { table, names } of chains) for (const name of names) await this.#isDone(deletion(table, name));
    for (const { table, names } of made)
      if (names.includes('table')) deleteEmptyTable(this.#options.family, table, this.#options);
  }

  /** A cheap look (legacy back end only): whether somebody added or removed rules since our last write. */
  looksTouched(): boolean {
    return this.#picture !== undefined && this.#layout() !== this.#layouts;
  }

  /** Reads the tables; when others changed only what is theirs, that is the new state of rest. */
  async #isWhole(): Promise<boolean> {
    const picture = this.#picture;
    if (picture === undefined) return false;
    const layouts = this.#layout();
    const found = await this.#find();
    const whole = [...found].every(([table, ours]) => isWhole(picture[table] ?? emptyTable, ours, this.#made));
    if (whole && this.#picture === picture) this.#layouts = layouts;
    return whole;
  }

  #layout(): string {
    if (this.#options.backend !== 'legacy') return '';
    return this.#tables.map((table) => tableLayout(this.#options.family, table, this.#options)).join();
  }

  /** A process takes longer to start than to list one table more. The legacy commands list all only where they may. */
  async #find(): Promise<ReadonlyMap<TableName, Found>> {
    const all = this.#options.backend === 'nft' ? await this.#iptables.save() : undefined;
    const found = new Map<TableName, Found>();
    for (const table of this.#tables)
      found.set(table, readSave(all ?? (await this.#iptables.save(table)), table, this.#prefix));
    return found;
  }

  /** What the nft back end will have to make in `table`; nothing when a predecessor noted it already. */
  #madeChain(table: TableName, desired: Picture, found: Found): MadeChain {
    const name = this.#made;
    if (this.#options.backend === 'legacy' || found.chains.has(name)) return { name, rules: undefined };
    const present = nftChains(this.#options.family, table, this.#options);
    const needed = new Set((desired[table] ?? emptyTable).hooks.map(({ chain }) => chain));
    const made = [...needed].filter((chain) => present?.includes(chain) !== true);
    if (present === undefined) made.push('table');
    return { name, rules: made.map((each) => `-m comment --comment ${each}`).join('\n') };
  }

  /** False when it was refused. */
  async #isDone(text: string): Promise<boolean> {
    try {
      await this.#iptables.restore(text);
      return true;
    } catch (error) {
      if (!isPintleError(error, 'HOST_COMMAND_FAILED')) throw error;
      return false;
    }
  }
}

/** The names that the rules of a chain of notes say. */
const madeNames = (rules: readonly string[]): string[] =>
  rules.flatMap((rule) => /^-m comment --comment "?([A-Za-z]+)"?/.exec(rule)?.[1] ?? []);

const deletion = (table: TableName, ...chains: readonly string[]): string =>
  `*${table}\n${chains.map((chain) => `-X ${chain}\n`).join('')}COMMIT\n`;
