/** Carries out a plan inside a laboratory's namespaces, and tells each step. */
import { openRtnetlink } from '../../netplugins/linux/rtnetlink.ts';
import type { Catalogue } from '../../kernel/registry/catalogue.ts';
import { openRunFolders } from '../bed/run-folders.ts';
import { emptyResult, runMatrix, type Step } from '../method/run-matrix.ts';
import type { SuiteResult } from '../method/result.ts';
import type { Size, Suite } from '../method/suite.ts';
import { suites } from '../suites/suites.ts';
import { labLeftovers, labTraces } from './lab-traces.ts';
import { machineFacts, versions } from './machine-facts.ts';
import type { BenchEvent, BenchPlan } from './plan.ts';

/** For one cell of one round: many times what it takes, so that only what hangs is given up. */
const limitSeconds: Readonly<Record<Size, number>> = { smoke: 300, standard: 180, full: 1_800 };
/** Emulated machines are so much slower. */
const slowTargets: Readonly<Record<string, number>> = { vm: 20, uml: 5 };

interface Opened {
  readonly suite: Suite;
  readonly result: SuiteResult;
  readonly size: Size;
  left: number;
}

export async function runPlan(
  plan: BenchPlan,
  catalogue: Catalogue,
  tell: (event: BenchEvent) => void,
  signal: AbortSignal,
): Promise<void> {
  if (plan.target !== 'host') {
    const links = openRtnetlink();
    links.setLink('lo', { up: true });
    links.close();
  }
  const closeFolders = openRunFolders(plan.target !== 'host');
  tell({ type: 'place', machine: { ...machineFacts(), target: plan.target }, versions: versions(plan.pintleVersion) });
  const source = { program: plan.program, modules: plan.modules, directory: plan.directory };
  const opened: Opened[] = [];
  for (const { name, rounds, size, options } of plan.suites) {
    try {
      const suite = await suites[name]!({ catalogue, source, configs: plan.configs, size, options });
      const result = emptyResult(suite, rounds, size);
      const runnable = suite.cells.filter(({ skip }) => skip === undefined).length;
      opened.push({ suite, result, size, left: runnable * rounds });
      for (const { id, skip } of suite.cells)
        if (skip !== undefined) tell({ type: 'skipped', suite: name, cell: id, reason: skip });
    } catch (error) {
      // One suite that cannot be had here does not take the others with it.
      tell({ type: 'suite-failed', suite: name, reason: error instanceof Error ? error.message : String(error) });
    }
  }
  const clock = new StepClock(opened);
  const isOwnNamespace = plan.target !== 'host';
  const look = () => {
    const before = labTraces(isOwnNamespace);
    return () => labLeftovers(before, isOwnNamespace);
  };
  try {
    for (const one of opened) {
      if (signal.aborted) break;
      const limitMs = limitSeconds[one.size] * (slowTargets[plan.target] ?? 1) * 1_000;
      const done = (): void => tell({ type: 'suite', result: one.result });
      await runMatrix(
        one.suite,
        one.result,
        {
          begin: (step) => tell({ type: 'begin', ...step, ...clock.begin() }),
          end: () => {
            clock.end(one, 1);
            done();
          },
          again: ({ suite, cell, round }, reason) => tell({ type: 'again', suite, cell, round, reason }),
          drop: (step: Step, reason) => {
            clock.end(one, step.rounds - step.round + 1);
            tell({ type: 'dropped', suite: step.suite, cell: step.cell, reason });
            done();
          },
        },
        signal,
        { limitMs, look },
      );
      done();
    }
  } finally {
    for (const { suite } of opened)
      await suite.close?.().catch((error: unknown) => {
        const reason = error instanceof Error ? error.message : String(error);
        tell({ type: 'suite-failed', suite: suite.name, reason: `could not be taken down: ${reason}` });
      });
    closeFolders();
  }
}

/** Steps of one suite take about as long as each other; of suites not begun yet the mean of all is expected. */
class StepClock {
  readonly #opened: readonly Opened[];
  readonly #took = new Map<Opened, { count: number; ms: number }>();
  #done = 0;
  #began = 0;

  constructor(opened: readonly Opened[]) {
    this.#opened = opened;
  }

  begin(): { readonly done: number; readonly left: number; readonly secondsLeft: number | undefined } {
    this.#began = performance.now();
    const all = [...this.#took.values()].reduce(
      (sum, { count, ms }) => ({ count: sum.count + count, ms: sum.ms + ms }),
      {
        ...{ count: 0, ms: 0 },
      },
    );
    const ms = this.#opened.reduce((sum, one) => {
      const { count, ms: own } = this.#took.get(one) ?? all;
      return sum + (count === 0 ? Number.NaN : (own / count) * one.left);
    }, 0);
    const left = this.#opened.reduce((sum, one) => sum + one.left, 0);
    return { done: this.#done, left, secondsLeft: Number.isNaN(ms) ? undefined : Math.round(ms / 1000) };
  }

  end(one: Opened, steps: number): void {
    const { count, ms } = this.#took.get(one) ?? { count: 0, ms: 0 };
    this.#took.set(one, { count: count + 1, ms: ms + performance.now() - this.#began });
    this.#done += 1;
    one.left = Math.max(0, one.left - steps);
  }
}
