/**
 * A mount namespace with a /run of its own, where containerd and its shims keep their sockets. It outlives the engine that
 * runs in it, as a host does.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';

const hold = 'mkdir -p /run && mount -t tmpfs tmpfs /run && echo ready && exec sleep infinity';

/** Where a private engine runs. */
export interface EnginePlace {
  /** The command line that runs `argv` there. */
  within(argv: readonly string[]): readonly [string, ...string[]];
  /** Of such a command line once it runs, the pid of the program itself. */
  pidOf(child: ChildProcess): number | undefined;
  end(): Promise<void>;
}

export class OwnRun implements EnginePlace {
  readonly #holder: ChildProcess;

  private constructor(holder: ChildProcess) {
    this.#holder = holder;
  }

  static async make(): Promise<OwnRun> {
    // It ends with the test, however that ends: what holds the runner's pipes open keeps the whole lane.
    const argv = ['--pdeathsig', 'KILL', '--', 'unshare', '--mount', '--propagation', 'private', 'sh', '-c', hold];
    const holder = spawn('setpriv', argv, { stdio: ['ignore', 'pipe', 'inherit'] });
    await Promise.race([
      once(holder.stdout, 'data'),
      once(holder, 'exit').then(() => Promise.reject(new Error('no mount namespace could be made'))),
    ]);
    return new OwnRun(holder);
  }

  /** The command line that runs `argv` in it, as the very process that it starts. */
  within(argv: readonly string[]): readonly [string, ...string[]] {
    return ['nsenter', '--mount', '--target', String(this.#holder.pid), '--', ...argv];
  }

  pidOf(child: ChildProcess): number | undefined {
    return child.pid;
  }

  async end(): Promise<void> {
    const ended = once(this.#holder, 'exit');
    this.#holder.kill('SIGKILL');
    await ended;
  }
}
