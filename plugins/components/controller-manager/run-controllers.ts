/** Runs controllers side by side, each started again with backoff when it rejects; one that fails stops no other. */
import type { Clock, Controller, Logger } from '../../../kernel/contract/index.ts';
import { backoffDelay } from '../../../kernel/machinery/backoff.ts';
import { pause } from '../../../kernel/machinery/clock.ts';

export interface ControllerState {
  /** Why it does not run now. */
  failure: string | undefined;
}

const backoff = { minMs: 500, maxMs: 60_000 };
/** A controller that ran this long has recovered. */
const healthyMs = 60_000;

/** Resolves when all have ended after the signal aborted. `states` is kept current. */
export async function runControllers(
  controllers: ReadonlyMap<string, Controller>,
  states: Map<string, ControllerState>,
  { log, clock }: { readonly log: Logger; readonly clock: Clock },
  signal: AbortSignal,
): Promise<void> {
  const keepRunning = async (name: string, controller: Controller) => {
    const state: ControllerState = { failure: undefined };
    states.set(name, state);
    let failures = 0;
    while (!signal.aborted) {
      const startedAt = clock.now();
      state.failure = undefined;
      try {
        // A signal of its own: a dozen controllers with a dozen listeners each on one signal would be called a leak.
        await controller.run(AbortSignal.any([signal]));
        if (signal.aborted) return;
        state.failure = 'run ended before it was told to';
      } catch (error) {
        if (signal.aborted) return;
        state.failure = error instanceof Error ? error.message : String(error);
      }
      failures = clock.now() - startedAt > healthyMs ? 1 : failures + 1;
      const restartInMs = backoffDelay(failures, backoff);
      log.error('a controller stopped and will be started again', {
        controller: name,
        error: state.failure,
        restartInMs,
      });
      await pause(clock, restartInMs, signal);
    }
  };
  await Promise.all([...controllers].map(([name, controller]) => keepRunning(name, controller)));
}
