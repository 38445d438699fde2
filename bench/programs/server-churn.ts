/**
 * The memory of one server while pods come and go for much longer than its histories can hold: is it level?
 *
 *     node out/bench/programs/server-churn.js [--pods 8000] [--rate 40] [--live 100] [--nodes 3] [--json FILE]
 *
 * A real `pintle server` on the durable store, hollow nodes (hollow-nodes.ts), pods behind one Service: `--rate` are created
 * each second, the oldest is deleted when more than `--live` are there. Exit code 3: its own memory (RssAnon) grew in the
 * second half.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, loadavg, release, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { ApiClient } from '../../cli/up/api-client.ts';
import { cpuSecondsOf } from '../bed/processes.ts';
import { levelOf } from '../method/level.ts';

const program = fileURLToPath(new URL('../../cli/main.js', import.meta.url));
const nodesProgram = fileURLToPath(new URL('./hollow-nodes.js', import.meta.url));
const { values } = parseArgs({
  options: {
    pods: { type: 'string', default: '8000' },
    rate: { type: 'string', default: '40' },
    live: { type: 'string', default: '100' },
    nodes: { type: 'string', default: '3' },
    json: { type: 'string' },
  },
});
const numberOf = (name: 'pods' | 'rate' | 'live' | 'nodes'): number => {
  const value = Number(values[name]);
  if (!Number.isSafeInteger(value) || value < 1) throw new TypeError(`--${name} takes a whole number`);
  return value;
};
const [pods, rate, live, nodes] = [numberOf('pods'), numberOf('rate'), numberOf('live'), numberOf('nodes')];
const looks = 20;
const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));
const folder = mkdtempSync(join(tmpdir(), 'pintle-churn-'));
const config = join(folder, 'config.yaml');
const socket = join(folder, 'server', 'api.sock');
const podsPath = '/api/v1/namespaces/churn/pods';

writeFileSync(
  config,
  `apiVersion: pintle.dev/v1
kind: ClusterConfiguration
plugins:
  use:
    runtime: { name: hollow }
    component: [{ name: api-server, config: { port: 0 } }, { name: scheduler }, { name: controller-manager }, { name: node-agent }, { name: service-proxy }]
`,
);

function start(argv: readonly string[], stdin: 'ignore' | 'pipe'): ChildProcess {
  return spawn('setpriv', ['--pdeathsig', 'TERM', '--', process.execPath, ...argv], {
    stdio: [stdin, 'ignore', 'ignore'],
  });
}

const podOf = (name: string) => ({
  ...{ apiVersion: 'v1', kind: 'Pod', metadata: { name, labels: { app: 'churn' } } },
  spec: {
    ...{ terminationGracePeriodSeconds: 0 },
    containers: [
      {
        ...{ name: 'main', image: 'hollow', command: ['sh', '-c', 'cat /config/key; sleep 1000 & wait'] },
        ...{ ports: [{ containerPort: 80 }], volumeMounts: [{ name: 'scratch', mountPath: '/scratch' }] },
        resources: { limits: { cpu: '200m', memory: '64Mi' }, requests: { cpu: '5m', memory: '8Mi' } },
      },
    ],
    volumes: [{ name: 'scratch', emptyDir: {} }],
  },
});

interface Look {
  readonly pods: number;
  readonly anonymousMb: number;
  readonly mappedMb: number;
  readonly heapUsedMb: number;
  readonly outsideHeapMb: number;
  readonly cpuSeconds: number;
}

async function look(api: ApiClient, pid: number, done: number): Promise<Look> {
  const status = readFileSync(`/proc/${pid}/status`, 'latin1');
  const { body } = await api.raw('GET', '/metrics');
  const kilobytes = (part: string): number => Number(new RegExp(`^${part}:\\s*(\\d+) kB`, 'm').exec(status)?.[1]);
  const bytes = (metric: string): number => Number(new RegExp(`^${metric} (\\S+)`, 'm').exec(body)?.[1]);
  return {
    pods: done,
    anonymousMb: Math.round(kilobytes('RssAnon') / 1024),
    mappedMb: Math.round(kilobytes('RssFile') / 1024),
    heapUsedMb: Math.round(bytes('nodejs_heap_size_used_bytes') / 2 ** 20),
    outsideHeapMb: Math.round(bytes('nodejs_external_memory_bytes') / 2 ** 20),
    cpuSeconds: Math.round(cpuSecondsOf(pid) * 10) / 10,
  };
}

async function churn(api: ApiClient, pid: number): Promise<readonly Look[]> {
  const found: Look[] = [];
  const there: string[] = [];
  const working = new Set<Promise<void>>();
  const began = performance.now();
  let done = 0;
  const life = async (name: string): Promise<void> => {
    await api.create(podsPath, podOf(name));
    done++;
    there.push(name);
    if (there.length > live) await api.raw('DELETE', `${podsPath}/${there.shift()}`);
  };
  for (let index = 0; index < pods; index++) {
    await sleep(began + (index * 1000) / rate - performance.now());
    while (working.size >= 32) await Promise.race(working);
    const work = life(`churn-${index}`).finally(() => working.delete(work));
    working.add(work);
    if ((index + 1) % Math.ceil(pods / looks) !== 0) continue;
    const now = await look(api, pid, done);
    found.push(now);
    console.log(JSON.stringify(now));
  }
  await Promise.all(working);
  return found;
}

const machine = `${cpus().length} x ${cpus()[0]?.model}, Linux ${release()}, Node ${process.version}, load ${loadavg()[0]?.toFixed(1)}`;
console.log(machine);
const server = start([program, 'server', '--config', config, '--state-dir', join(folder, 'server')], 'ignore');
const children = [server];
try {
  const api = new ApiClient(socket);
  while ((await api.raw('GET', '/readyz').catch(() => undefined))?.status !== 200) {
    if (server.exitCode !== null) throw new Error(`the server ended with ${server.exitCode}`);
    await sleep(50);
  }
  children.push(start([nodesProgram, config, socket, join(folder, 'nodes'), '0', String(nodes)], 'pipe'));
  await api.create('/api/v1/namespaces', { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'churn' } });
  await api.create('/api/v1/namespaces/churn/services', {
    ...{ apiVersion: 'v1', kind: 'Service', metadata: { name: 'churn' } },
    spec: { selector: { app: 'churn' }, ports: [{ port: 80 }] },
  });
  await sleep(3_000);
  const found = await churn(api, server.pid!);
  const { earlier, later, isLevel } = levelOf(found.map(({ anonymousMb }) => anonymousMb));
  const text = `server: third quarter ${Math.round(earlier)} MB, last quarter ${Math.round(later)} MB`;
  console.log(`${text}: ${isLevel ? 'level' : 'growing'}`);
  const result = { date: new Date().toISOString(), machine, pods, rate, live, looks: found, earlier, later, isLevel };
  if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(result, undefined, 2)}\n`);
  process.exitCode = isLevel ? 0 : 3;
} finally {
  const ended = children.map(
    (child) =>
      new Promise<void>((resolve) => (child.exitCode === null ? child.once('exit', () => resolve()) : resolve())),
  );
  children[1]?.stdin?.end();
  for (const child of children) child.kill('SIGTERM');
  const kill = setTimeout(() => children.forEach((child) => child.kill('SIGKILL')), 10_000);
  await Promise.all(ended);
  clearTimeout(kill);
  rmSync(folder, { recursive: true, force: true });
}
process.exit();
