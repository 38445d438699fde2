/**
 * A run from outside: starts the laboratory, shows its progress, gathers what it tells, and makes the result of it. Holds
 * all figures as they come, so that nothing measured is lost when the run is stopped or the laboratory dies.
 */
import { PintleError } from '../../kernel/contract/errors.ts';
import { resultFormat, type Result, type SuiteResult } from '../method/result.ts';
import { load } from './machine-facts.ts';
import type { BenchEvent, BenchPlan } from './plan.ts';
import type { BenchTarget } from './targets.ts';

export interface RunOptions {
  readonly target: BenchTarget;
  readonly command: readonly string[];
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
  const bySuite = new Map<string, SuiteResult>();
  let place: Extract<BenchEvent, { readonly type: 'place' }> | undefined;
  const lines = new Lines((line) => {
    if (!line.startsWith('{"type":')) return;
    const event = JSON.parse(line) as BenchEvent;
    if (event.type === 'place') place = event;
    if (event.type === 'suite') bySuite.set(event.result.name, event.result);
    options.onEvent(event);
  });
  let said = '';
  const command = [process.execPath, plan.program, 'bench-run', JSON.stringify(plan)];
  const code = await target.run(
    command,
    (stream, chunk) => {
      if (stream === 'stdout') return lines.push(chunk);
      said = (said + chunk.toString('utf8')).slice(-4_000);
      process.stderr.write(chunk);
    },
    signal,
  );
  if (code !== 0 && !signal.aborted && bySuite.size === 0)
    throw new PintleError('BENCH_FAILED', `the laboratory ended with ${code}: ${said.trim()}`);
  if (code !== 0 && !signal.aborted)
    options.onEvent({
      type: 'suite-failed',
      suite: 'the rest',
      reason: `the laboratory ended with ${code}: ${said.trim()}`,
    });
  if (bySuite.size === 0) throw new PintleError('BENCH_FAILED', 'nothing was measured: see the reasons above');
  const suites = [...bySuite.values()];
  const isPending = suites.some(({ cells }) => cells.some(({ state }) => state === 'pending'));
  return {
    format: resultFormat,
    startedAt: startedAt.toISOString(),
    finishedAt: new Date().toISOString(),
    complete: !signal.aborted && code === 0 && !isPending && suites.length === plan.suites.length,
    command: [...options.command],
    machine: { ...place?.machine },
    versions: { ...place?.versions },
    loadBefore,
    loadAfter: load(),
    configs: { ...plan.configs },
    suites,
  };
}

/** Whole lines of a stream of bytes. */
class Lines {
  readonly #take: (line: string) => void;
  #rest = '';

  constructor(take: (line: string) => void) {
    this.#take = take;
  }

  push(chunk: Buffer): void {
    const lines = (this.#rest + chunk.toString('utf8')).split('\n');
    this.#rest = lines.pop() ?? '';
    for (const line of lines) this.#take(line.trimEnd());
  }
}
