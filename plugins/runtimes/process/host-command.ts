/** Runs a host program by its argument array, and turns a failure into HOST_COMMAND_FAILED with what it said. */
import { spawn } from 'node:child_process';
import { PintleError } from '../../../kernel/contract/index.ts';

/** What host programs see: nothing of the agent's environment, and nothing that a pod can choose. */
export const hostEnvironment: Readonly<Record<string, string>> = {
  PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
  LC_ALL: 'C',
};

export interface CommandResult {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Resolves whatever the exit code is; rejects only when the program cannot be run. */
export function tryHostCommand(
  argv: readonly string[],
  options: { readonly cwd?: string; readonly input?: string } = {},
): Promise<CommandResult> {
  const [program = '', ...args] = argv;
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      cwd: options.cwd,
      env: { ...hostEnvironment },
      stdio: [options.input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
    });
    const stdout: Buffer[] = [];
    const stderr: Buffer[] = [];
    child.stdout?.on('data', (chunk: Buffer) => stdout.push(chunk));
    child.stderr?.on('data', (chunk: Buffer) => stderr.push(chunk));
    child.stdin?.on('error', () => undefined);
    child.stdin?.end(options.input);
    child.once('error', (cause) =>
      reject(
        new PintleError('HOST_COMMAND_FAILED', `${program} could not be run: ${cause.message}`, {
          details: { argv },
          cause,
        }),
      ),
    );
    child.once('close', (code, signal) =>
      resolve({
        exitCode: code ?? (signal === null ? 1 : 137),
        stdout: Buffer.concat(stdout).toString(),
        stderr: Buffer.concat(stderr).toString(),
      }),
    );
  });
}

export async function hostCommand(argv: readonly string[], options: { readonly cwd?: string } = {}): Promise<string> {
  const { exitCode, stdout, stderr } = await tryHostCommand(argv, options);
  if (exitCode === 0) return stdout;
  const last = stderr.trim().split('\n').slice(-3).join('; ');
  throw new PintleError('HOST_COMMAND_FAILED', `${argv[0]} failed with exit code ${exitCode}: ${last}`, {
    details: {
      argv: argv.map((word) => (word.length > 200 ? `${word.slice(0, 60)}...` : word)),
      exitCode,
      stderr: last,
    },
  });
}
