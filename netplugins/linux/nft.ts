/**
 * Runs the `nft` command (Debian package nftables): transactions as text on its standard input, listings as JSON. One
 * call of `nftTransaction` is one kernel transaction: all of it or nothing.
 */
import type { PintleError } from '../../kernel/contract/index.ts';
import { commandFailed, runHostCommand, type CommandResult } from './host-command.ts';

export interface NftOptions {
  readonly netns?: string | undefined;
  /** Told the netlink port of the process that will make the changes, before it makes them. */
  readonly onPort?: ((port: number) => void) | undefined;
}

/**
 * Where nft is looked for. The system's folders come first (an ordinary user's PATH lacks sbin), and npm's never count: a
 * well-known npm package also installs a command called nft, which npm puts at the front of PATH for its scripts.
 */
function environment(): NodeJS.ProcessEnv {
  const path = (process.env['PATH'] ?? '').split(':').filter((folder) => !folder.endsWith('node_modules/.bin'));
  return { ...process.env, LC_ALL: 'C', PATH: ['/usr/local/sbin', '/usr/sbin', '/sbin', ...path].join(':') };
}

/** Applies the commands in `text` in one transaction. */
export async function nftTransaction(text: string, options: NftOptions = {}): Promise<void> {
  if (text === '') return;
  const argv = ['nft', '-f', '-'];
  const result = await run(argv, text, options);
  if (result.exitCode !== 0) throw failed(argv, result, text);
}

/** Like `nftTransaction`; resolves to false instead of rejecting when nft refuses the text. */
export async function nftTry(text: string, options: NftOptions = {}): Promise<boolean> {
  return (await run(['nft', '-f', '-'], text, options)).exitCode === 0;
}

/** Objects of a listing: `nftList(['table', 'ip', 'pintle-proxy'])`. Undefined when what is asked for does not exist. */
export async function nftList(
  what: readonly string[],
  options: NftOptions & { readonly terse?: boolean } = {},
): Promise<readonly Readonly<Record<string, Readonly<Record<string, unknown>>>>[] | undefined> {
  const argv = ['nft', ...(options.terse === true ? ['-t'] : []), '-j', 'list', ...what];
  const result = await run(argv, '', options);
  if (result.exitCode !== 0) {
    if (result.stderr.includes('No such file or directory')) return undefined;
    throw failed(argv, result);
  }
  return (JSON.parse(result.stdout) as { nftables: Record<string, Record<string, unknown>>[] }).nftables;
}

/** Whether a read-only command succeeds: `get element ...`, `list chain ...`; one word an argument. */
export async function nftHas(what: readonly string[], options: NftOptions = {}): Promise<boolean> {
  return (await run(['nft', ...what], '', options)).exitCode === 0;
}

function run(argv: readonly string[], input: string, { netns, onPort }: NftOptions): Promise<CommandResult> {
  return runHostCommand({ argv, input, env: environment(), cure: 'apt-get install nftables', netns, onPort });
}

const failed = (argv: readonly string[], result: CommandResult, text = ''): PintleError =>
  commandFailed(argv, result, /^\S*?:(\d+):/m, text);
