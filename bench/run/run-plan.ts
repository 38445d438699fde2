/** Carries out a plan inside a laboratory's namespaces, and tells each step. */
import { openRtnetlink } from '../../netplugins/linux/rtnetlink.ts';
import type { Catalogue } from '../../kernel/registry/catalogue.ts';
import { markProcesses } from '../bed/place.ts';
import { openRunFolders } from '../bed/run-folders.ts';
import { emptyResult, runMatrix, type Step } from '../method/run-matrix.ts';
import type { SuiteResult } from '../method/result.ts';
import type { Size, Suite } from '../method/suite.ts';
import { suites } from '../suites/suites.ts';
import { labLeftovers, labTraces } from './lab-traces.ts';
import { machineFacts, versions } from './machine-facts.ts';
import type { BenchEvent, BenchPlan } from './plan.ts';
import { StepClock } from './step-clock.ts';

/** For one cell of one round: many times what it takes, so that only what hangs is given up. */
const limitSeconds: Readonly<Record<Size, number>> = { smoke: 300, standard: 300, full: 1_800 };
/** Emulated machines are so much slower. */
const slowTargets: Readonly<Record<string, number>> = { vm: 20, uml: 5 };

interface Opened {
  readonly suite: Suite;
  readonly result: SuiteResult;
  readonly size: Size;
}

/** A cell that takes longer than others is heard of so often. */
const stillSeconds = 60;

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
      opened.push({ suite, result, size });
      for (const { id, skip } of suite.cells)
        if (skip !== undefined) tell({ type: 'skipped', suite: name, cell: id, reason: skip });
    } catch (error) {
      // One suite that cannot be had here does not take the others with it.
      tell({ type: 'suite-failed', suite: name, reason: error instanceof Error ? error.message : String(error) });
    }
  }
  const clock = new StepClock(
    opened.map(({ suite, result }) => ({
      rounds: result.rounds,
      cells: suite.cells.filter(({ skip }) => skip === undefined),
    })),
  );
  const isOwnNamespace = plan.target !== 'host';
  const look = () => {
    const before = labTraces(isOwnNamespace);
    return () => labLeftovers(before, isOwnNamespace);
  };
  let still: NodeJS.Timeout | undefined;
  const watch = ({ suite, cell }: Step, limitMs: number): void => {
    const began = performance.now();
    still = setInterval(() => {
      const seconds = Math.round((performance.now() - began) / 1_000);
      tell({ type: 'still', suite, cell, seconds, limitSeconds: limitMs / 1_000 });
    }, stillSeconds * 1_000);
  };
  try {
    for (const [index, one] of opened.entries()) {
      if (signal.aborted) break;
      const limitMs = limitSeconds[one.size] * (slowTargets[plan.target] ?? 1) * 1_000;
      const done = (): void => tell({ type: 'suite', result: one.result });
      await runMatrix(
        one.suite,
        one.result,
        {
          begin: (step) => {
            tell({ type: 'begin', ...step, ...clock.begin() });
            watch(step, limitMs);
          },
          end: ({ cell }) => {
            clearInterval(still);
            clock.end(index, cell);
            done();
          },
          again: ({ suite, cell, round }, reason) => tell({ type: 'again', suite, cell, round, reason }),
          drop: (step: Step, reason) => {
            clearInterval(still);
            clock.end(index, step.cell, step.rounds - step.round + 1);
            tell({ type: 'dropped', suite: step.suite, cell: step.cell, reason });
            done();
          },
        },
        signal,
        { limitMs, look, mark: markProcesses },
      );
      done();
    }
  } finally {
    clearInterval(still);
    for (const { suite } of opened)
      await suite.close?.().catch((error: unknown) => {
        const reason = error instanceof Error ? error.message : String(error);
        tell({ type: 'suite-failed', suite: suite.name, reason: `could not be taken down: ${reason}` });
      });
    closeFolders();
  }
}
