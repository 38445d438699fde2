/** Runs one piece of work at a time: again when asked for while it ran, spaced, and with backoff after a failure. */
import type { Clock, Logger } from '../../../kernel/contract/index.ts';
import { pause } from '../../../kernel/machinery/clock.ts';

export interface SyncLoop {
  request(): void;
  hasSynced(): boolean;
  /** Why the last attempt failed; undefined after a success. */
  failure(): string | undefined;
  readonly ended: Promise<void>;
}

export function startSyncLoop(
  work: (signal: AbortSignal) => Promise<void>,
  options: { readonly minIntervalMs: number; readonly log: Logger; readonly clock: Clock },
  signal: AbortSignal,
): SyncLoop {
  const { clock, log, minIntervalMs } = options;
  let isRequested = false;
  let hasSynced = false;
  let failure: string | undefined;
  let wake: () => void = () => {};

  async function run(): Promise<void> {
    let failures = 0;
    while (!signal.aborted) {
      if (!isRequested) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
        continue;
      }
      isRequested = false;
      try {
        await work(signal);
        failures = 0;
        failure = undefined;
        hasSynced = true;
        await clock.sleep(minIntervalMs, signal);
      } catch (error) {
        if (signal.aborted) return;
        failures += 1;
        failure = error instanceof Error ? error.message : String(error);
        log.warn('proxy sync failed, will be retried', { failures, error: failure });
        isRequested = true;
        await pause(clock, Math.min(100 * 2 ** failures, 10_000), signal);
      }
    }
  }

  const request = () => {
    isRequested = true;
    wake();
  };
  signal.addEventListener('abort', () => wake(), { once: true });
  const ended = run();
  return { request, hasSynced: () => hasSynced, failure: () => failure, ended };
}
