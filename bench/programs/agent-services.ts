/**
 * A whole node agent in a cluster of many Services: how long from the start of its process until the kernel has all of
 * them, what it needs for that, and how long one Service more takes from its POST.
 *
 *     node out/bench/programs/agent-services.js [--services 10000] [--proxy nftables] [--target host] [--more 20]
 *
 * The Services, two endpoints each, are POSTed to a real `pintle server` on this machine. Then the target (lab/kernels; `vm`
 * for proxy `ipvs`) starts that server again on a copy of its store, and once it is at rest a real `pintle agent` beside it:
 * node agent and service proxy, attachment bridge, overlay host-gw, no pods.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, loadavg, release, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { ApiClient } from '../../cli/up/api-client.ts';
import { kernelProblem, openKernel } from '../../lab/kernels/run-on.ts';
import { kernelTargets } from '../../lab/kernels/target.ts';
import { cpuSecondsOf, residentBytesOf } from '../bed/processes.ts';
import { ascending, quantile } from '../method/statistics.ts';
import { kernelViews } from './kernel-views.ts';

const { values } = parseArgs({
  options: {
    services: { type: 'string', default: '10000' },
    proxy: { type: 'string', default: 'nftables' },
    target: { type: 'string', default: 'host' },
    more: { type: 'string', default: '20' },
    /** Of node, for the agent: `--cpu-prof --cpu-prof-dir=FOLDER`. */
    node: { type: 'string', default: '' },
    /** A folder for the filled store, which is kept and used again: filling takes longer than measuring. */
    store: { type: 'string' },
    /** The folder that holds the filled store: this process runs in the target. */
    inside: { type: 'string' },
  },
});
const [services, more] = [values.services, values.more].map(Number) as [number, number];
const target = kernelTargets.find((each) => each === values.target);
const kernelView = kernelViews[values.proxy];
if (!Number.isSafeInteger(services) || !Number.isSafeInteger(more) || target === undefined || kernelView === undefined)
  throw new TypeError(
    `--services and --more take whole numbers, --target one of ${kernelTargets.join(', ')}, ` +
      `--proxy one of ${Object.keys(kernelViews).join(', ')}`,
  );

const program = fileURLToPath(new URL('../../cli/main.js', import.meta.url));
const config = `apiVersion: pintle.dev/v1
kind: ClusterConfiguration
plugins:
  use:
    runtime: hollow
    overlay: host-gw
    proxy: ${values.proxy}
    controller: [node-ipam]
    component: [api-server, controller-manager, node-agent, service-proxy]
`;
const restSeconds = 10;
const nodeAddress = '192.0.2.2';
const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));
const byte = (index: number): string => `${(index >> 8) & 255}.${index & 255}`;
const addressOf = (index: number): string => `10.${100 + (index >> 16)}.${byte(index)}`;

/** Ends with this process, however that ends. */
const start = (argv: readonly string[], ofNode: readonly string[] = []): ChildProcess =>
  spawn('setpriv', ['--pdeathsig', 'TERM', '--', process.execPath, ...ofNode, program, ...argv], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });

async function end(child: ChildProcess): Promise<void> {
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill('SIGTERM');
  const late = setTimeout(() => child.kill('SIGKILL'), 60_000);
  await ended;
  clearTimeout(late);
}

async function until(what: string, isTrue: () => Promise<boolean> | boolean, child: ChildProcess): Promise<void> {
  const deadline = performance.now() + 600_000;
  while (!(await isTrue())) {
    if (child.exitCode !== null) throw new Error(`waiting until ${what}: the process ended with ${child.exitCode}`);
    if (performance.now() > deadline) throw new Error(`waited ten minutes in vain until ${what}`);
    await sleep(100);
  }
}

async function startServer(folder: string): Promise<{ readonly child: ChildProcess; readonly api: ApiClient }> {
  const files = ['--config', join(folder, 'cluster.yaml'), '--state-dir', join(folder, 'server')];
  const child = start(['server', ...files, '--listen', '127.0.0.1:0']);
  const api = new ApiClient(join(folder, 'server/api.sock'));
  const isReady = () =>
    api.raw('GET', '/readyz').then(
      ({ status }) => status === 200,
      () => false,
    );
  await until('the server is ready', isReady, child);
  return { child, api };
}

/** Until it has used little of a processor for a second. */
async function rest({ pid = 0 }: ChildProcess): Promise<void> {
  for (let used = 1; used > 0.05;) {
    const before = cpuSecondsOf(pid);
    await sleep(1_000);
    used = cpuSecondsOf(pid) - before;
  }
}

async function create(api: ApiClient, index: number): Promise<void> {
  const at = ['/api/v1/namespaces/default/services', '/apis/discovery.k8s.io/v1/namespaces/default/endpointslices'];
  const name = `service-${index}`;
  const ports = [{ name: 'http', port: 80, protocol: 'TCP' }];
  const bodies = [
    {
      metadata: { name: `${name}-1`, labels: { 'kubernetes.io/service-name': name } },
      addressType: 'IPv4',
      endpoints: [1, 2].map((which) => ({
        addresses: [`10.${245 + which}.${byte(index)}`],
        conditions: { ready: true },
      })),
      ports: [{ name: 'http', port: 8080, protocol: 'TCP' }],
    },
    { metadata: { name }, spec: { clusterIP: addressOf(index), ports } },
  ];
  // The slice first: what is timed ends when the Service has its endpoints.
  for (const [which, body] of bodies.entries()) {
    const { status, body: said } = await api.raw('POST', at[1 - which]!, body);
    if (status !== 201) throw new Error(`POST ${at[1 - which]}: ${status} ${said}`);
  }
}

async function fill(folder: string): Promise<void> {
  const { child, api } = await startServer(folder);
  try {
    let next = 0;
    const lane = async (): Promise<void> => {
      for (let index = next++; index < services; index = next++) await create(api, index);
    };
    await Promise.all(Array.from({ length: 16 }, lane));
  } finally {
    await end(child);
  }
}

const megabytes = (child: ChildProcess): number => Math.round(residentBytesOf(child.pid ?? 0) / 2 ** 20);
const peakMb = ({ pid }: ChildProcess): number =>
  Math.round(Number(/^VmHWM:\s*(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1]) / 1024);

async function measure(filled: string): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'pintle-agent-services-'));
  cpSync(filled, folder, { recursive: true });
  const tell = (what: string, figure: string): void => console.log(`${what.padEnd(58)}  ${figure}`);
  const seconds = (since: number): string => `${((performance.now() - since) / 1000).toFixed(1)} s`;
  const children: ChildProcess[] = [];
  try {
    let began = performance.now();
    const { child: server, api } = await startServer(folder);
    children.push(server);
    tell('server: start to ready, with the store of all Services', seconds(began));
    // What it does in the first seconds of its own is not the agent's.
    await rest(server);
    began = performance.now();
    const where = ['--config', join(folder, 'cluster.yaml'), '--state-dir', join(folder, 'agent')];
    const who = ['--node-name', 'node-1', '--node-ip', nodeAddress];
    const to = ['--server', `unix:${join(folder, 'server/api.sock')}`];
    const serverCpu = cpuSecondsOf(server.pid ?? 0);
    const agent = start(['agent', ...where, ...who, ...to], values.node.split(' ').filter(Boolean));
    children.push(agent);
    const metrics = async (): Promise<string> => (await api.raw('GET', '/api/v1/nodes/node-1/proxy/metrics')).body;
    const syncSeconds = /^kubeproxy_sync_proxy_rules_duration_seconds_sum (\S+)/m;
    const isDone = async (): Promise<boolean> =>
      /^kubeproxy_sync_proxy_rules_duration_seconds_count [1-9]/m.test(await metrics().catch(() => ''));
    await until('the first sync is over', isDone, agent);
    const cpuThen = cpuSecondsOf(agent.pid ?? 0);
    tell('agent: start of its process to the end of its first sync', seconds(began));
    tell(
      '  CPU until then: agent, server',
      `${[cpuThen, cpuSecondsOf(server.pid ?? 0) - serverCpu].map((each) => `${each.toFixed(1)} s`).join(', ')}`,
    );
    const found = kernelView!.services();
    if (found !== services) throw new Error(`the kernel has ${found} Services: expected ${services}`);
    tell('  its syncs until then', `${Number(syncSeconds.exec(await metrics())?.[1]).toFixed(1)} s`);
    tell('agent: resident memory then, at most until then', `${megabytes(agent)} MB, ${peakMb(agent)} MB`);
    await sleep(restSeconds * 1_000);
    const cpu = cpuSecondsOf(agent.pid ?? 0);
    await sleep(restSeconds * 1_000);
    const share = ((cpuSecondsOf(agent.pid ?? 0) - cpu) / restSeconds) * 100;
    tell(`  ... ${2 * restSeconds} s later; CPU at rest`, `${megabytes(agent)} MB, ${share.toFixed(1)} % of a CPU`);
    const took: number[] = [];
    for (let index = services; index < services + more; index += 1) {
      began = performance.now();
      await create(api, index);
      while (kernelView!.endpoints(addressOf(index)) < 2) await sleep(2);
      took.push(performance.now() - began);
      await sleep(500);
    }
    const figures = [0, 0.5, 0.9].map((q) => `${quantile(ascending(took), q).toFixed(0)} ms`).join(', ');
    tell('one Service more: two POSTs to the kernel; least, p50, p90', figures);
    const sync = (await metrics()).match(/^kubeproxy_sync_proxy_rules_duration_seconds_bucket.*$/gm) ?? [];
    tell('  syncs', sync.map((line) => line.replace(/^.*le="([^"]+)"\} /, '<= $1 s: ')).join('; '));
    tell('server: resident memory', `${megabytes(server)} MB`);
  } finally {
    for (const child of children.reverse()) await end(child);
    rmSync(folder, { recursive: true, force: true });
  }
}

async function main(): Promise<number> {
  if (values.inside !== undefined) {
    console.log(
      `Linux ${release()}, ${availableParallelism()} processors, Node ${process.version}, load ${loadavg()[0]!.toFixed(1)}`,
    );
    await measure(values.inside);
    return 0;
  }
  const problem = kernelProblem(target!);
  if (problem !== undefined) throw new Error(`target ${target}: ${problem.reason}; ${problem.fix}`);
  const folder = values.store ?? mkdtempSync(join(tmpdir(), 'pintle-agent-services-'));
  const isFilled = existsSync(join(folder, 'filled'));
  const stop = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stop.abort());
  try {
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, 'cluster.yaml'), config);
    if (!isFilled) await fill(folder);
    writeFileSync(join(folder, 'filled'), '');
    // A network of its own, also where the target is this machine, with a link for an underlay.
    const script = `ip link set lo up; ip link add eth0 type veth peer name eth1; ip link set eth1 up; ip address add ${nodeAddress}/24 dev eth0; ip link set eth0 up
      ip route add default via 192.0.2.1; exec "$@"`;
    const own = fileURLToPath(import.meta.url);
    const figures = ['--services', String(services), '--more', String(more), '--proxy', values.proxy];
    const again = [process.execPath, own, ...figures, `--node=${values.node}`, '--inside', folder];
    return await openKernel(target!).run({
      argv: ['unshare', '--net', '--mount', '--pid', '--fork', '--mount-proc', 'sh', '-ec', script, 'sh', ...again],
      cwd: process.cwd(),
      env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' },
      signal: stop.signal,
      onOutput: (stream, chunk) => void process[stream].write(chunk),
    });
  } finally {
    if (values.store === undefined) rmSync(folder, { recursive: true, force: true });
  }
}

process.exitCode = await main();
