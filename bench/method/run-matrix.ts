/**
 * Runs the cells of a suite in interleaved rounds: every round sets up and measures each cell once, baselines among them,
 * beginning with another cell each time, so that what changes on the machine meanwhile hits all alike.
 */
import type { CellResult, SuiteResult } from './result.ts';
import type { Bed, CellPlan, Check, Suite } from './suite.ts';

export interface Step {
  readonly suite: string;
  readonly cell: string;
  readonly round: number;
  readonly rounds: number;
}

export interface Watcher {
  /** Before each cell of each round. */
  begin(step: Step): void;
  /** After it; not called for a cell that was given up. */
  end(step: Step): void;
  /** A cell that is out, with what it would have taken left to do: `rounds` fewer steps. */
  drop(step: Step, reason: string): void;
}

export type MutableCell = { -readonly [K in keyof CellResult]: CellResult[K] };

/** Resolves to what was measured, also when the signal aborts. `result` is filled as it goes. */
export async function runMatrix(
  suite: Suite,
  result: SuiteResult,
  watcher: Watcher,
  signal: AbortSignal,
): Promise<void> {
  const began = performance.now();
  const cells = new Map(result.cells.map((cell) => [cell.id, cell as MutableCell]));
  for (let round = 1; round <= result.rounds && !signal.aborted; round += 1)
    for (const plan of turned(suite.cells, round - 1)) {
      if (signal.aborted) break;
      const cell = cells.get(plan.id)!;
      if (cell.state === 'broken' || cell.state === 'skipped') continue;
      const step = { suite: suite.name, cell: plan.id, round, rounds: result.rounds };
      watcher.begin(step);
      await runCell(suite, plan, cell, round, signal);
      if ((cell.state as CellResult['state']) === 'broken') watcher.drop(step, cell.reason ?? '');
      else watcher.end(step);
      result.seconds = (performance.now() - began) / 1000;
    }
}

export function emptyResult(suite: Suite, rounds: number, size: string): SuiteResult {
  return {
    ...{ name: suite.name, title: suite.title, summary: suite.summary, rounds, size, options: { ...suite.options } },
    metrics: [...suite.metrics],
    seconds: 0,
    cells: suite.cells.map((plan) => ({
      ...{ id: plan.id, factors: { ...plan.factors }, isBaseline: plan.isBaseline, contest: plan.contest ?? '' },
      ...(plan.baseline === undefined ? {} : { baseline: plan.baseline }),
      ...(plan.skip === undefined ? { state: 'pending' } : { state: 'skipped', reason: plan.skip }),
      ...{ checks: [], facts: {}, leftBehind: [], samples: {} },
    })),
  };
}

/** The list from its `by`th item on, round to the start again. */
function turned<T>(items: readonly T[], by: number): readonly T[] {
  const from = items.length === 0 ? 0 : by % items.length;
  return [...items.slice(from), ...items.slice(0, from)];
}

async function runCell(
  suite: Suite,
  plan: CellPlan,
  cell: MutableCell,
  round: number,
  signal: AbortSignal,
): Promise<void> {
  let bed: Bed | undefined;
  const values: [metric: string, value: number][] = [];
  let failure: string | undefined;
  try {
    bed = await suite.open(plan);
    const checks = await bed.check();
    cell.checks = mergeChecks(cell.checks, checks);
    const wrong = checks.filter(({ ok }) => !ok);
    if (wrong.length > 0) failure = `behaves wrongly: ${wrong.map(describe).join('; ')}`;
    else {
      await bed.measure((metric, value) => void values.push([metric, value]), signal);
      cell.facts = { ...cell.facts, ...bed.facts() };
    }
  } catch (error) {
    if (!signal.aborted) failure = `failed: ${error instanceof Error ? error.message : String(error)}`;
  }
  try {
    const left = (await bed?.close()) ?? [];
    cell.leftBehind = [...new Set([...cell.leftBehind, ...left])];
  } catch (error) {
    failure ??= `could not be taken down: ${error instanceof Error ? error.message : String(error)}`;
  }
  if (failure !== undefined) {
    // Also the figures of earlier rounds go: what is wrong once may have been wrong before.
    Object.assign(cell, { state: 'broken', reason: failure, samples: {} });
    return;
  }
  // A round that was cut short is no round.
  if (signal.aborted) return;
  cell.state = 'measured';
  for (const [metric, value] of values)
    if (Number.isFinite(value)) (cell.samples[metric] ??= []).push({ round, value });
}

const describe = ({ name, detail }: Check): string => `${name}${detail === '' ? '' : ` (${detail})`}`;

/** One line a check: the worst of all rounds. */
function mergeChecks(before: readonly Check[], now: readonly Check[]): Check[] {
  const merged = new Map(before.map((one) => [one.name, one]));
  for (const one of now) if (merged.get(one.name)?.ok !== false) merged.set(one.name, one);
  return [...merged.values()];
}
