/** Stores against the number of clients, beside Debian's etcd with the same work in the same run. */
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { here } from '../../bed/place.ts';
import { PluginProcess, type PluginSource } from '../../bed/plugin-process.ts';
import { hasTool } from '../../bed/tools.ts';
import { newDiskFolder } from '../../bed/run-folders.ts';
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
import { numbers, select, type Selected, type SuiteContext } from '../selection.ts';
import { measureEtcd } from './etcd-job.ts';
import type { CrashArgs, StoreJobArgs, StoreJobResult } from './store-job.ts';

interface Effort {
  readonly clients: string;
  readonly seconds: number;
  readonly listed: number;
  readonly watchers: number;
  readonly events: number;
}

const efforts: Readonly<Record<Size, Effort>> = {
  smoke: { clients: '4', seconds: 0.2, listed: 500, watchers: 10, events: 20 },
  standard: { clients: '1,64', seconds: 0.6, listed: 10_000, watchers: 1_000, events: 20 },
  full: { clients: '1,64,256', seconds: 5, listed: 10_000, watchers: 1_000, events: 200 },
};

const mostClients = 10_000;

const metricsOf = ({ watchers, events }: Effort): readonly Metric[] => [
  metric({
    id: 'writes',
    title: 'writes of 1 KiB',
    unit: '/s',
    better: 'more',
    group: 'writes',
    leastChange: 0.2,
    headline: true,
  }),
  metric({
    id: 'write-p50',
    title: 'write, p50',
    unit: 'ms',
    better: 'less',
    group: 'write latency',
    leastChange: 0.2,
    headline: true,
  }),
  metric({
    id: 'write-p99',
    title: 'write, p99',
    unit: 'ms',
    better: 'less',
    group: 'write latency',
    leastChange: 0.5,
  }),
  metric({
    id: 'reads',
    title: 'reads of one key',
    unit: '/s',
    better: 'more',
    group: 'reads',
    leastChange: 0.2,
    headline: true,
  }),
  metric({ id: 'list', title: 'list of all keys', unit: 'ms', better: 'less', group: 'list', leastChange: 0.3 }),
  metric({
    id: 'fan-out',
    title: `events delivered, ${events} to each of ${watchers} watchers`,
    unit: '/s',
    better: 'more',
    group: 'watch',
    leastChange: 0.2,
  }),
  metric({
    id: 'compaction',
    title: 'compaction of all history',
    unit: 'ms',
    better: 'less',
    group: 'compaction',
    leastChange: 0.5,
  }),
  metric({
    id: 'churn',
    title: 'writes of the same keys, with compaction as it goes',
    unit: '/s',
    better: 'more',
    group: 'churn',
    leastChange: 0.2,
  }),
  metric({
    id: 'churn-p99',
    title: 'such a write, p99',
    unit: 'ms',
    better: 'less',
    group: 'churn',
    leastChange: 0.5,
  }),
  metric({
    ...{ id: 'growth', title: 'growth in the second half of it', unit: '%', better: 'less', group: 'growth' },
    ...{ compare: 'difference', leastChange: 10 },
  }),
  metric({
    id: 'recovery',
    title: 'after kill -9 under writes: a new process to its first answers',
    unit: 'ms',
    better: 'less',
    group: 'restart',
    leastChange: 0.3,
  }),
  metric({
    id: 'bytes',
    title: 'size before compaction',
    unit: 'MiB',
    better: 'less',
    group: 'size',
    leastChange: 0.5,
  }),
  metric({
    id: 'restart',
    title: 'start over what is there',
    unit: 'ms',
    better: 'less',
    group: 'restart',
    leastChange: 0.3,
  }),
  metric({
    id: 'memory',
    title: 'memory of the process',
    unit: 'MiB',
    better: 'less',
    group: 'memory',
    leastChange: 0.2,
  }),
];

abstract class FolderBed implements Bed {
  protected readonly folder = newDiskFolder('pintle-bench-store');
  abstract check(): Promise<readonly Check[]>;
  abstract measure(record: Recorder): Promise<void>;
  abstract facts(): Readonly<Record<string, Fact>>;

  async close(): Promise<readonly string[]> {
    rmSync(this.folder, { recursive: true, force: true });
    return [];
  }
}

/** The whole work is one job, so that the check is on the very store that is measured. */
class StoreBed extends FolderBed {
  readonly #place = here();
  readonly #process: PluginProcess;
  readonly #args: Omit<StoreJobArgs, 'folder'>;
  readonly #source: PluginSource;
  #result: StoreJobResult | undefined;
  #recoveryMs = Number.NaN;

  constructor(source: PluginSource, args: Omit<StoreJobArgs, 'folder'>) {
    super();
    this.#source = source;
    this.#process = new PluginProcess(this.#place, source, this.folder);
    this.#args = args;
  }

  async check(): Promise<readonly Check[]> {
    this.#result = await this.#process.job<StoreJobResult>('store', { ...this.#args, folder: this.folder });
    const { checks } = this.#result;
    if (!this.#args.isDurable || checks.some(({ ok }) => !ok)) return checks;
    return [...checks, await this.#crash()];
  }

  /** Killed in the middle of writing, and started anew: how long to the first answers, and whether they are all there. */
  async #crash(): Promise<Check> {
    const notes = join(this.folder, 'acknowledged');
    const args: CrashArgs = { choice: this.#args.choice, folder: this.folder, notes };
    const acknowledged = (): number => (existsSync(notes) ? Number(readFileSync(notes, 'utf8')) : 0);
    let failure: unknown;
    const ended = this.#process.job('store-crash', args).catch((error: unknown) => (failure = error));
    while (acknowledged() < 100) {
      if (failure !== undefined) throw failure;
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    await this.#process.kill();
    await ended;
    const last = acknowledged();
    const began = performance.now();
    const next = new PluginProcess(this.#place, this.#source, this.folder);
    const missing = await next.job<number>('store-recover', { ...args, acknowledged: last });
    this.#recoveryMs = performance.now() - began;
    return check(
      'what was acknowledged is there after kill -9',
      missing === 0,
      missing === 0 ? '' : `${missing} of ${Math.min(200, last)} are missing`,
    );
  }

  async measure(record: Recorder): Promise<void> {
    for (const [id, value] of Object.entries(this.#result?.figures ?? {})) record(id, value);
    record('recovery', this.#recoveryMs);
  }

  facts(): Readonly<Record<string, Fact>> {
    return { durable: this.#args.isDurable, watchers: this.#args.watchers, listed: this.#args.listed };
  }

  override async close(): Promise<readonly string[]> {
    await this.#place.stopProcesses();
    return super.close();
  }
}

class EtcdBed extends FolderBed {
  readonly #args: Omit<StoreJobArgs, 'folder' | 'choice' | 'isDurable'>;

  constructor(args: Omit<StoreJobArgs, 'folder' | 'choice' | 'isDurable'>) {
    super();
    this.#args = args;
  }

  async check(): Promise<readonly Check[]> {
    return [];
  }

  async measure(record: Recorder): Promise<void> {
    const figures = await measureEtcd({ ...this.#args, folder: this.folder });
    for (const [id, value] of Object.entries(figures)) record(id, value);
  }

  facts(): Readonly<Record<string, Fact>> {
    return { durable: true, watchers: this.#args.watchers, listed: this.#args.listed };
  }
}

function etcdProblem(): string | undefined {
  if (!hasTool('etcd')) return 'etcd is missing; apt-get install etcd-server';
  try {
    createRequire(import.meta.url).resolve('etcd3');
    return undefined;
  } catch {
    return 'the npm package etcd3 is missing; it comes with a checkout of Pintle, or by npm install etcd3';
  }
}

export async function storeSuite(context: SuiteContext): Promise<Suite> {
  const { options, size, source } = context;
  const effort = efforts[size];
  const chosen = await select(context, 'store', options['store']);
  const beds = new Map<string, () => Promise<Bed>>();
  const cells = numbers('clients', options['clients'], effort.clients, mostClients).flatMap(
    (clients): readonly CellPlan[] => {
      const args = { ...effort, clients };
      const etcd = `etcd x ${clients}`;
      beds.set(etcd, async () => new EtcdBed(args));
      const place = (name: string) => ({ store: name, clients: String(clients) });
      return [
        { id: etcd, factors: place('etcd'), isBaseline: true, skip: etcdProblem() },
        ...chosen.map((choice): CellPlan => {
          const id = `${choice.name} x ${clients}`;
          const isDurable = choice.capabilities.includes('durable');
          beds.set(id, async () => new StoreBed(source, { ...args, choice: plain(choice), isDurable }));
          const contest = `${clients}${isDurable ? '' : ' not durable'}`;
          return { id, factors: place(choice.name), baseline: etcd, isBaseline: false, contest, skip: choice.skip };
        }),
      ];
    },
  );
  return {
    ...{ name: 'store', title: 'Stores', metrics: metricsOf(effort), cells, options: { ...options }, versions: {} },
    summary:
      'Writes of 1 KiB, each client one after the other, reads, lists, watches, as a share of etcd. The store is called ' +
      'in its own process, as the API server calls it; etcd is asked by gRPC from JavaScript, as a server would have to. ' +
      'The ratio is that of the whole ways, not of the engines. A store that is not durable says so in its facts.',
    open: (cell) => beds.get(cell.id)!(),
  };
}

const plain = ({ kind, name, config }: Selected) => ({ kind, name, config });
