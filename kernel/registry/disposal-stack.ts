import { PintleError } from '../contract/index.ts';
import { withDeadline } from './deadline.ts';

interface Disposal {
  readonly name: string;
  readonly dispose: () => PromiseLike<void> | void;
}

/**
 * Disposes in reverse order, attempts every disposal, gives each a deadline, and gathers what went wrong.
 * (AsyncDisposableStack is missing in Node 20, and knows neither names nor deadlines.)
 */
export class DisposalStack implements AsyncDisposable {
  readonly #disposals: Disposal[] = [];
  readonly #deadlineMs: number;
  #disposed: Promise<void> | undefined;

  constructor(deadlineMs: number) {
    this.#deadlineMs = deadlineMs;
  }

  push(name: string, dispose: () => PromiseLike<void> | void): void {
    if (this.#disposed !== undefined) throw new Error(`${name}: pushed on a stack that is already disposed`);
    this.#disposals.push({ name, dispose });
  }

  /** Rejects with PLUGIN_STOP_FAILED whose cause is an AggregateError. A second call gives the first one's outcome. */
  [Symbol.asyncDispose](): Promise<void> {
    this.#disposed ??= this.#disposeAll();
    return this.#disposed;
  }

  async #disposeAll(): Promise<void> {
    const failures: { readonly name: string; readonly error: unknown }[] = [];
    for (const { name, dispose } of this.#disposals.reverse()) {
      try {
        await withDeadline(
          (async () => dispose())(),
          this.#deadlineMs,
          () => new PintleError('PLUGIN_STOP_FAILED', `${name} did not stop within ${this.#deadlineMs} ms`),
        );
      } catch (error) {
        failures.push({ name, error });
      }
    }
    if (failures.length === 0) return;
    const names = failures.map((failure) => failure.name);
    const reasons = failures.map(
      ({ name, error }) => `${name}: ${error instanceof Error ? error.message : String(error)}`,
    );
    throw new PintleError('PLUGIN_STOP_FAILED', `${names.length} did not stop cleanly: ${reasons.join('; ')}`, {
      details: { plugins: names },
      cause: new AggregateError(failures.map((failure) => failure.error)),
    });
  }
}
