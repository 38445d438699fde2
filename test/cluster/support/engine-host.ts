/**
 * What stands for the host of a container engine: a mount namespace whose mounts are shared, as those of a host are, with a
 * /run of its own, where clusters run; and in it pid and network namespaces in which the engine runs, as seen from a
 * cluster's lab on a real host: its mounts are visible, its processes and its network are not. All of it ends with the test.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, openSync, readFileSync } from 'node:fs';
import { processesBelow } from '../../../bench/programs/node-inventory.ts';
import type { EnginePlace } from '../../lab/support/own-run.ts';
import { eventually } from './pods.ts';

const hold = 'mount -t tmpfs tmpfs /run && mount --make-rshared / && echo ready && exec sleep infinity';
/** Pid 1 of the engine's namespaces: it collects the engine's orphans. */
const init =
  'mount --make-rprivate /proc && mount -t proc proc /proc && ip link set lo up && echo ready && sleep infinity & wait';

/** A process that says that it is ready, and dies with the test. */
async function holder(argv: readonly string[]): Promise<ChildProcess> {
  const child = spawn('setpriv', ['--pdeathsig', 'KILL', '--', ...argv], { stdio: ['ignore', 'pipe', 'inherit'] });
  await Promise.race([
    once(child.stdout, 'data'),
    once(child, 'exit').then(() => Promise.reject(new Error(`${argv.join(' ')}: no namespaces`))),
  ]);
  return child;
}

const childOf = (pid: number): number | undefined =>
  Number(readFileSync(`/proc/${pid}/task/${pid}/children`, 'latin1').trim().split(' ')[0]) || undefined;

export class EngineHost implements EnginePlace {
  readonly #mounts: ChildProcess;
  readonly #engine: ChildProcess;
  /** Pid 1 of the engine's namespaces, as we number it. */
  readonly #init: number;

  private constructor(mounts: ChildProcess, engine: ChildProcess, pid: number) {
    this.#mounts = mounts;
    this.#engine = engine;
    this.#init = pid;
  }

  static async make(): Promise<EngineHost> {
    const mounts = await holder(['unshare', '--mount', '--propagation', 'private', 'sh', '-c', hold]);
    const inside = ['nsenter', '--mount', '--target', String(mounts.pid), '--'];
    const apart = ['unshare', '--net', '--pid', '--fork', '--kill-child', '--mount', '--propagation', 'unchanged'];
    const engine = await holder([...inside, ...apart, 'sh', '-c', init]);
    return new EngineHost(mounts, engine, childOf(engine.pid!)!);
  }

  /** The command line that runs `argv` in the mounts of the host: a cluster. */
  readonly onHost = (argv: readonly string[]): readonly [string, ...string[]] => [
    ...(['nsenter', '--mount', '--target', String(this.#mounts.pid), '--'] as const),
    ...argv,
  ];

  /** ... where the engine runs. */
  readonly within = (argv: readonly string[]): readonly [string, ...string[]] => [
    ...(['nsenter', '--mount', '--net', '--pid', '--target', String(this.#init), '--'] as const),
    ...argv,
  ];

  /** Of a command line made by `within`, the pid of the program itself. */
  readonly pidOf = (child: ChildProcess): number | undefined => childOf(child.pid!);

  /** The engine's network namespace, for a bind mount. */
  get netns(): string {
    return `/proc/${this.#init}/ns/net`;
  }

  start(argv: readonly string[], options: { readonly log: string; readonly home: string }): ChildProcess {
    const log = openSync(options.log, 'a');
    const [command, ...args] = this.within(argv);
    const env = { PATH: process.env['PATH'], HOME: options.home };
    const child = spawn(command, args, { stdio: ['ignore', log, log], env });
    closeSync(log);
    return child;
  }

  /** Where the engine runs: the engine, its shims, and all containers. */
  processes(): readonly number[] {
    return processesBelow(this.#init);
  }

  async end(): Promise<void> {
    for (const child of [this.#engine, this.#mounts]) {
      const ended = once(child, 'exit');
      child.kill('SIGKILL');
      await ended;
    }
    await eventually(() => (existsSync(`/proc/${this.#init}`) ? undefined : true));
  }
}
