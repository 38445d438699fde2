/**
 * A process that runs one kernel: starts it, says when it is ready, and stops it in order on SIGTERM or SIGINT. A second
 * signal ends the process at once.
 */
import type { ClusterConfiguration } from '../kernel/config/cluster-configuration.ts';
import type { Role } from '../kernel/contract/index.ts';
import type { Settings } from '../kernel/registry/configure.ts';
import { builtIns } from './built-ins.ts';
import { type ExitCode, exitCodes } from './exit-codes.ts';
import { optimizeAsUsual } from './optimization.ts';
import type { LogFlags } from './options.ts';
import { saveReport } from './process-report.ts';
import { makeStateDir } from './state-dir.ts';
import type { Cli } from './terminal.ts';

export interface RunOptions {
  readonly config: ClusterConfiguration;
  readonly role: Role;
  readonly stateDir: string;
  readonly nodeName?: string;
  readonly settings: Settings;
  readonly logFlags: LogFlags;
  /** The line that says this process can serve. */
  readonly ready: string;
}

export async function runKernel(cli: Cli, options: RunOptions): Promise<ExitCode> {
  const { config, role, stateDir, nodeName, settings, logFlags } = options;
  const began = performance.now();
  makeStateDir(stateDir);
  const [{ startKernel }, { openLog }] = await Promise.all([
    import('../kernel/composition/start-kernel.ts'),
    import('../kernel/host/logger.ts'),
  ]);
  const log = openLog({ level: logFlags.logLevel, format: logFlags.logFormat, file: logFlags.logFile });
  const signals = catchSignals();
  try {
    const kernel = await startKernel({
      config,
      role,
      stateDir,
      nodeName,
      settings,
      log,
      catalogue: builtIns,
      signal: signals.start,
    });
    const writeReport = (): void => {
      try {
        saveReport(stateDir, { role, pid: process.pid, nodeName, plugins: kernel.report() });
      } catch (error) {
        // A full disk: what the process is for goes on, only `plugins ls` is not told.
        log.of('kernel').warn('the report for plugins ls could not be written', { error: String(error) });
      }
    };
    writeReport();
    optimizeAsUsual();
    cli.terminal.line(`${options.ready} (${Math.round(performance.now() - began)} ms)`);
    const cause = await signals.stop;
    log.of('kernel').info(`stopping: ${cause}`);
    try {
      await kernel.stop();
    } finally {
      writeReport();
    }
    return signals.failure === undefined ? exitCodes.done : exitCodes.failed;
  } catch (error) {
    if (signals.failure === undefined && signals.start.aborted && error === signals.start.reason) return exitCodes.done;
    throw error;
  } finally {
    signals.release();
    exitSoon();
  }
}

/** Everything has been stopped: what still holds the process open is a leak, and no reason to stay for ever. */
function exitSoon(): void {
  setTimeout(() => {
    process.stderr.write(`still open after the stop: ${process.getActiveResourcesInfo().join(', ')}\n`);
    process.exit();
  }, 3_000).unref();
}

interface Signals {
  /** Aborts the start. */
  readonly start: AbortSignal;
  /** Resolves to why this process shall stop. */
  readonly stop: Promise<string>;
  readonly failure: unknown;
  release(): void;
}

function catchSignals(): Signals {
  const abort = new AbortController();
  let failure: unknown;
  let tell: (cause: string) => void = () => undefined;
  const stop = new Promise<string>((resolve) => (tell = resolve));
  // signal handlers alone do not keep a process alive, and a kernel of idle plugins has nothing else
  const alive = setInterval(() => undefined, 2 ** 30);
  const onSignal = (signal: NodeJS.Signals): void => {
    if (abort.signal.aborted) process.exit(signal === 'SIGINT' ? 130 : 143);
    abort.abort(new Error(`stopped by ${signal}`));
    tell(signal);
  };
  // state is durable and every plugin re-attaches: after a bug nobody caught, an ordered stop is the safe way out
  const onBug = (error: unknown): void => {
    process.stderr.write(`unexpected: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
    failure ??= error;
    if (abort.signal.aborted) return;
    abort.abort(error);
    tell('an unexpected error');
  };
  process.on('SIGINT', onSignal).on('SIGTERM', onSignal);
  process.on('uncaughtException', onBug).on('unhandledRejection', onBug);
  return {
    start: abort.signal,
    stop,
    get failure() {
      return failure;
    },
    release() {
      clearInterval(alive);
      process.off('SIGINT', onSignal).off('SIGTERM', onSignal);
      process.off('uncaughtException', onBug).off('unhandledRejection', onBug);
    },
  };
}
