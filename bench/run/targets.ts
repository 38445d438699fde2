/**
 * Where a run takes place: in a laboratory on this kernel, in one on a second kernel that has what this one lacks, or (what
 * happens on the nodes of a cluster) on this host as it is.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { enterLab, labProblem } from '../../lab/enter-lab.ts';
import { kernelProblem, openKernel } from '../../lab/kernels/run-on.ts';
import type { KernelTarget } from '../../lab/kernels/target.ts';

export interface BenchTarget {
  readonly name: string;
  /** Why it cannot be used here. */
  problem(): Promise<string | undefined>;
  /** Runs the command there; resolves to its exit code. Its output is the events. The signal ends it, in order if it can. */
  run(
    command: readonly string[],
    onOutput: (stream: 'stdout' | 'stderr', chunk: Buffer) => void,
    signal: AbortSignal,
  ): Promise<number | null>;
}

const isRoot = (): boolean => process.geteuid?.() === 0;

/** The child stops in order when its standard input closes. */
function follow(
  child: ChildProcess,
  onOutput: (stream: 'stdout' | 'stderr', chunk: Buffer) => void,
  signal: AbortSignal,
): Promise<number | null> {
  const stop = (): void => void child.stdin?.end();
  signal.addEventListener('abort', stop, { once: true });
  if (signal.aborted) stop();
  child.stdin?.on('error', () => undefined);
  child.stdout?.on('data', (chunk: Buffer) => onOutput('stdout', chunk));
  child.stderr?.on('data', (chunk: Buffer) => onOutput('stderr', chunk));
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => {
      signal.removeEventListener('abort', stop);
      resolve(code);
    });
  });
}

export const labTarget: BenchTarget = {
  name: 'lab',
  problem: async () => {
    const problem = await labProblem(isRoot());
    return problem === undefined ? undefined : `${problem.reason}; ${problem.fix}`;
  },
  run: (command, onOutput, signal) => follow(enterLab(command, { isRoot: isRoot() }), onOutput, signal),
};

export const hostTarget: BenchTarget = {
  name: 'host',
  problem: () => Promise.resolve(undefined),
  // Ctrl-C in a terminal reaches the whole process group; the order of the stop is the parent's.
  run: ([command = '', ...argv], onOutput, signal) =>
    follow(spawn(command, argv, { stdio: ['pipe', 'pipe', 'pipe'], detached: true }), onOutput, signal),
};

/** Compiled files live in out/bench/run/, three folders below the repository. */
const kernels = fileURLToPath(new URL('../../../.state/kernels', import.meta.url));

/** A machine of the benchmark's own: nothing is to be cleaned up, it is gone as a whole. */
const machineTarget = (name: Exclude<KernelTarget, 'host'>): BenchTarget => ({
  name,
  problem: () => {
    const problem = kernelProblem(name, kernels);
    return Promise.resolve(problem === undefined ? undefined : `${problem.reason}; ${problem.fix}`);
  },
  run: ([program = '', ...argv], onOutput, signal) =>
    openKernel(name, kernels)
      .run({
        argv: [program, ...argv],
        cwd: '/',
        env: Object.fromEntries(
          Object.entries(process.env).filter((entry): entry is [string, string] => entry[1] !== undefined),
        ),
        ...{ signal, onOutput },
      })
      .catch((error: unknown) => {
        if (signal.aborted) return null;
        throw error;
      }),
});

export const benchTargets: Readonly<Record<string, BenchTarget>> = {
  lab: labTarget,
  uml: machineTarget('uml'),
  vm: machineTarget('vm'),
};
