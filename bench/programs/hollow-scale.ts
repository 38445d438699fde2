/**
 * How far one server carries: many hollow nodes (hollow-nodes.ts), then many pods on them.
 *
 *     node out/bench/programs/hollow-scale.js [--nodes 1000] [--pods 20000] [--processes 4] [--json FILE] [--profile DIR]
 *
 * A real `pintle server` on the durable store and its unix socket, the real scheduler and controllers. Pods are POSTed one
 * by one; when they run is seen by a watch. Then, at rest, what calls and watches take. Everything is on this machine: the
 * nodes and this client use the same processors as the server.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { Agent, request } from 'node:http';
import { createServer, type AddressInfo } from 'node:net';
import { cpus, loadavg, release, tmpdir, totalmem } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { cpuSecondsOf, residentBytesOf } from '../bed/processes.ts';
import { ascending, quantile } from '../method/statistics.ts';

const program = fileURLToPath(new URL('../../cli/main.js', import.meta.url));
const nodesProgram = fileURLToPath(new URL('./hollow-nodes.js', import.meta.url));
const { values } = parseArgs({
  options: {
    nodes: { type: 'string', default: '1000' },
    pods: { type: 'string', default: '20000' },
    processes: { type: 'string', default: '4' },
    json: { type: 'string' },
    profile: { type: 'string' },
  },
});
const [nodeCount, podCount, processCount] = [values.nodes, values.pods, values.processes].map(Number) as [
  number,
  number,
  number,
];
for (const [name, value] of Object.entries({ nodes: nodeCount, pods: podCount, processes: processCount }))
  if (!Number.isSafeInteger(value) || value < 1) throw new TypeError(`--${name} takes a whole number`);

const folder = mkdtempSync(join(tmpdir(), 'pintle-scale-'));
/** A thousand nodes have a thousand disks; here they would share the server's. */
const nodesFolder = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'pintle-scale-'));
const socketPath = join(folder, 'server', 'api.sock');
const agent = new Agent({ keepAlive: true, maxSockets: 32 });
const podsPath = '/api/v1/namespaces/scale/pods';
const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

/** The cluster's default range has room for 256 nodes. */
const config = `apiVersion: pintle.dev/v1
kind: ClusterConfiguration
cluster: { podCidrs: ["10.128.0.0/12"] }
plugins:
  use:
    runtime: { name: hollow }
    component: [{ name: api-server }, { name: scheduler }, { name: controller-manager }, { name: node-agent }, { name: service-proxy }]
`;

function ask(method: string, path: string, body?: unknown): Promise<string> {
  const payload = body === undefined ? undefined : JSON.stringify(body);
  return new Promise((resolve, reject) => {
    const headers =
      payload === undefined
        ? {}
        : { 'content-type': 'application/json', 'content-length': String(Buffer.byteLength(payload)) };
    const asked = request({ socketPath, agent, method, path, headers }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.once('error', reject);
      response.once('end', () => {
        const text = Buffer.concat(chunks).toString();
        if ((response.statusCode ?? 500) < 300) resolve(text);
        else reject(new Error(`${method} ${path} was answered with ${response.statusCode}: ${text.slice(0, 200)}`));
      });
    });
    asked.once('error', reject);
    asked.end(payload);
  });
}

interface Seen {
  readonly metadata: { readonly name: string };
  readonly status?: { readonly phase?: string; readonly conditions?: readonly { type: string; status: string }[] };
}

const isReady = ({ status }: Seen): boolean =>
  status?.conditions?.some((each) => each.type === 'Ready' && each.status === 'True') === true;

/** Follows a path until closed; a watch that the server ends starts again with what is there. */
async function follow(path: string, heed: (object: Seen) => void): Promise<() => void> {
  let close: () => void = () => undefined;
  let isClosed = false;
  const open = (): Promise<void> =>
    new Promise((resolve) => {
      const asked = request({ socketPath, path: `${path}?watch=true`, agent: false }, (response) => {
        resolve();
        let rest = '';
        response.setEncoding('utf8');
        response.on('data', (chunk: string) => {
          const lines = (rest + chunk).split('\n');
          rest = lines.pop() ?? '';
          for (const line of lines) heed((JSON.parse(line) as { readonly object: Seen }).object);
        });
        response.once('close', () => void (isClosed || open()));
      });
      asked.on('error', () => undefined);
      asked.end();
      close = () => asked.destroy();
    });
  await open();
  return () => {
    isClosed = true;
    close();
  };
}

async function until(what: string, isSo: () => boolean, deadlineMs: number, progress: () => string): Promise<void> {
  const end = performance.now() + deadlineMs;
  let shown = performance.now();
  while (!isSo()) {
    if (performance.now() > end) throw new Error(`waited ${deadlineMs / 1000} s in vain for ${what}: ${progress()}`);
    await sleep(50);
    if (performance.now() - shown < 10_000) continue;
    shown = performance.now();
    process.stderr.write(`  ${what}: ${progress()}, server ${megabytes(server.pid)} MB\n`);
  }
}

async function freePort(): Promise<number> {
  const listener = createServer();
  await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve));
  const { port } = listener.address() as AddressInfo;
  await new Promise<void>((resolve) => listener.close(() => resolve()));
  return port;
}

const megabytes = (pid: number | undefined): number => Math.round(residentBytesOf(pid ?? 0) / 2 ** 20);
const ended = (child: ChildProcess): Promise<void> =>
  new Promise((resolve) =>
    child.exitCode === null && child.signalCode === null ? child.once('exit', () => resolve()) : resolve(),
  );

/** Ends with this process, however that ends. */
function start(argv: readonly string[], stdin: 'ignore' | 'pipe'): ChildProcess {
  return spawn('setpriv', ['--pdeathsig', 'TERM', '--', process.execPath, ...argv], {
    stdio: [stdin, 'pipe', 'inherit'],
  });
}

const rows: (readonly [what: string, figure: string])[] = [];
const figures: Record<string, number> = {};
function tell(key: string, what: string, value: number, unit: string): void {
  figures[key] = Number(value.toPrecision(4));
  rows.push([what, `${figures[key]} ${unit}`]);
  process.stderr.write(`${what}: ${figures[key]} ${unit}\n`);
}

/** CPU time of server and nodes while `work` is done. */
async function phase(key: string, what: string, work: () => Promise<void>): Promise<number> {
  // Processes that begin meanwhile have used nothing before.
  const cpu = () => children.map(({ pid }) => cpuSecondsOf(pid ?? 0));
  const [before, began] = [cpu(), performance.now()];
  await work();
  const seconds = (performance.now() - began) / 1000;
  const used = cpu().map((now, index) => now - (before[index] ?? 0));
  tell(`${key}Seconds`, what, seconds, 's');
  tell(`${key}ServerCpuSeconds`, `  CPU of the server`, used[0]!, 's');
  tell(
    `${key}NodesCpuSeconds`,
    `  CPU of the nodes`,
    used.slice(1).reduce((sum, each) => sum + each, 0),
    's',
  );
  tell(`${key}ServerMb`, `  memory of the server`, megabytes(server.pid), 'MB');
  tell(
    `${key}NodesMb`,
    `  memory of the nodes, all processes`,
    children.slice(1).reduce((sum, { pid }) => sum + megabytes(pid), 0),
    'MB',
  );
  return seconds;
}

function podOf(index: number) {
  return {
    ...{ apiVersion: 'v1', kind: 'Pod', metadata: { name: `pod-${index}`, labels: { app: `app-${index % 200}` } } },
    spec: {
      ...{ terminationGracePeriodSeconds: 0, automountServiceAccountToken: false },
      containers: [{ name: 'main', image: 'hollow', resources: { requests: { cpu: '10m', memory: '10Mi' } } }],
    },
  };
}

async function startNodes(): Promise<void> {
  const ready = new Set<string>();
  const close = await follow('/api/v1/nodes', (node) => void (isReady(node) && ready.add(node.metadata.name)));
  const share = Math.ceil(nodeCount / processCount);
  for (let first = 0; first < nodeCount; first += share) {
    const count = String(Math.min(share, nodeCount - first));
    const argv = [nodesProgram, join(folder, 'config.yaml'), socketPath, nodesFolder, String(first), count];
    const profiled =
      first === 0 && values.profile !== undefined ? ['--cpu-prof', `--cpu-prof-dir=${values.profile}`] : [];
    children.push(start(['--max-old-space-size=6144', '--max-semi-space-size=64', ...profiled, ...argv], 'pipe'));
  }
  await until(
    'nodes Ready',
    () => ready.size === nodeCount,
    600_000,
    () => `${ready.size} of ${nodeCount}`,
  );
  close();
}

async function runPods(): Promise<void> {
  const created = new Map<string, number>();
  const took = new Map<string, number>();
  const close = await follow(podsPath, ({ metadata: { name }, status }) => {
    if (status?.phase === 'Running' && !took.has(name)) took.set(name, performance.now() - created.get(name)!);
  });
  const seconds = await phase('pods', `${podCount} pods, first POST to the last one Running`, async () => {
    const began = performance.now();
    let next = 0;
    const lane = async (): Promise<void> => {
      for (let index = next++; index < podCount; index = next++) {
        created.set(`pod-${index}`, performance.now());
        await ask('POST', podsPath, podOf(index));
      }
    };
    await Promise.all(Array.from({ length: 16 }, lane));
    tell('createsPerSecond', '  POSTs answered', podCount / ((performance.now() - began) / 1000), '/s');
    await until(
      'pods Running',
      () => took.size === podCount,
      900_000,
      () => `${took.size} of ${podCount}`,
    );
  });
  close();
  const sorted = ascending([...took.values()]);
  tell('podsPerSecond', '  created to Running (aim: 500)', podCount / seconds, 'pods/s');
  for (const q of [0.5, 0.99])
    tell(`startP${q * 100}Ms`, `  one pod, created to Running, p${q * 100}`, quantile(sorted, q), 'ms');
}

async function latency(
  key: string,
  what: string,
  count: number,
  act: (index: number) => Promise<unknown>,
): Promise<void> {
  const took: number[] = [];
  for (let index = -3; index < count; index += 1) {
    const began = performance.now();
    await act(index);
    if (index >= 0) took.push(performance.now() - began);
    await sleep(5);
  }
  const sorted = ascending(took);
  for (const q of [0.5, 0.99]) tell(`${key}P${q * 100}Ms`, `${what}, p${q * 100}`, quantile(sorted, q), 'ms');
}

async function atRest(): Promise<void> {
  await phase('rest', 'at rest, all Running', () => sleep(20_000));
  await latency('getPod', 'get of a pod', 300, (index) => ask('GET', `${podsPath}/pod-${Math.abs(index) % podCount}`));
  await latency('listNodePods', "list of one node's pods", 300, (index) =>
    ask('GET', `/api/v1/pods?fieldSelector=spec.nodeName%3Dhollow-${Math.abs(index) % nodeCount}`),
  );
  await latency('listPage', 'list of 500 pods (a page of kubectl)', 100, () => ask('GET', `${podsPath}?limit=500`));
  await latency('listLabel', 'list by label', 100, (index) =>
    ask('GET', `${podsPath}?labelSelector=app%3Dapp-${Math.abs(index) % 200}`),
  );
  await latency('listNodes', `list of all ${nodeCount} nodes`, 300, () =>
    ask('GET', '/api/v1/nodes?resourceVersion=0'),
  );
  await latency('listAll', `list of all ${podCount} pods`, 5, () => ask('GET', podsPath));
  let seen: (name: string) => void = () => undefined;
  const close = await follow('/api/v1/namespaces/scale/configmaps', ({ metadata }) => seen(metadata.name));
  await latency('watch', 'POST sent to its event in a watch', 300, (index) => {
    const name = `watched-${index + 3}`;
    const isSeen = new Promise<void>((resolve) => (seen = (each) => void (each === name && resolve())));
    const body = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name }, data: {} };
    return Promise.all([isSeen, ask('POST', '/api/v1/namespaces/scale/configmaps', body)]);
  });
  close();
}

const machine = `${cpus().length} x ${cpus()[0]?.model}, ${(totalmem() / 2 ** 30).toFixed(0)} GiB, Linux ${release()}, Node ${process.version}`;
const loadBefore = loadavg()[0] ?? 0;
writeFileSync(join(folder, 'config.yaml'), config);
const profile = values.profile === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${values.profile}`];
const listen = ['--listen', `127.0.0.1:${await freePort()}`];
const server = start(
  [
    ...profile,
    program,
    'server',
    '--config',
    join(folder, 'config.yaml'),
    '--state-dir',
    join(folder, 'server'),
    ...listen,
  ],
  'ignore',
);
const children: ChildProcess[] = [server];
server.stdout?.resume();
try {
  while ((await ask('GET', '/readyz').catch(() => '')) === '' && server.exitCode === null) await sleep(20);
  await ask('POST', '/api/v1/namespaces', { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'scale' } });
  await phase('nodes', `${nodeCount} nodes, start of the processes to all Ready`, startNodes);
  await runPods();
  await atRest();
} finally {
  for (const child of children.slice(1)) child.stdin?.end();
  const nodesEnd = Promise.all(children.slice(1).map(ended));
  await Promise.race([nodesEnd, sleep(60_000)]);
  for (const child of children) child.kill('SIGTERM');
  await Promise.race([Promise.all(children.map(ended)), sleep(30_000)]);
  for (const child of children) child.kill('SIGKILL');
  for (const path of [folder, nodesFolder]) rmSync(path, { recursive: true, force: true });
}
const width = Math.max(...rows.map(([what]) => what.length));
console.log(`${machine}, load before ${loadBefore.toFixed(1)}`);
for (const [what, figure] of rows) console.log(`${what.padEnd(width)}  ${figure}`);
const result = {
  date: new Date().toISOString(),
  command: process.argv.slice(2),
  machine,
  loadBefore,
  nodes: nodeCount,
  pods: podCount,
  figures,
};
console.log(JSON.stringify(result));
if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(result, undefined, 2)}\n`);
agent.destroy();
