/**
 * Churn: pods of runtime `process` come and go on three nodes for minutes, behind a Service, with volumes and limits. Then
 * nothing of them may be left, and memory must be steady.
 *
 *     node out/bench/programs/pod-churn.js [--pods 2000] [--minutes 10] [--json FILE] [--config FILE]
 *
 * Compared before and after, on every node: processes, namespaces, links, addresses, routes, policy and filter rules,
 * leases, mounts, cgroups, files. Exit code 3: something leaked, a pod never ran or never went, or memory grew.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { createServer, type AddressInfo } from 'node:net';
import { cpus, loadavg, release, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { ApiClient } from '../../cli/up/api-client.ts';
import { labMainPid, processesLike } from '../../cli/up/lab-processes.ts';
import { levelOf } from '../method/level.ts';
import { ascending, quantile } from '../method/statistics.ts';
import { commandLine, deepInventory, namespacesOf, processesBelow, type Inventory } from './node-inventory.ts';

const program = fileURLToPath(new URL('../../cli/main.js', import.meta.url));
const { values } = parseArgs({
  options: {
    pods: { type: 'string', default: '2000' },
    minutes: { type: 'string', default: '10' },
    json: { type: 'string' },
    config: { type: 'string' },
  },
});
const [podCount, minutes] = [Number(values.pods), Number(values.minutes)];
if (!Number.isSafeInteger(podCount) || podCount < 1 || !(minutes > 0))
  throw new TypeError('--pods takes a whole number, --minutes a number');

const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));
const sleepUntil = (atMs: number, signal: AbortSignal) =>
  delay(Math.max(0, atMs - performance.now()), undefined, { signal }).catch((error: unknown) => {
    if (!signal.aborted) throw error;
  });
const folder = join(mkdtempSync(join(tmpdir(), 'pintle-churn-')), 'c');
const podsPath = '/api/v1/namespaces/churn/pods';

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise<void>((resolve) => server.close(() => resolve()));
  return port;
}

async function up(): Promise<ChildProcess> {
  const argv = ['up', '--state-dir', folder, '--listen', `127.0.0.1:${await freePort()}`, '--nodes', '3'];
  if (values.config !== undefined) argv.push('--config', values.config);
  const child = spawn('setpriv', ['--pdeathsig', 'INT', '--', process.execPath, program, ...argv], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let text = '';
  await new Promise<void>((resolve, reject) => {
    child.stdout.on('data', (chunk: Buffer) => {
      text += chunk.toString('utf8');
      if (text.includes('Ctrl-C takes')) resolve();
    });
    child.on('exit', (code) => reject(new Error(`pintle up ended with ${code}\n${text}`)));
  });
  return child;
}

interface Process {
  readonly name: string;
  readonly pid: number;
}

/** The server and the agents. */
function ownProcesses(): { readonly labPid: number; readonly all: readonly Process[] } {
  const record = JSON.parse(readFileSync(join(folder, 'up.json'), 'utf8')) as {
    readonly server: { readonly pid: number };
    readonly lab: { readonly pid: number };
    readonly nodes: readonly { readonly name: string }[];
  };
  const labPid = labMainPid(record.lab.pid);
  const agents = record.nodes.map(({ name }): Process => {
    // The oldest: what an agent starts looks like it until it has become another program.
    const [pid] = processesLike(labPid)
      .filter((each) => {
        const words = commandLine(each);
        return words[2] === 'agent' && words.includes(name);
      })
      .sort((a, b) => a - b);
    if (pid === undefined) throw new Error(`node ${name} has no agent`);
    return { name, pid };
  });
  return { labPid, all: [{ name: 'server', pid: record.server.pid }, ...agents] };
}

function inventory(): Inventory {
  const { labPid, all } = ownProcesses();
  const pids = processesBelow(labPid);
  const gathered: Record<string, readonly string[]> = {
    processes: pids.map((pid) => commandLine(pid).join(' ')).sort(),
    namespaces: namespacesOf(pids),
  };
  for (const { name, pid } of all.slice(1)) {
    const stateDir = join(realpathSync(folder), 'nodes', name, 'agent');
    for (const [what, list] of Object.entries(deepInventory(pid, stateDir))) gathered[`${name}: ${what}`] = list;
  }
  return gathered;
}

/** Lines such as "node-1: mounts: + /path", by how often each occurs. */
function difference(before: Inventory, after: Inventory): readonly string[] {
  return Object.keys(before).flatMap((what) => {
    const counts = new Map<string, number>();
    for (const each of before[what] ?? []) counts.set(each, (counts.get(each) ?? 0) - 1);
    for (const each of after[what] ?? []) counts.set(each, (counts.get(each) ?? 0) + 1);
    return [...counts]
      .filter(([, count]) => count !== 0)
      .map(([each, count]) => `${what}: ${count > 0 ? '+' : '-'} ${each}`);
  });
}

interface PodEvent {
  readonly type: string;
  readonly object: {
    readonly metadata: { readonly name: string; readonly deletionTimestamp?: string };
    readonly status?: { readonly phase?: string; readonly conditions?: readonly { type: string; status: string }[] };
  };
}

/** Follows the pods from outside; opens the watch again when it ends. */
class PodWatch {
  readonly created = new Map<string, number>();
  readonly ran = new Map<string, number>();
  readonly deleted = new Map<string, number>();
  readonly gone = new Map<string, number>();
  readonly failed = new Set<string>();
  #isClosed = false;
  #destroy: () => void = () => undefined;

  constructor(socketPath: string) {
    const open = (): void => {
      const asked = request({ socketPath, path: `${podsPath}?watch=true&resourceVersion=0` }, (response) => {
        let rest = '';
        response.setEncoding('utf8');
        response.on('data', (chunk: string) => {
          const lines = (rest + chunk).split('\n');
          rest = lines.pop() ?? '';
          for (const line of lines) this.#heed(JSON.parse(line) as PodEvent);
        });
        response.on('close', () => void (this.#isClosed || setTimeout(open, 100)));
      });
      asked.on('error', () => undefined);
      asked.end();
      this.#destroy = () => asked.destroy();
    };
    open();
  }

  #heed({ type, object }: PodEvent): void {
    const { name } = object.metadata;
    const now = performance.now();
    const isReady = object.status?.conditions?.some((each) => each.type === 'Ready' && each.status === 'True');
    if (isReady === true && !this.ran.has(name)) this.ran.set(name, now);
    // A pod that is being deleted ends by a signal, and that is no failure.
    if (object.status?.phase === 'Failed' && !this.deleted.has(name)) this.failed.add(name);
    if (type === 'DELETED') this.gone.set(name, now);
  }

  close(): void {
    this.#isClosed = true;
    this.#destroy();
  }
}

/** Every third with memory for a volume, every fifth with a port of the node; all with files, limits and a readiness probe. */
function podOf(index: number) {
  const name = `churn-${index}`;
  const limits = { cpu: '200m', memory: '64Mi' };
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, labels: { app: 'churn' } },
    spec: {
      terminationGracePeriodSeconds: 2,
      containers: [
        {
          name: 'main',
          image: 'host',
          command: ['sh', '-c', 'trap "exit 0" TERM; echo started > /scratch/file; cat /config/key; sleep 1000 & wait'],
          readinessProbe: { exec: { command: ['test', '-f', '/scratch/file'] }, periodSeconds: 10 },
          resources: { limits, requests: { cpu: '5m', memory: '8Mi' } },
          ports:
            index % 5 === 0 ? [{ containerPort: 80, hostPort: 20_000 + (index % 5_000) }] : [{ containerPort: 80 }],
          volumeMounts: [
            { name: 'scratch', mountPath: '/scratch' },
            { name: 'config', mountPath: '/config' },
          ],
        },
      ],
      volumes: [
        { name: 'scratch', emptyDir: index % 3 === 0 ? { medium: 'Memory' } : {} },
        { name: 'config', configMap: { name: 'churn' } },
      ],
    },
  };
}

async function prepare(api: ApiClient): Promise<void> {
  await api.create('/api/v1/namespaces', { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'churn' } });
  await api.create('/api/v1/namespaces/churn/configmaps', {
    ...{ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'churn' }, data: { key: 'value' } },
  });
  await api.create('/api/v1/namespaces/churn/services', {
    ...{ apiVersion: 'v1', kind: 'Service', metadata: { name: 'churn' } },
    spec: { selector: { app: 'churn' }, ports: [{ port: 80 }] },
  });
}

/** Pods at an even pace; each is deleted a while after it is Ready, so that about forty live at any time. */
async function churn(api: ApiClient, watch: PodWatch, from: number, count: number, spanMs: number): Promise<void> {
  const [paceMs, lifeMs, patienceMs] = [spanMs / count, Math.min(10_000, spanMs / 10), 120_000];
  const began = performance.now();
  const live = async (index: number): Promise<void> => {
    const name = `churn-${index}`;
    watch.created.set(name, performance.now());
    await api.create(podsPath, podOf(index));
    for (const until = performance.now() + patienceMs; !watch.ran.has(name) && performance.now() < until;)
      await sleep(250);
    await sleep(lifeMs);
    watch.deleted.set(name, performance.now());
    const { status, body } = await api.raw('DELETE', `${podsPath}/${name}`);
    if (status >= 300 && status !== 404) throw new Error(`DELETE of ${name} was answered with ${status}: ${body}`);
    for (const until = performance.now() + patienceMs; !watch.gone.has(name) && performance.now() < until;)
      await sleep(250);
  };
  const lives: Promise<void>[] = [];
  for (let index = 0; index < count; index += 1) {
    await sleep(began + index * paceMs - performance.now());
    lives.push(live(from + index));
  }
  await Promise.all(lives);
}

/** Megabytes of a process's own. Mapped pages, the program's and the store's file, are the kernel's to take back. */
const memoryOf = (part: 'RssAnon' | 'RssFile'): Readonly<Record<string, number>> =>
  Object.fromEntries(
    ownProcesses().all.map(({ name, pid }) => {
      const found = new RegExp(`^${part}:\\s*(\\d+) kB`, 'm').exec(readFileSync(`/proc/${pid}/status`, 'latin1'));
      return [name, Math.round(Number(found?.[1]) / 1024)];
    }),
  );

/** What the server's memory is made of, in megabytes, as it says itself: all but the first two lie within RssAnon. */
const serverParts = {
  heapUsed: 'nodejs_heap_size_used_bytes',
  heapTotal: 'nodejs_heap_size_total_bytes',
  external: 'nodejs_external_memory_bytes',
} as const;

interface Memory {
  readonly anonymous: Readonly<Record<string, number>>;
  readonly mapped: Readonly<Record<string, number>>;
  readonly server: Readonly<Record<keyof typeof serverParts | 'storeFile', number>>;
}

async function memoryNow(api: ApiClient): Promise<Memory> {
  const { body } = await api.raw('GET', '/metrics');
  const megabytes = (metric: string): number =>
    Math.round(Number(new RegExp(`^${metric} (\\S+)`, 'm').exec(body)?.[1]) / 2 ** 20);
  const server = {
    ...Object.fromEntries(Object.entries(serverParts).map(([part, metric]) => [part, megabytes(metric)])),
    storeFile: megabytes('apiserver_storage_size_bytes'),
  } as Memory['server'];
  return { anonymous: memoryOf('RssAnon'), mapped: memoryOf('RssFile'), server };
}

const log = (text: string): void => console.log(`${new Date().toISOString().slice(11, 19)} ${text}`);

console.log(
  `${cpus().length} x ${cpus()[0]?.model}, Linux ${release()}, Node ${process.version}, load ${loadavg()[0]?.toFixed(1)}`,
);
const child = await up();
const problems: string[] = [];
try {
  const api = new ApiClient(join(folder, 'server', 'api.sock'));
  await prepare(api);
  const warmUp = new PodWatch(join(folder, 'server', 'api.sock'));
  await churn(api, warmUp, 1_000_000, 30, 15_000);
  warmUp.close();
  await sleep(15_000);
  const before = inventory();
  const memory: Record<string, Memory> = { start: await memoryNow(api) };
  log(
    `warm: ${Object.values(before).reduce((sum, list) => sum + list.length, 0)} things in the inventory; MB: ${JSON.stringify(memory['start'])}`,
  );

  const watch = new PodWatch(join(folder, 'server', 'api.sock'));
  const began = performance.now();
  let live = 0;
  const isOver = new AbortController();
  const show = (async () => {
    for (const everyMs = minutes * 3_000, from = performance.now(); ;) {
      const turn = Object.keys(memory).length;
      await sleepUntil(from + turn * everyMs, isOver.signal);
      if (isOver.signal.aborted) return;
      live = Math.max(live, watch.created.size - watch.gone.size);
      const now = (memory[`${turn * 5} %`] = await memoryNow(api));
      log(`${watch.created.size} created, ${watch.ran.size} ran, ${watch.gone.size} gone; MB: ${JSON.stringify(now)}`);
    }
  })();
  await Promise.all([churn(api, watch, 0, podCount, minutes * 60_000).finally(() => isOver.abort()), show]);
  const seconds = (performance.now() - began) / 1000;
  watch.close();

  // What is freed lazily (empty rules, cgroups of processes that are being reaped) is given time, and then counts.
  let left = difference(before, inventory());
  for (const until = performance.now() + 90_000; left.length > 0 && performance.now() < until;) {
    await sleep(3_000);
    left = difference(before, inventory());
  }
  memory['end'] = await memoryNow(api);

  problems.push(...left.map((line) => `left behind: ${line}`));
  // The last look comes after the work.
  const working = Object.values(memory).slice(0, -1);
  for (const { name } of ownProcesses().all) {
    const { earlier, later, isLevel } = levelOf(working.map(({ anonymous }) => anonymous[name] ?? Number.NaN));
    const text = `memory of ${name}: mean of the third quarter ${Math.round(earlier)} MB, of the last ${Math.round(later)} MB`;
    log(`${text}: ${isLevel ? 'level' : 'growing'}`);
    if (!isLevel) problems.push(`${text}: it grows`);
  }
  const names = [...watch.created.keys()];
  const never = (what: string, known: { has(name: string): boolean }): void => {
    const missing = names.filter((name) => !known.has(name));
    if (missing.length > 0) problems.push(`${missing.length} pods never ${what}: ${missing.slice(0, 5).join(' ')}`);
  };
  never('became Ready', watch.ran);
  never('went', watch.gone);
  if (watch.failed.size > 0)
    problems.push(`${watch.failed.size} pods failed: ${[...watch.failed].slice(0, 5).join(' ')}`);

  const spans = (from: ReadonlyMap<string, number>, to: ReadonlyMap<string, number>) =>
    ascending(names.flatMap((name) => (to.has(name) ? [to.get(name)! - from.get(name)!] : [])));
  const figures = (sorted: readonly number[]) =>
    Object.fromEntries([0.5, 0.9, 0.99].map((q) => [`p${q * 100}`, Math.round(quantile(sorted, q))]));
  const result = {
    pods: names.length,
    seconds: Math.round(seconds),
    mostAtOnce: live,
    createdToReadyMs: figures(spans(watch.created, watch.ran)),
    deletedToGoneMs: figures(spans(watch.deleted, watch.gone)),
    memoryMb: memory,
    inventory: Object.values(before).reduce((sum, list) => sum + list.length, 0),
    problems,
  };
  console.log(JSON.stringify(result, undefined, 2));
  if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(result, undefined, 2)}\n`);
} finally {
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  if (child.exitCode === null && child.signalCode === null) {
    child.kill('SIGINT');
    await ended;
  }
  rmSync(join(folder, '..'), { recursive: true, force: true });
}
console.log(problems.length === 0 ? 'nothing leaked' : problems.join('\n'));
process.exitCode = problems.length === 0 ? 0 : 3;
