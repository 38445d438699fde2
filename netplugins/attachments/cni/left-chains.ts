/**
 * What CNI's plugin portmap never removes: its first chain in table nat, the jumps to it, and with iptables' nft back end the
 * table itself with its built-in chains. Owns one file that says what of it was there before the first call of this boot.
 */
import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { isPintleError } from '../../../kernel/contract/index.ts';
import { defaultBackend, openIptables, type IptablesBackend, type IptablesOptions } from '../../linux/iptables.ts';
import { deleteEmptyTable, nftChains } from '../../linux/nf-tables.ts';
import { OwnedChains } from '../../linux/owned-chains.ts';
import type { IpFamily } from '../../linux/service-addresses.ts';

const families: readonly IpFamily[] = ['ip', 'ip6'];
const prefix = 'CNI-HOSTPORT-';
const builtIn = ['PREROUTING', 'INPUT', 'OUTPUT', 'POSTROUTING'];

/** Chains of table nat; null: there was no such table. */
type Found = Readonly<Record<IpFamily, readonly string[] | null>>;

export interface LeftChainsOptions {
  readonly file: string;
  readonly bootId: string;
  readonly lockFile: string;
  readonly netns?: string | undefined;
}

export class LeftChains {
  readonly #options: LeftChainsOptions;
  #backend: IptablesBackend | undefined;

  constructor(options: LeftChainsOptions) {
    this.#options = options;
  }

  /** To be called before any executable runs. */
  note(): void {
    if (this.#before() !== undefined) return;
    const { file, bootId } = this.#options;
    const chains = (family: IpFamily): readonly string[] | null => nftChains(family, 'nat', this.#options) ?? null;
    const found: Found = { ip: chains('ip'), ip6: chains('ip6') };
    writeFileSync(`${file}.new`, JSON.stringify({ bootId, found }), { mode: 0o600 });
    renameSync(`${file}.new`, file);
  }

  /** Removes what nobody uses. Only while no attachment has host ports, and none is being given any. */
  async clear(): Promise<void> {
    const before = this.#before();
    if (before === undefined) return;
    for (const family of families) {
      if ((await this.#backendOf()) === 'nft' && this.#isAsBefore(family, before)) continue;
      await this.#clearFamily(family, before[family]);
    }
  }

  /** What is in a table now, as iptables-save tells it. */
  async save(family: IpFamily, table: 'nat' | 'filter'): Promise<string> {
    const { netns, lockFile } = this.#options;
    return openIptables({ family, backend: await this.#backendOf(), netns, lockFile }).save(table);
  }

  forget(): void {
    rmSync(this.#options.file, { force: true });
  }

  #isAsBefore(family: IpFamily, before: Found): boolean {
    const now = nftChains(family, 'nat', this.#options);
    return now === undefined || (before[family] !== null && now.every((name) => before[family]?.includes(name)));
  }

  async #clearFamily(family: IpFamily, before: readonly string[] | null): Promise<void> {
    const backend = await this.#backendOf();
    const { netns, lockFile } = this.#options;
    const options: IptablesOptions = { family, backend, netns, lockFile };
    const text = await openIptables(options).save('nat');
    // Somebody else's host ports.
    if (/^-A CNI-HOSTPORT-DNAT |^:CNI-DN-/m.test(text) || before?.includes('CNI-HOSTPORT-DNAT') === true) return;
    if (text.includes(prefix)) await new OwnedChains(prefix, { ...options, tables: ['nat'] }).remove();
    if (backend !== 'nft') return;
    const rest = await openIptables(options).save('nat');
    for (const name of nftChains(family, 'nat', this.#options) ?? []) {
      const isIdle = builtIn.includes(name) && !rest.includes(`\n-A ${name} `) && rest.includes(`\n:${name} ACCEPT`);
      if (isIdle && before?.includes(name) !== true) await deleteChain(options, name);
    }
    if (before === null) deleteEmptyTable(family, 'nat', this.#options);
  }

  async #backendOf(): Promise<IptablesBackend> {
    return (this.#backend ??= await defaultBackend());
  }

  #before(): Found | undefined {
    try {
      const record = JSON.parse(readFileSync(this.#options.file, 'utf8')) as { bootId: string; found: Found };
      return record.bootId === this.#options.bootId ? record.found : undefined;
    } catch {
      return undefined;
    }
  }
}

/** Refused when somebody has begun to use it: then it stays. */
async function deleteChain(options: IptablesOptions, name: string): Promise<void> {
  try {
    await openIptables(options).restore(`*nat\n-X ${name}\nCOMMIT\n`);
  } catch (error) {
    if (!isPintleError(error, 'HOST_COMMAND_FAILED')) throw error;
  }
}
