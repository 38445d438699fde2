/**
 * Runs the `nft` command (Debian package nftables): transactions as text on its standard input, listings as JSON. One
 * call of `nftTransaction` is one kernel transaction: all of it or nothing.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { PintleError } from '../../kernel/contract/index.ts';
import { runInNetns } from './namespaces.ts';

export interface NftOptions {
  readonly netns?: string | undefined;
  /** Told the netlink port of the process that will make the changes, before it makes them. */
  readonly onPort?: ((port: number) => void) | undefined;
}

interface Result {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
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

function run(argv: readonly string[], input: string, options: NftOptions): Promise<Result> {
  const [command = 'nft', ...args] = argv;
  const start = (): ChildProcess => spawn(command, args, { env: environment(), stdio: ['pipe', 'pipe', 'pipe'] });
  return new Promise((resolve, reject) => {
    // The child is forked from this thread, so it starts in the namespace that the thread is in.
    const child = options.netns === undefined ? start() : runInNetns(options.netns, start);
    if (child.pid !== undefined) options.onPort?.(child.pid);
    const out: Buffer[] = [];
    const err: Buffer[] = [];
    child.stdout?.on('data', (chunk: Buffer) => out.push(chunk));
    child.stderr?.on('data', (chunk: Buffer) => err.push(chunk));
    // nft that stops early closes its input; the exit code and its message say why.
    child.stdin?.on('error', () => undefined);
    child.on('error', (cause: NodeJS.ErrnoException) => {
      const advice = cause.code === 'ENOENT' ? 'nft is not installed: apt-get install nftables' : cause.message;
      const details = { argv, exitCode: -1, stderr: '' };
      reject(
        new PintleError('HOST_COMMAND_FAILED', `${argv.join(' ')} could not be started; ${advice}`, { details, cause }),
      );
    });
    child.on('close', (code) =>
      resolve({
        exitCode: code ?? 128,
        stdout: Buffer.concat(out).toString('utf8'),
        stderr: Buffer.concat(err).toString('utf8'),
      }),
    );
    child.stdin?.end(input);
  });
}

function failed(argv: readonly string[], result: Result, text = ''): PintleError {
  const stderr = result.stderr.trim().split('\n').slice(0, 20).join('\n');
  const line = /^\S*?:(\d+):/m.exec(stderr)?.[1];
  const culprit = line === undefined ? undefined : text.split('\n')[Number(line) - 1]?.trim();
  const where = culprit === undefined ? '' : ` at "${culprit.slice(0, 200)}"`;
  return new PintleError(
    'HOST_COMMAND_FAILED',
    `${argv.join(' ')} ended with exit code ${result.exitCode}${where}: ${stderr.split('\n')[0] ?? ''}`,
    { details: { argv, exitCode: result.exitCode, stderr } },
  );
}
