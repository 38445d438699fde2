import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import {
  type Clock,
  type ClusterFacts,
  isPintleError,
  type Kind,
  type Logger,
  type PluginContext,
  PintleError,
} from '../contract/index.ts';
import { withDeadline } from './deadline.ts';
import { DisposalStack } from './disposal-stack.ts';
import type { Candidate } from './plan.ts';
import { instanceFault, pluginId } from './plugin-shape.ts';
import { ProcessMetrics } from './process-metrics.ts';
import type { Report } from './report.ts';

export interface LifeCycleOptions {
  readonly report: Report;
  readonly clock: Clock;
  readonly log: Logger;
  /** The log of one plugin. */
  readonly logOf: (id: string) => Logger;
  readonly cluster: ClusterFacts;
  readonly stateDir: string;
  readonly nodeName: string | undefined;
  /** For each disposal. */
  readonly stopDeadlineMs: number;
}

export type Instance = object & AsyncDisposable;
interface Milestone {
  readonly plugin: string;
  readonly startedInMs: number;
}

export const defaultStartDeadlineMs = 30_000;
/** After a deadline or an abort: how long a start may take to undo what it did. */
const undoMs = 2_000;

/** Starts plugins one after the other, and stops them in reverse. */
export class LifeCycle {
  readonly #options: LifeCycleOptions;
  readonly #running: DisposalStack;
  readonly #timeline: Milestone[] = [];
  readonly #metrics = new ProcessMetrics();
  #stopped: Promise<void> | undefined;

  constructor(options: LifeCycleOptions) {
    this.#options = options;
    this.#running = new DisposalStack(options.stopDeadlineMs);
  }

  /** Starts each in the given order; `started` is told before the next begins. On a failure, what runs is disposed. */
  async start(
    ordered: readonly Candidate[],
    uses: (candidate: Candidate) => object,
    started: (candidate: Candidate, instance: Instance) => void,
    signal: AbortSignal,
  ): Promise<void> {
    try {
      for (const candidate of ordered) {
        signal.throwIfAborted();
        started(candidate, await this.#startOne(candidate, uses(candidate), signal));
      }
    } catch (error) {
      await this.stop().catch((stopError: unknown) => {
        // added to the first error's story, never swapped for it
        this.#options.log.error('stopping what had started failed too', { error: String(stopError) });
      });
      throw error;
    }
  }

  /** Stops all in reverse order, once. Rejects with PLUGIN_STOP_FAILED that gathers what failed. */
  stop(): Promise<void> {
    this.#stopped ??= this.#running[Symbol.asyncDispose]();
    return this.#stopped;
  }

  async #startOne({ plugin, config }: Candidate, uses: object, signal: AbortSignal): Promise<Instance> {
    const { report, clock, log, logOf, cluster, nodeName } = this.#options;
    const { kind, name } = plugin;
    const id = pluginId(plugin);
    const began = clock.now();
    report.set(kind, name, { state: 'starting' });
    try {
      const stateDir = this.#stateDir(id);
      const processMetrics = () => this.#metrics.text(log);
      const about = { config, uses, cluster, log: logOf(id), clock, stateDir, nodeName, processMetrics };
      const context = about as PluginContext<never, Kind>;
      const instance = await this.#startInTime(
        id,
        plugin.startDeadlineMs ?? defaultStartDeadlineMs,
        async (inner) => plugin.start(context, inner),
        signal,
      );
      const fault = instanceFault(kind, instance);
      if (fault !== undefined) {
        await disposeQuietly(instance, log, id);
        throw new PintleError('PLUGIN_INVALID', `${id}: ${fault}. Ask its author`, { details: { plugin: id } });
      }
      const started = instance as Instance;
      const startedInMs = clock.now() - began;
      this.#timeline.push({ plugin: id, startedInMs });
      report.set(kind, name, { state: 'running', startedInMs });
      this.#metrics.add(id, started);
      this.#running.push(id, async () => {
        this.#metrics.remove(id);
        report.set(kind, name, { state: 'stopping' });
        try {
          await started[Symbol.asyncDispose]();
          report.set(kind, name, { state: 'stopped' });
        } catch (error) {
          report.fail(kind, name, error);
          throw error;
        }
      });
      log.debug(`${id} runs`, { startedInMs });
      return started;
    } catch (error) {
      const isOurs = isPintleError(error) && error.code.startsWith('PLUGIN_');
      const failure = signal.aborted || isOurs ? error : startFailed(id, error);
      report.fail(kind, name, failure);
      throw failure;
    }
  }

  async #startInTime(
    id: string,
    deadlineMs: number,
    start: (signal: AbortSignal) => Promise<unknown>,
    signal: AbortSignal,
  ): Promise<unknown> {
    // the plugin's signal ends with its start: what aborts later is no reason to undo a start that is over
    const abort = new AbortController();
    let onAbort = (): void => undefined;
    const aborted = new Promise<never>((_, reject) => {
      onAbort = () => reject(signal.reason as Error);
      signal.addEventListener('abort', onAbort);
    });
    const starting = start(abort.signal);
    const timeout = (): Error =>
      new PintleError(
        'PLUGIN_START_TIMEOUT',
        `${id} did not start within ${deadlineMs} ms. Before it: ${this.#timelineText()}`,
        { details: { plugin: id, deadlineMs, timeline: [...this.#timeline] } },
      );
    let settled = false;
    const settle = (): void => void (settled = true);
    starting.then(settle, settle);
    try {
      return await withDeadline(Promise.race([starting, aborted]), deadlineMs, timeout);
    } catch (error) {
      if (!settled) {
        abort.abort(error);
        const { log } = this.#options;
        // a start that ends late all the same must not leave its instance behind
        const late = starting.then(
          (instance) => disposeQuietly(instance, log, id),
          () => undefined,
        );
        await withDeadline(late, undoMs, () => new Error('late')).catch(() => {
          log.error(`${id} neither started nor gave up; what it did may be left behind`);
        });
      }
      throw error;
    } finally {
      signal.removeEventListener('abort', onAbort);
    }
  }

  #timelineText(): string {
    if (this.#timeline.length === 0) return 'nothing';
    return this.#timeline.map(({ plugin, startedInMs }) => `${plugin} ${Math.round(startedInMs)} ms`).join(', ');
  }

  #stateDir(id: string): string {
    const path = join(this.#options.stateDir, ...id.split('/'));
    try {
      mkdirSync(path, { recursive: true, mode: 0o700 });
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause);
      throw new PintleError(
        'PLUGIN_START_FAILED',
        `${id}: its state folder ${path} cannot be made: ${reason}. Free the disk, or give another --state-dir`,
        { details: { plugin: id }, cause },
      );
    }
    return path;
  }
}

function startFailed(id: string, cause: unknown): PintleError {
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new PintleError('PLUGIN_START_FAILED', `${id} failed to start: ${reason}`, { details: { plugin: id }, cause });
}

async function disposeQuietly(instance: unknown, log: Logger, id: string): Promise<void> {
  try {
    await (instance as Partial<AsyncDisposable> | undefined)?.[Symbol.asyncDispose]?.();
  } catch (error) {
    log.error(`${id}: disposing what it returned failed`, { error: String(error) });
  }
}
