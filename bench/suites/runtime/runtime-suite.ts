/** How fast runtimes start and stop pods, beside bare namespaces made by unshare. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Container, Image } from '../../../kernel/contract/index.ts';
import { endChild, here } from '../../bed/place.ts';
import { PluginProcess, type PluginSource } from '../../bed/plugin-process.ts';
import { residentBytesOf } from '../../bed/processes.ts';
import type { Fact, Metric } from '../../method/result.ts';
import { ascending, quantile } from '../../method/statistics.ts';
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
import { select, type Selected, type SuiteContext } from '../selection.ts';
import { type OwnEngine, ownEngines, type RunningEngine } from './own-engines.ts';
import { containerSpec, type Program, sandboxSpec } from './pod-spec.ts';

const podCounts: Readonly<Record<Size, number>> = { smoke: 2, standard: 4, full: 40 };
const width = 4;

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

function recordTimes(record: Recorder, id: string, took: readonly number[]): void {
  const sorted = ascending(took);
  record(`${id}-p50`, quantile(sorted, 0.5));
  record(`${id}-p99`, quantile(sorted, 0.99));
}

async function inTurn(count: number, atOnce: number, act: (index: number) => Promise<unknown>): Promise<number[]> {
  const took: number[] = [];
  let next = 0;
  const lane = async (): Promise<void> => {
    for (let index = next++; index < count; index = next++) {
      const began = performance.now();
      await act(index);
      took.push(performance.now() - began);
    }
  };
  await Promise.all(Array.from({ length: atOnce }, lane));
  return took;
}

/** Start, stop, start many at once, stop: the same for the runtime and for its baseline. */
async function measurePods(
  count: number,
  start: (index: number) => Promise<unknown>,
  stop: (index: number) => Promise<unknown>,
  record: Recorder,
  stopMetric = 'stop',
): Promise<void> {
  await inTurn(1, 1, start);
  await inTurn(1, 1, stop);
  recordTimes(record, 'start', await inTurn(count, 1, start));
  recordTimes(record, stopMetric, await inTurn(count, 1, stop));
  const began = performance.now();
  await inTurn(count, width, start);
  record('rate', (count / (performance.now() - began)) * 1000);
  await inTurn(count, width, stop);
}

class BareBed implements Bed {
  readonly #place = here();
  readonly #size: Size;

  constructor(size: Size) {
    this.#size = size;
  }

  async check(): Promise<readonly Check[]> {
    return [];
  }

  async measure(record: Recorder): Promise<void> {
    const running = new Map<number, ReturnType<typeof this.start>>();
    const start = async (index: number): Promise<void> => {
      const child = this.start();
      running.set(index, child);
      await new Promise<void>((resolve, reject) => {
        child.once('error', reject);
        child.stdout?.once('data', () => resolve());
        child.once('exit', (code) => reject(new Error(`unshare ended with ${code}`)));
      });
    };
    const stop = (index: number): Promise<void> => endChild(running.get(index)!);
    // A signal is no removal of a pod: its time is kept apart, and nothing is a share of it.
    await measurePods(podCounts[this.#size], start, stop, record, 'signal');
  }

  start() {
    const flags = ['--net', '--ipc', '--uts', '--mount', '--pid', '--fork', '--kill-child', '--mount-proc'];
    return this.#place.spawn('unshare', [...flags, 'sh', '-c', 'echo up; exec sleep 1000']);
  }

  facts(): Readonly<Record<string, Fact>> {
    return { pods: podCounts[this.#size] };
  }

  async close(): Promise<readonly string[]> {
    await this.#place.stopProcesses();
    return [];
  }
}

const mounts = (): readonly string[] =>
  readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[4] ?? '');

class RuntimeBed implements Bed {
  readonly #place = here();
  readonly #folder = mkdtempSync(join(tmpdir(), 'pintle-bench-'));
  readonly #before = new Set(mounts());
  readonly #process: PluginProcess;
  readonly #choice: Selected;
  readonly #size: Size;
  /** An engine of the benchmark's own is started for it. */
  readonly #ownEngine: OwnEngine | undefined;
  #program: Program;
  #engine: RunningEngine | undefined;
  #next = 0;
  readonly #pods = new Map<number, string>();

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

  async #start(index: number): Promise<void> {
    const id = `bench-${(this.#next += 1)}`;
    this.#pods.set(index, id);
    await this.#process.call('runtime', 'ensureSandbox', sandboxSpec(id));
    await this.#process.call('runtime', 'startContainer', containerSpec(id, this.#program, this.#folder));
  }

  async #stop(index: number): Promise<void> {
    const id = this.#pods.get(index)!;
    await this.#process.call('runtime', 'stopContainer', `${id}-main`, 0);
    await this.#process.call('runtime', 'removeSandbox', id);
  }

  async check(): Promise<readonly Check[]> {
    await this.#start(0);
    const containers = async (): Promise<readonly Container[]> =>
      (await this.#process.call<readonly Container[]>('runtime', 'listContainers')).value;
    const [one] = await containers();
    const isReal = this.#choice.capabilities.includes('real');
    const isThere = !isReal || (one?.pid !== undefined && readFileSync(`/proc/${one.pid}/stat`, 'utf8') !== '');
    await this.#stop(0);
    return [
      check('the container runs', one?.state === 'running', one?.state),
      check('its process is there', isThere),
      check('after the removal nothing is listed', (await containers()).length === 0),
    ];
  }

  async measure(record: Recorder): Promise<void> {
    await measurePods(
      podCounts[this.#size],
      (index) => this.#start(index),
      (index) => this.#stop(index),
      record,
    );
    record('memory', residentBytesOf(this.#process.pid) / 2 ** 20);
  }

  facts(): Readonly<Record<string, Fact>> {
    return {
      pods: podCounts[this.#size],
      image: this.#program.image,
      real: this.#choice.capabilities.includes('real'),
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
  const beds = new Map<string, () => Promise<Bed>>([['bare namespaces', async () => new BareBed(size)]]);
  const cells = chosen.map((choice): CellPlan => {
    const ownEngine = ownEngineOf(choice, context);
    beds.set(choice.name, () => new RuntimeBed(choice, source, { size, image, ownEngine }).open());
    const factors = { runtime: choice.name };
    const contest = choice.capabilities.includes('real') ? 'real' : 'simulated';
    const skip = ownEngine !== undefined ? undefined : (choice.skip ?? imageProblem(choice, context));
    return { id: choice.name, factors, baseline: 'bare namespaces', isBaseline: false, contest, skip };
  });
  return {
    ...{ name: 'runtime', title: 'Runtimes', metrics, options: { ...options }, versions: {} },
    summary:
      'A pod of one container from nothing to running, and back, beside bare namespaces with one process (no record, ' +
      'no log, no root of its own). A runtime that runs nothing really (hollow) is the cost of its records alone.',
    cells: [{ id: 'bare namespaces', factors: { runtime: 'bare namespaces' }, isBaseline: true }, ...cells],
    open: (cell) => beds.get(cell.id)!(),
  };
}
