/**
 * Runs iptables-restore and iptables-save (Debian package iptables) of one address family and one back end. A table's
 * section in a restore is one kernel transaction: all of it or nothing.
 *
 * Two back ends share the commands' names: `nft` keeps the rules in nftables, `legacy` in the kernel's older tables. Rules
 * in both at once meet packets twice and in an order nobody sees, so all of ours go to the one that the host uses.
 */
import { accessSync, closeSync, constants, existsSync, openSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { isPintleError, PintleError } from '../../kernel/contract/index.ts';
import { commandFailed, runHostCommand, type CommandResult } from './host-command.ts';
import { withScratchNetns } from './namespaces.ts';
import type { IpFamily } from './service-addresses.ts';

export type IptablesBackend = 'nft' | 'legacy';

export interface IptablesOptions {
  readonly family: IpFamily;
  readonly backend: IptablesBackend;
  readonly netns?: string | undefined;
  /** Used by the legacy back end when /run/xtables.lock cannot be written. */
  readonly lockFile?: string | undefined;
  /** Told the netlink port of the process that will make the changes, before it makes them. */
  readonly onPort?: ((port: number) => void) | undefined;
}

export interface Iptables {
  /** Applies the sections in `text`, each whole; all chains that it does not name stay. */
  restore(text: string): Promise<void>;
  /** The rules of a table as iptables-save prints them; of all tables in use when `table` is undefined. */
  save(table?: string): Promise<string>;
}

const systemLock = '/run/xtables.lock';
/** Somebody who holds the lock longer than this has hung. */
const lockSeconds = 5;

function folders(): string[] {
  // The system's folders come first: an ordinary user's PATH lacks sbin.
  const path = (process.env['PATH'] ?? '').split(':').filter((folder) => folder.startsWith('/'));
  return [...new Set(['/usr/local/sbin', '/usr/sbin', '/sbin', ...path])];
}

const familyPrefix = (family: IpFamily): string => (family === 'ip' ? 'iptables' : 'ip6tables');

/** `iptables-nft` and the like; some systems have only the one under the plain name. */
function commandOf(family: IpFamily, backend: IptablesBackend, verb: 'restore' | 'save'): string | undefined {
  const name = `${familyPrefix(family)}-${backend}-${verb}`;
  return folders()
    .map((folder) => join(folder, name))
    .find((file) => existsSync(file));
}

/** Back ends whose commands for all `families` are installed. */
export function installedBackends(families: readonly IpFamily[]): IptablesBackend[] {
  return (['nft', 'legacy'] as const).filter((backend) =>
    families.every(
      (family) =>
        commandOf(family, backend, 'restore') !== undefined && commandOf(family, backend, 'save') !== undefined,
    ),
  );
}

/** The one that the plain command `iptables` stands for on this host. */
export async function defaultBackend(): Promise<IptablesBackend> {
  const { stdout } = await run(['iptables', '--version'], '', {});
  return stdout.includes('nf_tables') ? 'nft' : 'legacy';
}

export function openIptables(options: IptablesOptions): Iptables {
  const { family, backend } = options;
  const command = (verb: 'restore' | 'save'): string => {
    const found = commandOf(family, backend, verb);
    if (found !== undefined) return found;
    throw new PintleError(
      'HOST_COMMAND_FAILED',
      `${familyPrefix(family)}-${backend}-${verb} is missing: expected the package iptables; apt-get install iptables`,
      { details: { argv: [`${familyPrefix(family)}-${backend}-${verb}`], exitCode: -1, stderr: '' } },
    );
  };
  return {
    async restore(text) {
      if (text === '') return;
      const argv = [command('restore'), '--noflush', '-w', String(lockSeconds)];
      const result = await run(argv, text, options);
      if (result.exitCode !== 0) throw failed(argv, result, text);
    },
    async save(table) {
      const argv = [command('save'), ...(table === undefined ? [] : ['-t', table])];
      const result = await run(argv, '', options);
      if (result.exitCode !== 0) throw failed(argv, result);
      return result.stdout;
    },
  };
}

/** The legacy tools insist on a lock. In a user namespace the system's is not ours to write: then a private one. */
function environment({ lockFile }: Pick<IptablesOptions, 'lockFile'>): NodeJS.ProcessEnv {
  const env = { ...process.env, LC_ALL: 'C', PATH: folders().join(':') };
  if (lockFile === undefined || process.env['XTABLES_LOCKFILE'] !== undefined || isWritable(systemLock)) return env;
  return { ...env, XTABLES_LOCKFILE: lockFile };
}

function isWritable(file: string): boolean {
  try {
    accessSync(existsSync(file) ? file : dirname(file), constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

function run(
  argv: readonly string[],
  input: string,
  options: Pick<IptablesOptions, 'netns' | 'lockFile' | 'onPort'>,
): Promise<CommandResult> {
  const { netns, onPort } = options;
  return runHostCommand({ argv, input, env: environment(options), cure: 'apt-get install iptables', netns, onPort });
}

const failed = (argv: readonly string[], result: CommandResult, text = ''): PintleError =>
  commandFailed(argv, result, /line:? (\d+)/, text);

/**
 * Lines that belong in one section. The nft back end keeps the chains of a section in a sorted list, so its time grows with
 * the square of them (10,000 Services: 31 s in one section, 2.4 s of CPU in sections of 1,000 lines). Also, a section is one
 * netlink message, which in a user namespace may be no longer than the socket's ordinary buffer (208 KiB; "Message too
 * long").
 */
export function sectionLines(backend: IptablesBackend): number {
  if (backend === 'legacy') return Number.POSITIVE_INFINITY;
  return isInitialUserNamespace() ? 1_000 : 300;
}

function isInitialUserNamespace(): boolean {
  return /^\s*0\s+0\s+4294967295\s*$/.test(readFileSync('/proc/self/uid_map', 'utf8'));
}

export interface BackendChoice {
  readonly backend: IptablesBackend;
  /** For people: why this one. */
  readonly why: string;
  /** The other one holds rules of ours, which must go. */
  readonly other: IptablesBackend | undefined;
}

/**
 * The back end that this host uses: where our own rules already are, else where most rules of others are, else the one that
 * `iptables` stands for, if the kernel takes it. Makes no table here.
 */
export async function chooseBackend(
  families: readonly IpFamily[],
  prefix: string,
  wanted: IptablesBackend | 'auto',
  options: Pick<IptablesOptions, 'netns' | 'lockFile'> = {},
): Promise<BackendChoice> {
  const installed = installedBackends(families);
  const counts = new Map<IptablesBackend, { own: number; foreign: number }>();
  for (const backend of installed) {
    const count = { own: 0, foreign: 0 };
    for (const family of families) {
      const lines = (await saveIfReadable({ ...options, family, backend })).split('\n');
      const rules = lines.filter((line) => line.startsWith('-A '));
      count.own += lines.filter((line) => line.includes(prefix)).length;
      count.foreign += rules.filter((line) => !line.includes(prefix)).length;
    }
    counts.set(backend, count);
  }
  const [only] = installed;
  if (only === undefined || (wanted !== 'auto' && !installed.includes(wanted)))
    throw new PintleError(
      'HOST_COMMAND_FAILED',
      `Commands of the ${wanted === 'auto' ? '' : `${wanted} `}iptables back end are missing: expected iptables-${wanted === 'auto' ? 'nft' : wanted}-restore; apt-get install iptables`,
      { details: { argv: ['iptables-restore'], exitCode: -1, stderr: '' } },
    );
  const pick = (backend: IptablesBackend, why: string): BackendChoice => {
    const rest = installed.find((each) => each !== backend);
    return { backend, why, other: rest !== undefined && (counts.get(rest)?.own ?? 0) > 0 ? rest : undefined };
  };
  if (wanted !== 'auto') return pick(wanted, 'as configured');
  if (installed.length === 1) return pick(only, 'the only one installed');
  const most = (of: 'own' | 'foreign'): IptablesBackend | undefined => {
    const [nft, legacy] = [counts.get('nft')?.[of] ?? 0, counts.get('legacy')?.[of] ?? 0];
    return nft === legacy ? undefined : nft > legacy ? 'nft' : 'legacy';
  };
  const used = most('foreign');
  if (used !== undefined) return pick(used, 'rules of others are there');
  const own = most('own');
  if (own !== undefined) return pick(own, 'rules of ours are there');
  if ((await defaultBackend()) === 'legacy') return pick('legacy', 'what the command iptables stands for');
  if (await takesNft(families, options)) return pick('nft', 'what the command iptables stands for');
  return pick('legacy', 'the command iptables stands for nft, which this kernel does not take');
}

/** Whether the kernel takes a chain by the nft back end: tried in a network namespace that vanishes. */
async function takesNft(families: readonly IpFamily[], options: Pick<IptablesOptions, 'lockFile'>): Promise<boolean> {
  const fd = withScratchNetns((path) => openSync(path, 'r'));
  try {
    for (const family of families)
      await openIptables({ ...options, family, backend: 'nft', netns: `/proc/self/fd/${fd}` }).restore(
        '*filter\n:PINTLE-TRIAL - [0:0]\nCOMMIT\n',
      );
    return true;
  } catch (error) {
    if (!isPintleError(error, 'HOST_COMMAND_FAILED')) throw error;
    return false;
  } finally {
    closeSync(fd);
  }
}

async function saveIfReadable(options: IptablesOptions): Promise<string> {
  try {
    return await openIptables(options).save();
  } catch (error) {
    // In a user namespace the list of legacy tables is not readable; such a network namespace is hardly ever shared.
    if (isPintleError(error, 'HOST_COMMAND_FAILED')) return '';
    throw error;
  }
}
