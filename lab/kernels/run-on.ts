/**
 * Runs a command on a kernel: `node out/lab/kernels/run-on.js --target host|uml|vm -- COMMAND ...`. Output and exit code are
 * the command's. Exit code 125: the target cannot be used here, or did not come up.
 */
import { spawn } from 'node:child_process';
import { kernelsFolder } from './kernel-files.ts';
import { kernelTargets, type GuestCommand, type GuestKernel, type KernelProblem, type KernelTarget } from './target.ts';
import { openUml, umlProblem } from './uml.ts';
import { openVm, vmProblem } from './vm.ts';

export const unusable = 125;

const hostKernel: GuestKernel = {
  description: 'this kernel',
  run: ({ argv: [program = '', ...argv], cwd, env, signal, onOutput }: GuestCommand) =>
    new Promise((resolve, reject) => {
      const child = spawn(program, argv, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'], signal });
      child.stdout.on('data', (chunk: Buffer) => onOutput('stdout', chunk));
      child.stderr.on('data', (chunk: Buffer) => onOutput('stderr', chunk));
      child.once('error', reject);
      child.once('close', (code) => resolve(code ?? 1));
    }),
};

/** Why commands cannot run there; undefined when they can. */
export function kernelProblem(target: KernelTarget, kernels = kernelsFolder): KernelProblem {
  return target === 'vm' ? vmProblem(kernels) : target === 'uml' ? umlProblem(kernels) : undefined;
}

export function openKernel(target: KernelTarget, kernels = kernelsFolder): GuestKernel {
  return target === 'vm' ? openVm(kernels) : target === 'uml' ? openUml(kernels) : hostKernel;
}

async function main(argv: readonly string[]): Promise<number> {
  const [flag, name, dashes, ...command] = argv;
  const target = kernelTargets.find((each) => each === name);
  if (flag !== '--target' || target === undefined || dashes !== '--' || command.length === 0) {
    process.stderr.write(`usage: run-on --target ${kernelTargets.join('|')} -- COMMAND ...\n`);
    return unusable;
  }
  const problem = kernelProblem(target);
  if (problem !== undefined) {
    process.stderr.write(`target ${target} cannot be used here: ${problem.reason}; ${problem.fix}\n`);
    return unusable;
  }
  const stop = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stop.abort());
  try {
    return await openKernel(target).run({
      argv: command,
      cwd: process.cwd(),
      env: Object.fromEntries(
        Object.entries(process.env).filter((entry): entry is [string, string] => entry[1] !== undefined),
      ),
      signal: stop.signal,
      onOutput: (stream, chunk) => void process[stream].write(chunk),
    });
  } catch (error) {
    process.stderr.write(`target ${target}: ${error instanceof Error ? error.message : String(error)}\n`);
    return unusable;
  }
}

if (process.argv[1] !== undefined && import.meta.url.endsWith('/run-on.js') && process.argv[1].endsWith('run-on.js'))
  process.exitCode = await main(process.argv.slice(2));
