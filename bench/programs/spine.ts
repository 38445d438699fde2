/**
 * The figures that a user feels, measured on this machine in one run:
 *
 *     node out/bench/programs/spine.js [--runs 5]
 *
 * - server: start of the process to a 200 of /readyz, durable store, certificates there (all starts but the first)
 * - up: start of `pintle up --demo` to the demo's answer through its Service
 * - idle: resident memory and CPU of server and agents over 30 s after the demo is gone
 * - pods: creation (POST sent) to phase Running (seen by a watch), 20 pods a second, process runtime
 */
import { spawn, type ChildProcess, type StdioOptions } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { request } from 'node:http';
import { createServer, type AddressInfo } from 'node:net';
import { cpus, release, tmpdir, totalmem } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { ApiClient } from '../../cli/up/api-client.ts';
import { labMainPid, processesLike } from '../../cli/up/lab-processes.ts';

const program = fileURLToPath(new URL('../../cli/main.js', import.meta.url));
const ticksPerSecond = 100;

/** Ends with this process, however that ends. */
function start(argv: readonly string[], stdio: StdioOptions): ChildProcess {
  return spawn('setpriv', ['--pdeathsig', 'INT', '--', process.execPath, program, ...argv], { stdio });
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise<void>((resolve) => server.close(() => resolve()));
  return port;
}

function ended(child: ChildProcess): Promise<void> {
  return new Promise((resolve) =>
    child.exitCode === null && child.signalCode === null ? child.once('exit', () => resolve()) : resolve(),
  );
}

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

function quantile(sorted: readonly number[], q: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))] ?? Number.NaN;
}

function summary(name: string, values: readonly number[], unit: string): void {
  const sorted = [...values].sort((a, b) => a - b);
  const text = (value: number) => `${value.toFixed(0)} ${unit}`;
  console.log(
    `${name.padEnd(44)} median ${text(quantile(sorted, 0.5))}, min ${text(sorted[0]!)}, max ${text(sorted.at(-1)!)} (${sorted.length} runs)`,
  );
}

async function serverStarts(runs: number): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'pintle-bench-'));
  const port = await freePort();
  const times: number[] = [];
  for (let count = 0; count <= runs; count += 1) {
    const began = performance.now();
    const child = start(['server', '--state-dir', folder, '--listen', `127.0.0.1:${port}`], 'ignore');
    const api = new ApiClient(join(folder, 'api.sock'));
    while ((await api.raw('GET', '/readyz').catch(() => undefined))?.status !== 200) await sleep(2);
    // The first start also makes the certificates.
    if (count > 0) times.push(performance.now() - began);
    else summary('server: first start, certificates made', [performance.now() - began], 'ms');
    child.kill('SIGTERM');
    await ended(child);
  }
  summary('server: cold start to /readyz', times, 'ms');
  rmSync(folder, { recursive: true, force: true });
}

interface Up {
  readonly folder: string;
  readonly child: ChildProcess;
  /** From the start of the process to its last line, which follows the demo's answers. */
  readonly readyMs: number;
}

async function up(flags: readonly string[]): Promise<Up> {
  const folder = join(mkdtempSync(join(tmpdir(), 'pintle-bench-')), 'c');
  const argv = ['up', '--state-dir', folder, '--listen', `127.0.0.1:${await freePort()}`, ...flags];
  const began = performance.now();
  const child = start(argv, ['ignore', 'pipe', 'inherit']);
  let text = '';
  await new Promise<void>((resolve, reject) => {
    child.stdout!.on('data', (chunk: Buffer) => {
      text += chunk.toString('utf8');
      if (text.includes('Ctrl-C takes')) resolve();
    });
    child.on('exit', (code) => reject(new Error(`pintle up ended with ${code}\n${text}`)));
  });
  return { folder, child, readyMs: performance.now() - began };
}

async function down(cluster: Up): Promise<void> {
  cluster.child.kill('SIGINT');
  await ended(cluster.child);
  rmSync(join(cluster.folder, '..'), { recursive: true, force: true });
}

async function demoTimes(runs: number): Promise<void> {
  const times: number[] = [];
  for (let count = 0; count < runs; count += 1) {
    const cluster = await up(['--demo']);
    times.push(cluster.readyMs);
    await down(cluster);
  }
  summary('up: 3 nodes, demo answered 12 requests', times, 'ms');
}

interface Usage {
  readonly rssMb: number;
  readonly cpuTicks: number;
}

function usage(pid: number): Usage {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const rss = /^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1];
  return { rssMb: Number(rss ?? 0) / 1024, cpuTicks: Number(fields[11]) + Number(fields[12]) };
}

function commandLine(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'latin1').replaceAll('\0', ' ');
  } catch {
    return '';
  }
}

async function idle(cluster: Up, seconds: number): Promise<void> {
  const record = JSON.parse(readFileSync(join(cluster.folder, 'up.json'), 'utf8')) as {
    server: { pid: number };
    lab: { pid: number };
  };
  const agents = processesLike(labMainPid(record.lab.pid)).filter(
    (pid) => /main\.js agent/.test(commandLine(pid)) && !/^\/bin\/sh/.test(commandLine(pid)),
  );
  const named: readonly (readonly [string, number])[] = [
    ['server', record.server.pid],
    ...agents.map((pid, index) => [`agent ${index + 1}`, pid] as const),
  ];
  await sleep(10_000);
  const before = named.map(([, pid]) => usage(pid));
  await sleep(seconds * 1000);
  named.forEach(([name, pid], index) => {
    const now = usage(pid);
    const cpu = ((now.cpuTicks - before[index]!.cpuTicks) / ticksPerSecond / seconds) * 100;
    console.log(
      `idle: ${name.padEnd(38)} ${now.rssMb.toFixed(0)} MB resident, ${cpu.toFixed(2)} % of a core over ${seconds} s`,
    );
  });
}

async function podStarts(cluster: Up, perSecond: number, count: number): Promise<void> {
  const socketPath = join(cluster.folder, 'server', 'api.sock');
  const api = new ApiClient(socketPath);
  const sent = new Map<string, number>();
  const took = new Map<string, number>();
  let finish: () => void = () => {};
  const all = new Promise<void>((resolve) => (finish = resolve));
  const watch = request({ socketPath, path: '/api/v1/namespaces/default/pods?watch=true' }, (response) => {
    let rest = '';
    response.on('data', (chunk: Buffer) => {
      const now = performance.now();
      rest += chunk.toString('utf8');
      for (let end = rest.indexOf('\n'); end >= 0; end = rest.indexOf('\n')) {
        const { object } = JSON.parse(rest.slice(0, end)) as {
          object: { metadata: { name: string }; status?: { phase?: string } };
        };
        rest = rest.slice(end + 1);
        const { name } = object.metadata;
        if (object.status?.phase === 'Running' && sent.has(name) && !took.has(name))
          took.set(name, now - sent.get(name)!);
        if (took.size === count) finish();
      }
    });
  });
  watch.end();
  await sleep(200);
  for (let index = 0; index < count; index += 1) {
    const name = `bench-${index}`;
    sent.set(name, performance.now());
    void api.create('/api/v1/namespaces/default/pods', {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name },
      spec: {
        terminationGracePeriodSeconds: 0,
        containers: [{ name: 'c', image: 'host', command: ['sleep', 'infinity'] }],
      },
    });
    await sleep(1000 / perSecond);
  }
  await Promise.race([all, sleep(60_000)]);
  watch.destroy();
  const sorted = [...took.values()].sort((a, b) => a - b);
  const text = [0.5, 0.9, 0.99, 1].map((q) => `p${q * 100} ${quantile(sorted, q).toFixed(0)} ms`).join(', ');
  console.log(
    `pods: created to Running at ${perSecond}/s`.padEnd(44),
    `${text} (${sorted.length} of ${count} pods, 3 nodes)`,
  );
}

const { values } = parseArgs({ options: { runs: { type: 'string', default: '5' } } });
const runs = Number(values.runs);
if (!Number.isSafeInteger(runs) || runs < 1) throw new TypeError('--runs takes a number');
console.log(
  `${cpus().length} x ${cpus()[0]?.model}, ${(totalmem() / 2 ** 30).toFixed(0)} GiB, Linux ${release()}, Node ${process.version}`,
);
await serverStarts(runs);
await demoTimes(runs);
const cluster = await up([]);
try {
  await idle(cluster, 30);
  await podStarts(cluster, 20, 100);
} finally {
  await down(cluster);
}
