/**
 * A network namespace of the benchmark, with what runs in it. Owns its processes: `close` ends every one that it started,
 * by pid, before the namespace goes.
 */
import { fork, spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { PintleError } from '../../kernel/contract/errors.ts';
import { hostFacts } from '../../kernel/host/host-facts.ts';
import { createNetns, deleteNetns, runInNetns } from '../../netplugins/linux/namespaces.ts';
import { openRtnetlink, type Rtnetlink } from '../../netplugins/linux/rtnetlink.ts';
import { newFolder } from './run-folders.ts';

/** npm's folders first would find another program called nft. */
export const hostPath = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
export const hostEnvironment = (): NodeJS.ProcessEnv => ({ ...process.env, PATH: hostPath, LC_ALL: 'C' });

/** The last two processors that this process may use, where there are two and taskset (util-linux) is there. */
function corePair(): readonly [number, number] | undefined {
  const list = /^Cpus_allowed_list:\s*(\S+)/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '';
  const cores = list.split(',').flatMap((range) => {
    const [first = Number.NaN, last = first] = range.split('-').map(Number);
    return Array.from({ length: last - first + 1 }, (_, index) => first + index);
  });
  const [a, b] = cores.slice(-2);
  return a === undefined || b === undefined || hostFacts().command('taskset') === undefined ? undefined : [a, b];
}

let cores: ReturnType<typeof corePair> | null = null;

/**
 * Who asks and who answers have a processor each: where the kernel puts them together or apart as it likes, a round trip
 * takes one of two times that differ threefold, and no median says anything.
 */
export function coreOf(role: 'asks' | 'answers'): number | undefined {
  cores = cores === null ? corePair() : cores;
  return cores?.[role === 'asks' ? 0 : 1];
}

/** Of all places, until they end. */
const running = new Set<ChildProcess>();

/** Marks a moment; what it returns ends what was started since: for one that hangs and does not end its own. */
export function markProcesses(): () => void {
  const before = new Set(running);
  return () => {
    for (const child of running) if (!before.has(child)) child.kill('SIGKILL');
  };
}

export class Place {
  readonly name: string;
  readonly netns: string;
  /** The processor that its processes run on; undefined: any. */
  readonly core: number | undefined;
  readonly #children = new Set<ChildProcess>();

  constructor(name: string, netns: string, core?: number) {
    this.name = name;
    this.netns = netns;
    this.core = core;
  }

  fork(module: string, argv: readonly string[]): ChildProcess {
    return this.#own(
      runInNetns(this.netns, () =>
        fork(module, argv, {
          ...{ serialization: 'advanced', env: hostEnvironment(), stdio: ['ignore', 'ignore', 'inherit', 'ipc'] },
          // taskset becomes the very process that it starts.
          ...(this.core === undefined
            ? { execArgv: [] }
            : { execPath: 'taskset', execArgv: [...this.#onCore(), process.execPath] }),
        }),
      ),
    );
  }

  spawn(command: string, argv: readonly string[]): ChildProcess {
    const program = this.core === undefined ? command : 'taskset';
    const rest = this.core === undefined ? argv : [...this.#onCore(), command, ...argv];
    return this.#own(
      runInNetns(this.netns, () => spawn(program, rest, { stdio: ['ignore', 'pipe', 'pipe'], env: hostEnvironment() })),
    );
  }

  #onCore(): readonly string[] {
    return ['-c', String(this.core)];
  }

  /** Output of a command that ends by itself. Rejects when it fails, and when the signal ends it. */
  async run(command: string, argv: readonly string[], signal?: AbortSignal): Promise<string> {
    const child = this.spawn(command, argv);
    const stop = (): void => void child.kill('SIGKILL');
    signal?.addEventListener('abort', stop, { once: true });
    const [out, err] = [collect(child.stdout), collect(child.stderr)];
    const code = await new Promise<number | NodeJS.ErrnoException | null>((resolve) => {
      child.once('error', resolve);
      child.once('close', resolve);
    });
    signal?.removeEventListener('abort', stop);
    // Some tools say their results on standard error.
    if (code === 0) return out() === '' ? err() : out();
    const what = typeof code === 'object' && code !== null ? code.message : `exit code ${code}`;
    const said = (err() || out()).trim().split('\n').slice(-3).join(' ');
    throw new PintleError('BENCH_FAILED', `${command} ${argv.join(' ')}: ${what}: ${said}`);
  }

  /** For short commands of the clean-up. */
  runNow(command: string, argv: readonly string[]): { readonly status: number | null; readonly stdout: string } {
    return runInNetns(this.netns, () => spawnSync(command, argv, { encoding: 'utf8', env: hostEnvironment() }));
  }

  links<T>(use: (links: Rtnetlink) => T): T {
    const links = openRtnetlink({ netns: this.netns });
    try {
      return use(links);
    } finally {
      links.close();
    }
  }

  async stopProcesses(): Promise<void> {
    await Promise.all([...this.#children].map(endChild));
  }

  async close(): Promise<void> {
    await this.stopProcesses();
    deleteNetns(this.netns);
  }

  #own(child: ChildProcess): ChildProcess {
    const forget = (): void => {
      this.#children.delete(child);
      running.delete(child);
    };
    this.#children.add(child);
    running.add(child);
    child.once('exit', forget);
    // A command that is not there: its user is told by the same event.
    child.once('error', forget);
    return child;
  }
}

/** Where this process is: for what needs a process and no network of its own. Its namespace is nobody's to close. */
export const here = (): Place => new Place('here', '/proc/self/ns/net');

export async function endChild(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
  await new Promise<void>((resolve) => {
    child.once('exit', () => resolve());
    child.kill('SIGKILL');
  });
}

function collect(stream: NodeJS.ReadableStream | null): () => string {
  const chunks: Buffer[] = [];
  stream?.on('data', (chunk: Buffer) => chunks.push(chunk));
  return () => Buffer.concat(chunks).toString();
}

/** A folder of this bed, and the places in it. */
export class Places {
  readonly folder: string = newFolder('pintle-bench');
  readonly #places: Place[] = [];

  make(name: string, core?: number): Place {
    const netns = join(this.folder, `${name}.netns`);
    createNetns(netns);
    const place = new Place(name, netns, core);
    this.#places.push(place);
    place.links((links) => links.setLink('lo', { up: true }));
    return place;
  }

  all(): readonly Place[] {
    return this.#places;
  }

  async close(): Promise<void> {
    for (const place of this.#places) await place.close();
    rmSync(this.folder, { recursive: true, force: true });
  }
}
