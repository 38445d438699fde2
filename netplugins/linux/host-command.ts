/** Runs a command of the host with text on its standard input, in a network namespace if wanted. */
import { spawn, type ChildProcess } from 'node:child_process';
import { PintleError } from '../../kernel/contract/index.ts';
import { runInNetns } from './namespaces.ts';

export interface HostCommand {
  readonly argv: readonly string[];
  readonly input: string;
  readonly env: NodeJS.ProcessEnv;
  /** Where it comes from: "apt-get install nftables". */
  readonly cure: string;
  readonly netns?: string | undefined;
  /** Told the process's id, which is its netlink port too, before it does anything. */
  readonly onPort?: ((port: number) => void) | undefined;
}

export interface CommandResult {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Resolves with whatever exit code; rejects when it cannot be started. */
export function runHostCommand({ argv, input, env, cure, netns, onPort }: HostCommand): Promise<CommandResult> {
  const [command = '', ...args] = argv;
  const start = (): ChildProcess => spawn(command, args, { env, stdio: ['pipe', 'pipe', 'pipe'] });
  return new Promise((resolve, reject) => {
    // The child is forked from this thread, so it starts in the namespace that the thread is in.
    const child = netns === undefined ? start() : runInNetns(netns, start);
    if (child.pid !== undefined) onPort?.(child.pid);
    const out: Buffer[] = [];
    const err: Buffer[] = [];
    child.stdout?.on('data', (chunk: Buffer) => out.push(chunk));
    child.stderr?.on('data', (chunk: Buffer) => err.push(chunk));
    // A tool that stops early closes its input; the exit code and its message say why.
    child.stdin?.on('error', () => undefined);
    child.on('error', (cause: NodeJS.ErrnoException) => {
      const advice = cause.code === 'ENOENT' ? `it is not installed: ${cure}` : cause.message;
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

/** The error for an exit code that is not 0. `line` finds the number of the line of `input` that the tool complains of. */
export function commandFailed(argv: readonly string[], result: CommandResult, line: RegExp, input = ''): PintleError {
  const stderr = result.stderr.trim().split('\n').slice(0, 20).join('\n');
  const number = line.exec(stderr)?.[1];
  const culprit = number === undefined ? undefined : input.split('\n')[Number(number) - 1]?.trim();
  const where = culprit === undefined ? '' : ` at "${culprit.slice(0, 200)}"`;
  return new PintleError(
    'HOST_COMMAND_FAILED',
    `${argv.join(' ')} ended with exit code ${result.exitCode}${where}: ${stderr.split('\n')[0] ?? ''}`,
    { details: { argv, exitCode: result.exitCode, stderr } },
  );
}
