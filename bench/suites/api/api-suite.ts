/** The Kubernetes API of a real server over its unix socket, for each store, beside a bare HTTP server of Node. */
import type { ChildProcess } from 'node:child_process';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { stringify } from 'yaml';
import { PintleError } from '../../../kernel/contract/errors.ts';
import { here } from '../../bed/place.ts';
import type { PluginSource } from '../../bed/plugin-process.ts';
import { residentBytesOf } from '../../bed/processes.ts';
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
import { select, type Selected, type SuiteContext } from '../selection.ts';
import { ApiClients } from './client.ts';
import { efforts, measureApi, measureWatches } from './load.ts';

const rate = (id: string, title: string, headline = false): Metric =>
  metric({ id, title, unit: '/s', better: 'more', group: 'requests', leastChange: 0.15, headline });
const time = (id: string, title: string, group: string, leastChange = 0.2, headline = false): Metric =>
  metric({ id, title, unit: 'ms', better: 'less', group, leastChange, headline });

const metricsOf = (size: Size): readonly Metric[] => [
  rate('create', 'create, 16 clients', true),
  rate('get', 'get, 16 clients', true),
  rate('update', 'update, 16 clients'),
  time('create-p50', 'create, p50', 'latency'),
  time('create-p99', 'create, p99', 'latency', 0.5),
  time('list-500', 'a page of 500 of them', 'lists'),
  time('list-all', `list of ${efforts[size].objects} objects`, 'lists', 0.2, true),
  time('watch-p50', 'written to seen by a watch, p50', 'watch', 0.3, true),
  time('watch-p99', 'written to seen by a watch, p99', 'watch', 0.5),
  time(
    'watch-lists',
    `${efforts[size].watchLists} WatchLists of ${efforts[size].watchListed} objects at once, all served`,
    'watch lists',
  ),
  metric({
    id: 'memory',
    title: 'memory of the server after it all',
    unit: 'MiB',
    better: 'less',
    group: 'memory',
    leastChange: 0.2,
  }),
];

abstract class ServerBed implements Bed {
  protected readonly folder = newDiskFolder('pintle-bench-api');
  protected readonly socket = join(this.folder, 'api.sock');
  protected readonly place = here();
  protected readonly size: Size;
  #clients: ApiClients | undefined;
  protected child: ChildProcess | undefined;

  constructor(size: Size) {
    this.size = size;
  }

  protected get clients(): ApiClients {
    return (this.#clients ??= new ApiClients(this.socket, 16));
  }

  abstract check(): Promise<readonly Check[]>;

  async measure(record: Recorder, signal: AbortSignal): Promise<void> {
    await measureApi(this.clients, efforts[this.size], record, signal);
    await this.measureMore(record, signal);
    record('memory', residentBytesOf(this.child?.pid ?? 0) / 2 ** 20);
  }

  protected measureMore(_record: Recorder, _signal: AbortSignal): Promise<void> {
    return Promise.resolve();
  }

  facts(): Readonly<Record<string, Fact>> {
    return {
      objects: efforts[this.size].objects,
      watchLists: efforts[this.size].watchLists,
      watchListed: efforts[this.size].watchListed,
    };
  }

  async close(): Promise<readonly string[]> {
    this.#clients?.close();
    await this.place.stopProcesses();
    rmSync(this.folder, { recursive: true, force: true });
    return [];
  }
}

const bareServer = fileURLToPath(new URL('./bare-server.js', import.meta.url));

class BareBed extends ServerBed {
  async open(): Promise<this> {
    const child = this.place.fork(bareServer, [this.socket]);
    this.child = child;
    await new Promise<void>((resolve, reject) => {
      child.once('message', () => resolve());
      child.once('exit', () => reject(new PintleError('BENCH_FAILED', 'the bare HTTP server did not start')));
    });
    return this;
  }

  async check(): Promise<readonly Check[]> {
    return [];
  }
}

class PintleBed extends ServerBed {
  readonly #store: Selected;
  readonly #source: PluginSource;

  constructor(size: Size, store: Selected, source: PluginSource) {
    super(size);
    this.#store = store;
    this.#source = source;
  }

  async open(): Promise<this> {
    const { name, config } = this.#store;
    const { modules, program, directory } = this.#source;
    // Relative modules are looked up from the folder of the user's own config file.
    const load = modules.map((module) => (module.startsWith('.') ? join(directory, module) : module));
    const file = join(this.folder, 'pintle.yaml');
    const plugins = { load, use: { store: { name, config } } };
    writeFileSync(file, stringify({ apiVersion: 'pintle.dev/v1', kind: 'ClusterConfiguration', plugins }));
    const child = this.place.spawn(process.execPath, [
      ...[program, 'server', '--config', file, '--state-dir', join(this.folder, 'state'), '--unix-socket', this.socket],
      ...['--listen', '127.0.0.1:0', '--log-level', 'error'],
    ]);
    this.child = child;
    let said = '';
    child.stderr?.on('data', (chunk: Buffer) => (said = (said + chunk.toString()).slice(-1_000)));
    for await (const line of createInterface({ input: child.stdout! })) if (line.includes('is ready')) return this;
    throw new PintleError('BENCH_FAILED', `the server on store ${name} did not start: ${said.trim()}`);
  }

  async check(): Promise<readonly Check[]> {
    const path = '/api/v1/namespaces/default/configmaps';
    const object = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'checked' }, data: { key: 'value' } };
    await this.clients.ask('POST', path, object);
    const read = JSON.parse(await this.clients.ask('GET', `${path}/checked`)) as typeof object & {
      readonly metadata: { readonly resourceVersion?: string };
    };
    const second = await this.clients.ask('POST', path, object).catch((error: Error) => error.message);
    await this.clients.ask('DELETE', `${path}/checked`);
    return [
      check('what was created is read', read.data.key === 'value' && read.metadata.resourceVersion !== undefined),
      check('a second create conflicts', second.includes('409'), second.slice(0, 100)),
    ];
  }

  protected override measureMore(record: Recorder, signal: AbortSignal): Promise<void> {
    return measureWatches(this.clients, efforts[this.size], record, signal);
  }
}

export async function apiSuite(context: SuiteContext): Promise<Suite> {
  const { options, size, source } = context;
  const stores = await select(context, 'store', options['store']);
  const beds = new Map<string, () => Promise<Bed>>([['bare http', () => new BareBed(size).open()]]);
  const cells = stores.map((store): CellPlan => {
    const id = `API on ${store.name}`;
    beds.set(id, () => new PintleBed(size, store, source).open());
    return { id, factors: { store: store.name }, baseline: 'bare http', isBaseline: false, skip: store.skip };
  });
  return {
    ...{ name: 'api', title: 'API', metrics: metricsOf(size), options: { ...options }, versions: {} },
    summary:
      'A whole server (controllers and scheduler too) asked for ConfigMaps of 1 KiB as JSON over its unix socket, beside ' +
      'a bare HTTP server that keeps the same texts in a Map: no validation, no versions, no watch, nothing durable.',
    cells: [{ id: 'bare http', factors: { store: 'bare http' }, isBaseline: true }, ...cells],
    open: (cell) => beds.get(cell.id)!(),
  };
}
