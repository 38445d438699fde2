/** How fast runtimes start and stop pods, beside bare namespaces made by unshare. */
import { readFileSync, rmSync } from 'node:fs';
import type { Container, Image } from '../../../kernel/contract/index.ts';
import { here } from '../../bed/place.ts';
import { PluginProcess, type PluginSource } from '../../bed/plugin-process.ts';
import { residentBytesOf } from '../../bed/processes.ts';
import { newFolder } from '../../bed/run-folders.ts';
import type { Fact, Metric } from '../../method/result.ts';
import {
  type Bed,
  type CellPlan,
  check,
  type Check,
  type Recorder,
  type Size,
  type Suite,
} from '../../method/suite.ts';
import { metric } from '../net/metrics.ts';
import { capabilityFacts, select, type Selected, type SuiteContext } from '../selection.ts';
import { type OwnEngine, ownEngines, type RunningEngine } from './own-engines.ts';
import { containerSpec, type Program, sandboxSpec } from './pod-spec.ts';
import { type BarePodsArgs, type PodTimes, type RuntimePodsArgs, width } from './pods-job.ts';

const metrics: readonly Metric[] = [
  metric({
    id: 'start-p50',
    title: 'pod started, one after the other, p50',
    unit: 'ms',
    better: 'less',
    group: 'start',
    headline: true,
  }),
  metric({ id: 'start-p99', title: 'pod started, p99', unit: 'ms', better: 'less', group: 'start', leastChange: 0.5 }),
  metric({
    id: 'stop-p50',
    title: 'pod stopped and removed, p50',
    unit: 'ms',
    better: 'less',
    group: 'stop',
    headline: true,
  }),
  metric({
    id: 'stop-p99',
    title: 'pod stopped and removed, p99',
    unit: 'ms',
    better: 'less',
    group: 'stop',
    leastChange: 0.5,
  }),
  metric({
    id: 'rate',
    title: `pods started, ${width} at a time`,
    unit: '/s',
    better: 'more',
    group: 'rate',
    headline: true,
  }),
  metric({ id: 'memory', title: 'memory of the agent process', unit: 'MiB', better: 'less', group: 'memory' }),
];

/** A process as large as those that run plugins, without one. */
class BareBed implements Bed {
  readonly #place = here();
  readonly #folder = newFolder('pintle-bench');
  readonly #process: PluginProcess;
  readonly #size: Size;
  #pods = 0;

  constructor(source: PluginSource, size: Size) {
    this.#process = new PluginProcess(this.#place, source, this.#folder);
    this.#size = size;
  }

  async check(): Promise<readonly Check[]> {
    return [];
  }

  async measure(record: Recorder): Promise<void> {
    const args: BarePodsArgs = { size: this.#size, folder: this.#folder };
    const { pods, figures } = await this.#process.job<PodTimes>('bare-pods', args);
    this.#pods = pods;
    for (const [id, value] of Object.entries(figures)) record(id, value);
  }

  facts(): Readonly<Record<string, Fact>> {
    return { pods: this.#pods };
  }

  async close(): Promise<readonly string[]> {
    await this.#place.stopProcesses();
    rmSync(this.#folder, { recursive: true, force: true });
    return [];
  }
}

const mounts = (): readonly string[] =>
  readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[4] ?? '');

class RuntimeBed implements Bed {
  readonly #place = here();
  readonly #folder = newFolder('pintle-bench');
  readonly #before = new Set(mounts());
  readonly #process: PluginProcess;
  readonly #choice: Selected;
  readonly #size: Size;
  /** An engine of the benchmark's own is started for it. */
  readonly #ownEngine: OwnEngine | undefined;
  #program: Program;
  #engine: RunningEngine | undefined;
  #pods = 0;

  constructor(
    choice: Selected,
    source: PluginSource,
    options: { readonly size: Size; readonly image: string; readonly ownEngine: OwnEngine | undefined },
  ) {
    this.#process = new PluginProcess(this.#place, source, this.#folder);
    this.#choice = choice;
    this.#size = options.size;
    this.#ownEngine = options.ownEngine;
    this.#program = { image: options.image, command: ['sleep', '1000'] };
  }

  async open(): Promise<this> {
    try {
      await this.#prepare();
      return this;
    } catch (error) {
      await this.#stopAll();
      throw error;
    }
  }

  async #prepare(): Promise<void> {
    let { config } = this.#choice;
    if (this.#ownEngine !== undefined) {
      this.#engine = await this.#ownEngine.start(this.#place, this.#folder);
      config = { ...config, ...this.#engine.config };
      this.#program = this.#engine.program;
    }
    await this.#process.start({ kind: this.#choice.kind, name: this.#choice.name, config });
    const { image } = this.#program;
    const { value } = await this.#process.call<Image | undefined>('runtime', 'imageStatus', image);
    if (value === undefined) await this.#process.call('runtime', 'pullImage', image);
  }

  async #stopAll(): Promise<void> {
    await this.#engine?.stop();
    await this.#place.stopProcesses();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  async check(): Promise<readonly Check[]> {
    const id = 'bench-check';
    await this.#process.call('runtime', 'ensureSandbox', sandboxSpec(id));
    await this.#process.call('runtime', 'startContainer', containerSpec(id, this.#program, this.#folder));
    const containers = async (): Promise<readonly Container[]> =>
      (await this.#process.call<readonly Container[]>('runtime', 'listContainers')).value;
    const [one] = await containers();
    const isReal = this.#choice.capabilities.includes('real');
    const isThere = !isReal || (one?.pid !== undefined && readFileSync(`/proc/${one.pid}/stat`, 'utf8') !== '');
    await this.#process.call('runtime', 'stopContainer', `${id}-main`, 0);
    await this.#process.call('runtime', 'removeSandbox', id);
    return [
      check('the container runs', one?.state === 'running', one?.state),
      check('its process is there', isThere),
      check('after the removal nothing is listed', (await containers()).length === 0),
    ];
  }

  async measure(record: Recorder): Promise<void> {
    const args: RuntimePodsArgs = { size: this.#size, program: this.#program, folder: this.#folder };
    const { pods, figures } = await this.#process.job<PodTimes>('runtime-pods', args);
    this.#pods = pods;
    for (const [id, value] of Object.entries(figures)) record(id, value);
    record('memory', residentBytesOf(this.#process.pid) / 2 ** 20);
  }

  facts(): Readonly<Record<string, Fact>> {
    return {
      pods: this.#pods,
      image: this.#program.image,
    };
  }

  async close(): Promise<readonly string[]> {
    try {
      await this.#process.call('runtime', 'purge');
      await this.#process.dispose('runtime');
      return mounts()
        .filter((mount) => !this.#before.has(mount))
        .map((mount) => `mount ${mount}`);
    } finally {
      await this.#stopAll();
    }
  }
}

/** Engines that somebody else runs have no image `host`, and nothing is downloaded unasked. */
function imageProblem({ name }: Selected, { options }: SuiteContext): string | undefined {
  if (ownEngines[name] === undefined || options['image'] !== undefined) return undefined;
  return 'the images that its engine has are not known; name one with a program `sleep` by --image';
}

/** Unless one is asked for, by an image of it or by config. */
function ownEngineOf({ name }: Selected, { options, configs }: SuiteContext): OwnEngine | undefined {
  if (options['image'] !== undefined || configs[`runtime/${name}`] !== undefined) return undefined;
  return ownEngines[name]?.problem() === undefined ? ownEngines[name] : undefined;
}

export async function runtimeSuite(context: SuiteContext): Promise<Suite> {
  const { options, size, source } = context;
  const image = options['image'] ?? 'host';
  const chosen = await select(context, 'runtime', options['runtime']);
  const factsOf = capabilityFacts(chosen);
  const beds = new Map<string, () => Promise<Bed>>([['bare namespaces', async () => new BareBed(source, size)]]);
  const cells = chosen.map((choice): CellPlan => {
    const ownEngine = ownEngineOf(choice, context);
    beds.set(choice.name, () => new RuntimeBed(choice, source, { size, image, ownEngine }).open());
    const factors = { runtime: choice.name };
    const contest = choice.capabilities.includes('real') ? 'real' : 'simulated';
    const skip = ownEngine !== undefined ? undefined : (choice.skip ?? imageProblem(choice, context));
    return {
      id: choice.name,
      factors,
      baseline: 'bare namespaces',
      isBaseline: false,
      contest,
      facts: factsOf(choice),
      skip,
    };
  });
  return {
    ...{ name: 'runtime', title: 'Runtimes', metrics, options: { ...options }, versions: {} },
    summary:
      'A pod of one container from nothing to running, and back, beside bare namespaces with one process (kept ' +
      'by bind mounts; no record, no log, no root of its own). A runtime that runs nothing really (hollow) is the cost of its records alone.',
    cells: [{ id: 'bare namespaces', factors: { runtime: 'bare namespaces' }, isBaseline: true }, ...cells],
    open: (cell) => beds.get(cell.id)!(),
  };
}
