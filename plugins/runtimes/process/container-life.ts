/**
 * One container from its record to its removal: starts its shim, follows its output, notices its end, ends it. Survives
 * the agent through what is on disk; `resume` picks up a container that an earlier agent started.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, constants, existsSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { readdir, rm, rmdir } from 'node:fs/promises';
import { constants as osConstants } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { PintleError, type Container } from '../../../kernel/contract/index.ts';
import { invocationVariables, type Invocation } from './container-command.ts';
import { ContainerOutput, releaseShim, tellFifo } from './container-output.ts';
import {
  describeContainer,
  failureOf,
  observe,
  recordFailure,
  recordLoss,
  takeClaim,
  type ContainerRecord,
  type Observed,
} from './container-record.ts';
import { CriLog, removeLogFiles } from './cri-log.ts';
import type { Cgroups } from './cgroups.ts';
import { hostEnvironment } from './host-command.ts';
import { readText, writeRecord, type Layout } from './layout.ts';
import {
  allPids,
  childrenOf,
  holdNamespace,
  innerPid,
  isAlive,
  namespaceOf,
  parseStat,
  recordedProcess,
  signalProcess,
  statOf,
  type ProcessId,
} from './procfs.ts';
import { initScript, launchScript, shimScript } from './scripts.ts';
import { toolLoader } from './tools.ts';

export interface Launch {
  readonly propagation: string;
  readonly nsenter: readonly string[];
  readonly procsFiles: readonly string[];
  readonly invocation: Invocation;
  readonly command: string;
  readonly path: string;
  readonly workingDir: string;
}

export class ContainerLife {
  readonly record: ContainerRecord;
  readonly folder: string;
  /** Resolves when it has ended, its processes are gone and its output is in the log. */
  readonly ended: Promise<void>;
  readonly #layout: Layout;
  readonly #cgroups: Cgroups;
  readonly #exitFile: string;
  #output: ContainerOutput | undefined;
  #final: Container | undefined;
  #finishing: Promise<void> | undefined;
  #starting: Promise<void> | undefined;
  /** On record, not launched yet: it has no process to look for. */
  #isPreparing = false;
  #resolveEnded: () => void = () => undefined;
  readonly #onEnd: (life: ContainerLife) => void;

  constructor(
    record: ContainerRecord,
    dependencies: { readonly layout: Layout; readonly cgroups: Cgroups; readonly onEnd: (life: ContainerLife) => void },
  ) {
    this.record = record;
    this.#layout = dependencies.layout;
    this.#cgroups = dependencies.cgroups;
    this.#onEnd = dependencies.onEnd;
    this.folder = join(this.#layout.containers, record.spec.id);
    this.#exitFile = join(this.#layout.exits, record.spec.id);
    this.ended = new Promise((resolve) => {
      this.#resolveEnded = resolve;
    });
  }

  get id(): string {
    return this.record.spec.id;
  }

  get isEnded(): boolean {
    return this.#final !== undefined;
  }

  get output(): ContainerOutput | undefined {
    return this.#output;
  }

  /** It has ended when its output is in the log; until then it counts as running. */
  describe(): Container {
    this.check();
    return this.#final ?? describeContainer(this.record, this.#beforeEnd());
  }

  /** Writes the record. Nothing of the container exists before. */
  persist(): void {
    this.#isPreparing = true;
    mkdirSync(this.folder, { recursive: true, mode: 0o700 });
    writeRecord(join(this.folder, 'container.json'), this.record);
  }

  /** Resolves when the command is about to run. Rejects CONTAINER_START_FAILED; it is on record as exited then. */
  start(launch: Launch): Promise<void> {
    this.#starting = this.#start(launch).finally(() => {
      this.#starting = undefined;
    });
    this.#isPreparing = false;
    return this.#starting;
  }

  async #start(launch: Launch): Promise<void> {
    const { spec } = this.record;
    const words = [this.#pids, this.#exitFile, launch.propagation, ...launch.procsFiles, '--', ...launch.nsenter];
    const child = await spawned(['dash', '-c', 'eval "$PINTLE_LAUNCH"', 'pintle-launch', ...words], {
      cwd: this.folder,
      env: {
        ...hostEnvironment,
        ...invocationVariables(launch.invocation),
        PINTLE_LAUNCH: launchScript,
        PINTLE_SHIM: shimScript,
        PINTLE_INIT: initScript,
        // A terminal without input is silent; it has not ended.
        PINTLE_STDIN: spec.stdin && spec.stdinOnce === true ? 'once' : spec.stdin || spec.tty ? 'kept' : 'none',
        PINTLE_PIDS: this.#pids,
        PINTLE_LD: toolLoader.join(' '),
        PINTLE_COMMAND: launch.command,
        PINTLE_PATH: launch.path,
        PINTLE_WORKDIR: launch.workingDir,
      },
    });
    child.on('exit', () => this.check());
    await announced(child.stdio[3] as Readable);
    child.unref();
    const observed = this.#observe();
    const failure = failureOf(this.folder);
    if (
      failure === undefined &&
      (observed.state === 'running' || readText(join(this.folder, 'outcome')) === 'started\n')
    ) {
      this.#follow();
      this.check();
      return;
    }
    const message = `container ${spec.name}: ${failure?.message ?? 'its set-up ended early'}${this.#setupLog()}`;
    await this.fail(failure?.exitCode ?? 128, message);
    throw new PintleError('CONTAINER_START_FAILED', message, { details: { exitCode: failure?.exitCode ?? 128 } });
  }

  /** Ends whatever was started and puts the failure on record. */
  async fail(exitCode: number, message: string): Promise<void> {
    this.#isPreparing = false;
    takeClaim(this.folder);
    await this.#killAll();
    recordFailure(this.folder, this.#exitFile, exitCode, message);
    releaseShim(this.folder);
    await this.#finish();
  }

  /** Picks up what an earlier agent left. */
  async resume(): Promise<void> {
    const observed = this.#observe();
    const claimed = recordedProcess(join(this.folder, 'claim')) !== undefined;
    if (observed.state === 'lost' && !claimed && takeClaim(this.folder)) {
      await this.fail(128, `container ${this.record.spec.name}: the agent ended before it was started`);
      return;
    }
    // Its client went with the agent that carried it.
    if (existsSync(join(this.folder, 'stdin-taken'))) endStdin(this);
    if (observed.state === 'created') await this.#awaitOutcome();
    if (existsSync(join(this.folder, 'stdout.fifo')) && isAlive(recordedProcess(join(this.folder, 'claim'))))
      this.#follow();
    this.check();
  }

  /** Looks whether it has ended. Called on every hint, and now and then without one. */
  check(): void {
    if (this.#final !== undefined || this.#finishing !== undefined) return;
    if (this.#starting !== undefined || this.#isPreparing) return;
    const observed = this.#observe();
    if (observed.state === 'lost') recordLoss(this.folder, this.#exitFile);
    if (observed.state === 'exited' || observed.state === 'lost') void this.#finish();
  }

  async stop(graceMs: number, signal: NodeJS.Signals | number = stopSignal(this.record.stopSignal)): Promise<void> {
    // Whoever started it hears why it failed.
    await this.#starting?.catch(() => undefined);
    this.check();
    if (this.#final !== undefined) return;
    if (graceMs > 0 && this.#finishing === undefined) {
      const deadline = Date.now() + graceMs;
      signalProcess(await this.#awaitMain(deadline), signal);
      await endedWithin(this.ended, deadline - Date.now());
    }
    if (this.#final === undefined && this.#finishing === undefined) {
      await this.#killAll();
      this.check();
    }
    await this.ended;
  }

  /** Removes everything of a container that has ended; the record last. */
  async remove(): Promise<void> {
    this.#output?.close();
    const { spec } = this.record;
    for (let round = 0; !this.#cgroups.removeContainer(spec.sandboxId, this.id) && round < 100; round++)
      await pause(20);
    await rm(join(this.#layout.memory, this.id), { recursive: true, force: true });
    for (const name of await readdir(this.folder).catch(() => []))
      if (name !== 'container.json') await rm(join(this.folder, name), { recursive: true, force: true });
    removeLogFiles(spec.logPath, spec.maxLogFiles);
    rmSync(this.#exitFile, { force: true });
    await rm(join(this.folder, 'container.json'), { force: true });
    // Empty by now, and unknown without its record; what came in meanwhile goes with the sandbox.
    await rmdir(this.folder).catch(() => undefined);
  }

  /** Leaves the container to itself and to the next agent. */
  release(): void {
    this.#output?.close();
  }

  get initProcess(): ProcessId | undefined {
    const init = recordedProcess(join(this.folder, 'init'));
    return isAlive(init) ? init : undefined;
  }

  /** The command itself: a child of the init, or with a terminal a child of script(1) below it. */
  mainProcess(): ProcessId | undefined {
    const init = this.initProcess;
    const inner = parseStat(readText(join(this.folder, 'main')))?.pid;
    if (init === undefined || inner === undefined) return undefined;
    const pid = this.record.hostPid ? inner : childrenOf(init.pid).find((child) => innerPid(child) === inner);
    const stat = pid === undefined ? undefined : statOf(pid);
    if (stat?.parent !== init.pid) return undefined;
    if (!this.record.spec.tty) return stat;
    const onTerminal = childrenOf(stat.pid)[0];
    return onTerminal === undefined ? undefined : statOf(onTerminal);
  }

  /** A container counts as started a moment before its command is there to be told anything. */
  async #awaitMain(deadline: number): Promise<ProcessId | undefined> {
    for (;;) {
      const main = this.mainProcess();
      if (main !== undefined || this.#finishing !== undefined || Date.now() >= deadline) return main;
      await pause(5);
    }
  }

  /** Only the end of an own pid namespace ends all processes in it. */
  get #pids(): 'own' | 'shared' | 'host' {
    if (this.record.hostPid) return 'host';
    return this.record.sharedPid === true ? 'shared' : 'own';
  }

  #observe(): Observed {
    return observe(this.folder, this.#exitFile);
  }

  #beforeEnd(): Observed {
    const observed = this.#observe();
    if (observed.state !== 'exited') return observed;
    const { startedMs } = observed;
    return startedMs === undefined ? { state: 'created' } : { state: 'running', startedMs, pid: undefined };
  }

  #follow(): void {
    const { logPath, maxLogBytes, maxLogFiles } = this.record.spec;
    const log = new CriLog(logPath, maxLogBytes, maxLogFiles, join(this.folder, 'journal'));
    this.#output = new ContainerOutput(this.folder, log);
  }

  #finish(): Promise<void> {
    this.#finishing ??= this.#end();
    return this.#finishing;
  }

  async #end(): Promise<void> {
    const { spec } = this.record;
    if (this.#pids !== 'own') await this.#killAll();
    if (this.#cgroups.wasOutOfMemory(spec.sandboxId, this.id)) writeFileSync(join(this.folder, 'out-of-memory'), '');
    // The shim keeps the FIFOs, and what is in them, until it is released; after that they end when all has been taken.
    this.#output?.empty();
    releaseShim(this.folder);
    // Bounded: a process that got hold of a FIFO by other ways must not keep the container from ending.
    if (this.#output !== undefined) await endedWithin(this.#output.drained, 10_000);
    this.#output?.close();
    this.#final = describeContainer(this.record, this.#observe());
    this.#resolveEnded();
    this.#onEnd(this);
  }

  /** SIGKILL to its init; the kernel ends the rest of an own pid namespace. Resolves when the shim has seen it. */
  async #killAll(): Promise<void> {
    const init = this.initProcess;
    const mounts = init === undefined || this.#pids === 'own' ? undefined : holdNamespace(init.pid, 'mnt');
    signalProcess(init, 'SIGKILL');
    if (this.#pids !== 'own') await this.#killRest(mounts?.id).finally(mounts?.close);
    const shim = recordedProcess(join(this.folder, 'claim'));
    for (let waited = 0; waited < 10_000; waited += 5) {
      if (existsSync(this.#exitFile) || (!isAlive(init) && !isAlive(shim))) return;
      signalProcess(this.initProcess, 'SIGKILL');
      await pause(5);
    }
  }

  /** What forks while it is looked for is found in the next round; twice none, for what forked may have ended itself. */
  async #killRest(mounts: string | undefined): Promise<void> {
    const own = mounts === namespaceOf(process.pid, 'mnt') ? undefined : mounts;
    for (let waited = 0, empty = 0; empty < 2 && waited < 10_000; waited += 5) {
      const found = own === undefined ? [] : allPids().filter((pid) => namespaceOf(pid, 'mnt') === own);
      found.push(...this.#cgroups.processes(this.record.spec.sandboxId, this.id));
      const killed = found.filter((pid) => signalProcess(statOf(pid), 'SIGKILL'));
      empty = killed.length === 0 ? empty + 1 : 0;
      if (killed.length > 0) await pause(5);
    }
  }

  async #awaitOutcome(): Promise<void> {
    for (let waited = 0; waited < 10_000 && this.#observe().state === 'created'; waited += 10) await pause(10);
  }

  #setupLog(): string {
    const text = (readText(join(this.folder, 'setup.log')) ?? '').trim();
    return text === '' ? '' : ` (${text.split('\n').slice(0, 3).join('; ')})`;
  }
}

/** Opens the container's standard input for writing; undefined when it has none, or none any more. */
export function openStdin(life: ContainerLife): number | undefined {
  const { stdin, stdinOnce } = life.record.spec;
  if (!stdin) return undefined;
  const open = (name: string): number => openSync(join(life.folder, name), constants.O_WRONLY | constants.O_NONBLOCK);
  try {
    // Without a holder it has ended; a new writer would begin it again.
    if (stdinOnce === true) closeSync(open('hold.fifo'));
    if (stdinOnce === true) writeFileSync(join(life.folder, 'stdin-taken'), '');
    return open('stdin.fifo');
  } catch {
    return undefined;
  }
}

/** Ends an input that lasts for one client: when the last writer has closed it, the command reads its end. */
export function endStdin(life: ContainerLife): void {
  if (life.record.spec.stdinOnce === true) tellFifo(join(life.folder, 'hold.fifo'));
}

function stopSignal(name: string | undefined): NodeJS.Signals | number {
  if (name === undefined || name === '') return 'SIGTERM';
  if (/^\d+$/.test(name)) return Number(name);
  // Real-time signals, of which glibc keeps two for itself; Node has no names for them.
  const real = /^(?:SIG)?RTM(IN|AX)(?:[+-](\d+))?$/.exec(name);
  if (real !== null) return real[1] === 'IN' ? 34 + Number(real[2] ?? 0) : 64 - Number(real[2] ?? 0);
  const full = name.startsWith('SIG') ? name : `SIG${name}`;
  return full in osConstants.signals ? (full as NodeJS.Signals) : 'SIGTERM';
}

function spawned(
  argv: readonly string[],
  options: { readonly cwd: string; readonly env: Record<string, string> },
): Promise<ChildProcess> {
  const [program = '', ...args] = argv;
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { ...options, detached: true, stdio: ['ignore', 'ignore', 'ignore', 'pipe'] });
    child.once('spawn', () => resolve(child));
    child.once('error', (cause) =>
      reject(
        (cause as NodeJS.ErrnoException).code === 'E2BIG'
          ? new PintleError(
              'CONTAINER_INVALID',
              'the command and environment are larger than the kernel takes (128 KiB a word, 2 MiB in all)',
            )
          : new PintleError('HOST_COMMAND_FAILED', `${program} could not be run: ${cause.message}`, { cause }),
      ),
    );
  });
}

/** Resolves at the first byte or at the end of the pipe. */
function announced(pipe: Readable): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      pipe.destroy();
      resolve();
    };
    pipe.once('data', done).once('end', done).once('error', done);
  });
}

function endedWithin(ended: Promise<void>, ms: number): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    void ended.then(() => {
      clearTimeout(timer);
      resolve();
    });
  });
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => void setTimeout(resolve, ms));
}

export function readContainerRecord(folder: string): ContainerRecord | undefined {
  try {
    return JSON.parse(readFileSync(join(folder, 'container.json'), 'utf8')) as ContainerRecord;
  } catch {
    return undefined;
  }
}
