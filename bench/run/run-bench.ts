/**
 * A run from outside: starts the laboratory, shows its progress, gathers what it tells, and makes the result of it. Holds
 * all figures as they come, so that nothing measured is lost when the run is stopped or the laboratory dies.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { once } from 'node:events';
import { spawn, type ChildProcess } from 'node:child_process';
import { PintleError } from '../../kernel/contract/errors.ts';
import { enterLab, labProblem } from '../../lab/enter-lab.ts';
import { resultFormat, type Result, type SuiteResult } from '../method/result.ts';
import { load, machineFacts, versions } from './machine-facts.ts';
import type { BenchEvent, BenchPlan } from './plan.ts';

/** Where a run takes place: the laboratory on this kernel, or another machine that runs the same program. */
export interface BenchTarget {
  readonly name: string;
  /** Why it cannot be used here. */
  problem(): Promise<string | undefined>;
  /** Runs the command where this target is; the child's standard input is its life line, its output the events. */
  enter(command: readonly string[]): ChildProcess;
}

const isRoot = (): boolean => process.geteuid?.() === 0;

export const labTarget: BenchTarget = {
  name: 'lab',
  problem: async () => {
    const problem = await labProblem(isRoot());
    return problem === undefined ? undefined : `${problem.reason}\nfix: ${problem.fix}`;
  },
  enter: (command) => enterLab(command, { isRoot: isRoot() }),
};

/** This host as it is: for what happens elsewhere, on the nodes of a cluster, and is only asked for from here. */
export const hostTarget: BenchTarget = {
  name: 'host',
  problem: () => Promise.resolve(undefined),
  // Ctrl-C in a terminal reaches the whole process group; the order of the stop is the parent's.
  enter: ([command = '', ...argv]) => spawn(command, argv, { stdio: ['pipe', 'pipe', 'pipe'], detached: true }),
};

export interface RunOptions {
  readonly target: BenchTarget;
  readonly command: readonly string[];
  readonly pintleVersion: string;
  readonly onEvent: (event: BenchEvent) => void;
  /** Stops in order: the cell that runs is taken down, what was measured is kept. */
  readonly signal: AbortSignal;
}

export async function runBench(plan: BenchPlan, options: RunOptions): Promise<Result> {
  const { target, signal } = options;
  const problem = await target.problem();
  if (problem !== undefined)
    throw new PintleError('BENCH_FAILED', `no measurement can be made on target ${target.name}: ${problem}`);
  const [startedAt, loadBefore] = [new Date(), load()];
  const folder = mkdtempSync(join(tmpdir(), 'pintle-bench-plan-'));
  const bySuite = new Map<string, SuiteResult>();
  let end: { readonly code: number | null; readonly said: string };
  try {
    const file = join(folder, 'plan.json');
    writeFileSync(file, JSON.stringify(plan));
    const child = target.enter([process.execPath, plan.program, 'bench-run', file]);
    const stop = (): void => void child.stdin?.end();
    signal.addEventListener('abort', stop, { once: true });
    if (signal.aborted) stop();
    child.stdin?.on('error', () => undefined);
    end = await follow(child, (event) => {
      if (event.type === 'suite') bySuite.set(event.result.name, event.result);
      options.onEvent(event);
    });
    signal.removeEventListener('abort', stop);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  if (end.code !== 0 && bySuite.size === 0)
    throw new PintleError('BENCH_FAILED', `the laboratory ended with ${end.code}: ${end.said}`);
  if (bySuite.size === 0) throw new PintleError('BENCH_FAILED', 'nothing was measured: see the reasons above');
  const suites = [...bySuite.values()];
  const isPending = suites.some(({ cells }) => cells.some(({ state }) => state === 'pending'));
  return {
    format: resultFormat,
    startedAt: startedAt.toISOString(),
    finishedAt: new Date().toISOString(),
    complete: !signal.aborted && end.code === 0 && !isPending && suites.length === plan.suites.length,
    command: [...options.command],
    machine: machineFacts(),
    versions: versions(options.pintleVersion),
    loadBefore,
    loadAfter: load(),
    suites,
  };
}

async function follow(
  child: ChildProcess,
  onEvent: (event: BenchEvent) => void,
): Promise<{ readonly code: number | null; readonly said: string }> {
  let rest = '';
  let said = '';
  child.stdout?.on('data', (chunk: Buffer) => {
    const lines = (rest + chunk.toString('utf8')).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) if (line.startsWith('{"type":')) onEvent(JSON.parse(line) as BenchEvent);
  });
  child.stderr?.on('data', (chunk: Buffer) => {
    said = (said + chunk.toString('utf8')).slice(-4_000);
    process.stderr.write(chunk);
  });
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, said: said.trim() };
}
