/**
 * A process that runs plugins of the catalogue as an agent would, one instance a kind, and does what the benchmark asks of
 * them. In a node's network namespace it stands for the node's agent: it can be killed, and its CPU and memory are the
 * plugins'. Plugins of third parties come by the same catalogue.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { ClusterFacts, Kind, Logger } from '../../kernel/contract/index.ts';
import { systemClock } from '../../kernel/machinery/clock.ts';
import type { Catalogue } from '../../kernel/registry/catalogue.ts';
import { configure } from '../../kernel/registry/configure.ts';
import { keepUnchanged } from './keep-unchanged.ts';
import { serveParent, Remote } from './remote.ts';
import type { Place } from './place.ts';

export interface PluginChoice {
  readonly kind: Kind;
  readonly name: string;
  readonly config: Readonly<Record<string, unknown>>;
}

export interface StartArgs extends PluginChoice {
  readonly stateDir: string;
  /** Kinds started before that this one is given. */
  readonly uses?: readonly Kind[];
}

export interface CallArgs {
  readonly kind: Kind;
  readonly verb: string;
  readonly args: readonly unknown[];
}

export interface Timed {
  readonly value: unknown;
  /** From the call to its end, without the way between processes. */
  readonly ms: number;
}

export interface SeriesArgs {
  readonly kind: Kind;
  readonly verb: string;
  readonly calls: readonly (readonly unknown[])[];
  readonly width: number;
}

export interface Usage {
  /** User and system time of this process and of its children that have ended. */
  readonly cpuSeconds: number;
  readonly residentBytes: number;
}

export const clusterFacts: ClusterFacts = {
  podCidrs: ['10.244.0.0/16', 'fd44::/48'],
  serviceCidrs: ['10.96.0.0/12', 'fd96::/108'],
  dnsDomain: 'cluster.local',
  dnsServiceIp: '10.96.0.10',
};

const toStderr = (message: string, fields?: Readonly<Record<string, unknown>>): void =>
  void process.stderr.write(`${message} ${JSON.stringify(fields ?? {})}\n`);
const log: Logger = { debug() {}, info() {}, warn() {}, error: toStderr };

type Instance = AsyncDisposable & Readonly<Record<string, (...args: readonly unknown[]) => unknown>>;

/** Starts one plugin with what a kernel would give it. */
export async function startPlugin(
  catalogue: Catalogue,
  { kind, name, config, stateDir }: Omit<StartArgs, 'uses'>,
  uses: object = {},
): Promise<AsyncDisposable> {
  const item = catalogue.get(kind, name);
  if (item === undefined) throw new Error(`no ${kind} is named ${name}`);
  const plugin = await item.plugin();
  const configured = await configure(plugin, { name, config } as never, {});
  if (!configured.ok) throw new Error(`${kind}/${name}: ${configured.issues.map(({ message }) => message).join('; ')}`);
  mkdirSync(stateDir, { recursive: true });
  const context = {
    ...{ config: configured.config, cluster: clusterFacts, uses, log, clock: systemClock, stateDir },
    nodeName: 'bench',
  };
  return plugin.start(context as never, new AbortController().signal);
}

export interface JobArgs {
  readonly name: string;
  readonly args: unknown;
}

/** Starts a plugin in the process of a job. */
export type StartHere = <T>(choice: PluginChoice, stateDir: string, uses?: object) => Promise<T & AsyncDisposable>;

/** The plugin of that kind that the process runs. */
export type RunningHere = <T>(kind: Kind) => T;

/** A measurement that calls plugins in their own process. */
export type Job<Args, Result> = (args: Args, start: StartHere, running: RunningHere) => Promise<Result>;
export type Jobs = Readonly<Record<string, () => Promise<Job<never, unknown>>>>;

/** The body of the process: what `pintle bench-plugins` runs. */
export function servePlugins(catalogue: Catalogue, jobs: Jobs): void {
  const instances = new Map<Kind, Instance>();
  const lastArgs = new Map<string, readonly unknown[]>();
  const get = (kind: Kind): Instance => {
    const instance = instances.get(kind);
    if (instance === undefined) throw new Error(`no ${kind} runs here`);
    return instance;
  };
  const timed = async (kind: Kind, verb: string, args: readonly unknown[]): Promise<Timed> => {
    const instance = get(kind);
    const began = performance.now();
    const value = await instance[verb]!(...args);
    return { value, ms: performance.now() - began };
  };
  serveParent({
    start: async (args: StartArgs) => {
      const uses = Object.fromEntries((args.uses ?? []).map((kind) => [kind, get(kind)]));
      instances.set(args.kind, (await startPlugin(catalogue, args, uses)) as Instance);
    },
    call: ({ kind, verb, args }: CallArgs) => {
      const kept = keepUnchanged(lastArgs.get(`${kind} ${verb}`), args);
      lastArgs.set(`${kind} ${verb}`, kept);
      return timed(kind, verb, kept);
    },
    series: async ({ kind, verb, calls, width }: SeriesArgs) => {
      const took = new Float64Array(calls.length);
      let next = 0;
      const began = performance.now();
      const lane = async (): Promise<void> => {
        for (let index = next++; index < calls.length; index = next++)
          took[index] = (await timed(kind, verb, calls[index]!)).ms;
      };
      await Promise.all(Array.from({ length: width }, lane));
      return { took, ms: performance.now() - began };
    },
    job: async ({ name, args }: JobArgs) => {
      const job = (await jobs[name]!()) as Job<unknown, unknown>;
      const start = async (choice: PluginChoice, stateDir: string, uses: object = {}) =>
        startPlugin(catalogue, { ...choice, stateDir }, uses);
      return job(args, start as StartHere, <T>(kind: Kind) => get(kind) as unknown as T);
    },
    usage: (): Usage => {
      const [own, resident] = [process.cpuUsage(), process.memoryUsage.rss()];
      return { cpuSeconds: (own.user + own.system) / 1e6, residentBytes: resident };
    },
    dispose: async ({ kind }: { readonly kind: Kind }) => {
      const instance = instances.get(kind);
      instances.delete(kind);
      await instance?.[Symbol.asyncDispose]();
    },
  });
  process.send?.({ id: 0, value: 'ready' });
}

/** How such a process is started: the command line program of Pintle, and the modules that plugins come from. */
export interface PluginSource {
  readonly program: string;
  readonly modules: readonly string[];
  readonly directory: string;
}

export class PluginProcess {
  readonly #remote: Remote;
  readonly #stateDir: string;

  constructor(place: Place, { program, modules, directory }: PluginSource, stateDir: string) {
    const child = place.fork(program, ['bench-plugins', JSON.stringify({ modules, directory })]);
    this.#remote = new Remote(`plugins in ${place.name}`, child);
    this.#stateDir = stateDir;
  }

  get pid(): number {
    return this.#remote.child.pid ?? 0;
  }

  start(choice: PluginChoice, uses: readonly Kind[] = []): Promise<void> {
    const stateDir = join(this.#stateDir, choice.kind, choice.name);
    return this.#remote.call('start', { ...choice, stateDir, uses } satisfies StartArgs);
  }

  async call<T>(kind: Kind, verb: string, ...args: readonly unknown[]): Promise<{ value: T; ms: number }> {
    const timed = await this.#remote.call<Timed>('call', { kind, verb, args } satisfies CallArgs);
    return { value: timed.value as T, ms: timed.ms };
  }

  series(args: SeriesArgs): Promise<{ readonly took: Float64Array; readonly ms: number }> {
    return this.#remote.call('series', args);
  }

  job<Result>(name: string, args: unknown): Promise<Result> {
    return this.#remote.call('job', { name, args } satisfies JobArgs);
  }

  usage(): Promise<Usage> {
    return this.#remote.call('usage');
  }

  dispose(kind: Kind): Promise<void> {
    return this.#remote.call('dispose', { kind });
  }

  /** kill -9, as of an agent that crashes. */
  async kill(): Promise<void> {
    const { child } = this.#remote;
    if (child.exitCode !== null || child.signalCode !== null) return;
    await new Promise<void>((resolve) => {
      child.once('exit', () => resolve());
      child.kill('SIGKILL');
    });
  }
}
