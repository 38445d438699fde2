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
  /** Its first try failed; it is tried once more. */
  again(step: Step, reason: string): void;
  /** A cell that is out, with what it would have taken left to do: `rounds` fewer steps. */
  drop(step: Step, reason: string): void;
}

export interface Surroundings {
  /** A cell that takes longer in one round is given up, and says so. */
  readonly limitMs: number;
  /** What is told to stop, by the limit or by the user, may take so long to do it; then its processes are ended. */
  readonly graceMs?: number;
  /** Marks a moment; what it returns ends every process that was started since. */
  mark?(): () => void;
  /** Looks at what is there; resolves, when called after the cell, to what came and did not go. */
  look(): () => Promise<readonly string[]>;
}

const nowhere: Surroundings = { limitMs: 600_000, look: () => () => Promise.resolve([]) };
/** For what was given up too: its clean-up may need a while. */
const closeLimitMs = 60_000;
const standardGraceMs = 3_000;

export type MutableCell = { -readonly [K in keyof CellResult]: CellResult[K] };

/** Resolves to what was measured, also when the signal aborts. `result` is filled as it goes. */
export async function runMatrix(
  suite: Suite,
  result: SuiteResult,
  watcher: Watcher,
  signal: AbortSignal,
  surroundings: Surroundings = nowhere,
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
      const turn = { round, signal, surroundings };
      const first = await tryCell(suite, plan, cell, turn);
      if (first.outcome === 'failed') {
        cell.failedTries = [...(cell.failedTries ?? []), { round, reason: first.reason }];
        watcher.again(step, first.reason);
      }
      // A try fails for reasons that are not the cell's alone; one that fails twice running has no such excuse.
      const last = first.outcome === 'failed' && !signal.aborted ? await tryCell(suite, plan, cell, turn) : first;
      conclude(cell, round, last, signal);
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
      ...{ checks: [], facts: { ...plan.facts }, leftBehind: [], samples: {} },
    })),
  };
}

/** The list from its `by`th item on, round to the start again. */
function turned<T>(items: readonly T[], by: number): readonly T[] {
  const from = items.length === 0 ? 0 : by % items.length;
  return [...items.slice(from), ...items.slice(0, from)];
}

interface Turn {
  readonly round: number;
  readonly signal: AbortSignal;
  readonly surroundings: Surroundings;
}

type Try =
  | { readonly outcome: 'measured'; readonly values: readonly (readonly [metric: string, value: number])[] }
  /** Broken: for good, as what takes too long. Failed: another try may do better. */
  | { readonly outcome: 'broken' | 'failed'; readonly reason: string };

/** Sets up, checks, measures and takes down, once. */
async function tryCell(suite: Suite, plan: CellPlan, cell: MutableCell, turn: Turn): Promise<Try> {
  const { signal, surroundings } = turn;
  const after = surroundings.look();
  const endProcesses = surroundings.mark?.() ?? (() => undefined);
  const graceMs = surroundings.graceMs ?? standardGraceMs;
  const limit = new Limit({ ms: surroundings.limitMs, graceMs, outer: signal, endProcesses });
  let opened: Promise<Bed> | undefined;
  const values: [metric: string, value: number][] = [];
  let bad: Exclude<Try, { outcome: 'measured' }> | undefined;
  try {
    opened = suite.open(plan);
    const bed = await limit.within(opened, 'set up');
    const checks = await limit.within(bed.check(), 'checked');
    cell.checks = mergeChecks(cell.checks, checks);
    const wrong = checks.filter(({ ok }) => !ok);
    if (wrong.length > 0) bad = { outcome: 'broken', reason: `behaves wrongly: ${wrong.map(describe).join('; ')}` };
    else {
      const measuring = bed.measure((metric, value) => void values.push([metric, value]), limit.signal);
      await limit.within(measuring, 'measured');
      cell.facts = { ...cell.facts, ...bed.facts() };
    }
  } catch (error) {
    const outcome = error instanceof TimeIsOver ? 'broken' : 'failed';
    if (!signal.aborted) bad = { outcome, reason: `failed: ${wordsOf(error)}` };
  } finally {
    limit.end();
  }
  const closing = new Limit({ ms: closeLimitMs, graceMs, outer: undefined, endProcesses });
  try {
    // One that could not be opened has nothing to close; one that is still being opened is waited for, but not for ever.
    const bed = await closing.within(opened?.catch(() => undefined) ?? Promise.resolve(undefined), 'set up');
    const left = (await closing.within(bed?.close() ?? Promise.resolve([]), 'taken down')) ?? [];
    cell.leftBehind = [...new Set([...cell.leftBehind, ...left])];
  } catch (error) {
    // One that was cut down on the user's order has nobody left to take it down in order.
    if (!(signal.aborted && limit.hasCut))
      bad ??= { outcome: 'broken', reason: `could not be taken down: ${wordsOf(error)}` };
  } finally {
    closing.end();
  }
  cell.leftBehind = [...new Set([...cell.leftBehind, ...(await after())])];
  return bad ?? { outcome: 'measured', values };
}

function conclude(cell: MutableCell, round: number, last: Try, signal: AbortSignal): void {
  if (last.outcome !== 'measured') {
    // Stopped between two tries: nothing is known of the second.
    if (last.outcome === 'failed' && signal.aborted) return;
    // Also the figures of earlier rounds go: what is wrong once may have been wrong before.
    Object.assign(cell, { state: 'broken', reason: `${last.reason} (in round ${round})`, samples: {} });
    return;
  }
  // A round that was cut short is no round.
  if (signal.aborted) return;
  cell.state = 'measured';
  for (const [metric, value] of last.values)
    if (Number.isFinite(value)) (cell.samples[metric] ??= []).push({ round, value });
}

const wordsOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

class TimeIsOver extends Error {}

interface LimitOptions {
  readonly ms: number;
  readonly graceMs: number;
  /** The user's order to stop. */
  readonly outer: AbortSignal | undefined;
  readonly endProcesses: () => void;
}

/** A time for several steps together. Who does not stop in the grace that follows loses its processes. */
class Limit {
  readonly signal: AbortSignal;
  hasCut = false;
  readonly #options: LimitOptions;
  readonly #over = new AbortController();
  readonly #timer: NodeJS.Timeout;

  constructor(options: LimitOptions) {
    this.#options = options;
    this.#timer = setTimeout(() => this.#over.abort(new Error('its time is over')), options.ms);
    this.signal = options.outer === undefined ? this.#over.signal : AbortSignal.any([options.outer, this.#over.signal]);
  }

  /** Rejects with words about the time when that is over, whatever the work says then. */
  within<T>(work: Promise<T>, verb: string): Promise<T> {
    const { signal } = this;
    const { ms, graceMs, endProcesses } = this.#options;
    return new Promise((resolve, reject) => {
      let grace: NodeJS.Timeout | undefined;
      const why = (error: unknown): unknown =>
        this.#over.signal.aborted
          ? new TimeIsOver(`it was still being ${verb} after ${Math.round(ms / 1000)} s, and was given up`)
          : error;
      const cut = (): void => {
        this.hasCut = true;
        endProcesses();
        reject(why(new Error('the run was stopped')));
      };
      const startGrace = (): void => void (grace = setTimeout(cut, graceMs));
      if (signal.aborted) startGrace();
      else signal.addEventListener('abort', startGrace, { once: true });
      work
        .then(resolve, (error: unknown) => reject(why(error)))
        .finally(() => {
          clearTimeout(grace);
          signal.removeEventListener('abort', startGrace);
        });
    });
  }

  end(): void {
    clearTimeout(this.#timer);
  }
}

const describe = ({ name, detail }: Check): string => `${name}${detail === '' ? '' : ` (${detail})`}`;

/** One line a check: the worst of all rounds. */
function mergeChecks(before: readonly Check[], now: readonly Check[]): Check[] {
  const merged = new Map(before.map((one) => [one.name, one]));
  for (const one of now) if (merged.get(one.name)?.ok !== false) merged.set(one.name, one);
  return [...merged.values()];
}
