/**
 * `pintle up`: a server on the host's network and a lab of nodes in private namespaces. This process is the parent of
 * both; the lab ends when the pipe to it closes, the server when this process dies, so that nothing is left whatever is
 * killed first.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Lease, Node } from '../../kernel/contract/kubernetes.ts';
import { PintleError } from '../../kernel/contract/errors.ts';
import { hostFacts } from '../../kernel/host/host-facts.ts';
import type { ClusterFacts } from '../../kernel/contract/index.ts';
import {
  enterLab,
  identify,
  labProblem,
  planLab,
  readMessages,
  type LabMessage,
  type LabPlan,
  type ProcessIdentity,
} from '../../lab/index.ts';
import { ApiClient, waitFor } from './api-client.ts';
import type { HostPort } from '../options.ts';
import { checkPort } from './check-port.ts';
import { clusterFiles, writeRecord, type ClusterFiles, type ClusterRecord } from './cluster-files.ts';
import { writeNodeIdentities } from './node-identities.ts';
import type { Progress } from './progress.ts';

export interface UpOptions {
  readonly folder: string;
  readonly nodes: number;
  readonly configFile: string | undefined;
  /** Set by the flag; else the config says. */
  readonly listen: string | undefined;
  /** What of the two holds. */
  readonly endpoint: HostPort;
  readonly logLevel: string;
  readonly cluster: ClusterFacts;
}

export interface UpCluster {
  readonly files: ClusterFiles;
  readonly api: ApiClient;
  readonly plan: LabPlan;
  readonly record: ClusterRecord;
  readonly lab: ChildProcess;
  /** Rejects when the server or the lab ends without being asked to. */
  readonly broken: Promise<never>;
  stop(): Promise<void>;
}

const program = fileURLToPath(new URL('../main.js', import.meta.url));
const stopGraceMs = 10_000;

function ended(child: ChildProcess): Promise<string> {
  return new Promise((resolve) => {
    if (child.exitCode !== null || child.signalCode !== null)
      resolve(`ended with ${child.exitCode ?? child.signalCode}`);
    child.once('exit', (code, signal) => resolve(`ended with ${code === null ? signal : `code ${code}`}`));
    child.once('error', (error) => resolve(error.message));
  });
}

function lastLines(path: string, count: number): string {
  try {
    return readFileSync(path, 'utf8').trimEnd().split('\n').slice(-count).join('\n');
  } catch {
    return '';
  }
}

/** Messages of the lab, each to be waited for once. */
class LabReports {
  readonly #seen: LabMessage[] = [];
  readonly #waiting = new Set<() => void>();

  add(message: LabMessage): void {
    this.#seen.push(message);
    for (const wake of this.#waiting) wake();
  }

  async next<T extends LabMessage['type']>(type: T, dead: Promise<string>, stderr: () => string) {
    let ending: string | undefined;
    void dead.then((how) => {
      ending = how;
      for (const wake of this.#waiting) wake();
    });
    for (;;) {
      const found = this.#seen.find((message) => message.type === type);
      if (found) return found as Extract<LabMessage, { type: T }>;
      const failed = this.#seen.find((message) => message.type === 'failed');
      if (failed?.type === 'failed') throw new PintleError('PLUGIN_START_FAILED', failed.message);
      if (ending !== undefined) {
        throw new PintleError(
          'PLUGIN_START_FAILED',
          `the lab ${ending} before it was ready: ${stderr().trim() || 'it gave no reason'}`,
        );
      }
      await new Promise<void>((resolve) => {
        const wake = () => {
          this.#waiting.delete(wake);
          resolve();
        };
        this.#waiting.add(wake);
      });
    }
  }
}

export async function upCluster(options: UpOptions, progress: Progress, signal: AbortSignal): Promise<UpCluster> {
  const files = clusterFiles(options.folder);
  const plan = planLab(options.nodes, options.folder, options.cluster.podCidrs);
  const isRoot = process.geteuid?.() === 0;
  const flags = [
    ...(options.configFile === undefined ? [] : ['--config', options.configFile]),
    ...['--log-level', options.logLevel],
  ];
  writeFileSync(files.plan, JSON.stringify({ plan, socket: files.socket, flags }), { mode: 0o600 });

  const began = Date.now();
  const stops: (() => Promise<void>)[] = [];
  const stop = async () => {
    for (let each = stops.pop(); each; each = stops.pop()) await each();
    rmSync(files.record, { force: true });
  };
  try {
    const reports = new LabReports();
    let stderr = '';
    const lab = await progress.step('checks of this host', async () => {
      checkCommands();
      await checkPort(options.endpoint);
      const problem = await labProblem(isRoot);
      if (problem) throw new PintleError('PLUGIN_UNSUPPORTED', `${problem.reason}\nfix: ${problem.fix}`);
      const child = enterLab([process.execPath, program, 'lab-run', files.plan], { isRoot });
      stops.push(() => stopLab(child));
      child.stderr!.on('data', (chunk: Buffer) => (stderr = (stderr + chunk.toString('utf8')).slice(-4000)));
      readMessages(child.stdout!, (message) => reports.add(message));
      const [checked] = await Promise.all([
        reports.next('checked', ended(child), () => stderr),
        writeNodeIdentities(files, plan, options.cluster),
      ]);
      if (checked.problems.length > 0) throw new PintleError('PLUGIN_UNSUPPORTED', checked.problems.join('\n'));
      return child;
    });
    const labDead = ended(lab);
    const server = startServer(files, options, flags);
    stops.push(() => stopServer(server));
    const serverDead = ended(server);
    const identity = (child: ChildProcess): ProcessIdentity | undefined =>
      child.pid === undefined ? undefined : identify(child.pid);
    const record: ClusterRecord = {
      version: 1,
      up: identify(process.pid)!,
      server: identity(server),
      lab: identity(lab),
      nodes: plan.nodes.map(({ name, address }) => ({ name, address })),
      ready: false,
    };
    writeRecord(files, record);
    // The nodes start while the server does; their agents wait for it.
    lab.stdin!.write('go\n');

    const api = new ApiClient(files.socket);
    const serverEnd = { how: undefined as string | undefined };
    void serverDead.then((how) => (serverEnd.how = how));
    const alive = () => {
      if (serverEnd.how !== undefined) {
        throw new PintleError(
          'PLUGIN_START_FAILED',
          `the server ${serverEnd.how}:\n${lastLines(`${files.folder}/server.log`, 12)}`,
        );
      }
    };
    await progress.step(
      'network of the lab',
      () => reports.next('network', labDead, () => stderr),
      () => `${plan.nodes.length} namespaces on a bridge`,
    );
    await progress.step('API server', () =>
      waitFor(
        async () => {
          alive();
          // Nobody listens yet.
          const answer = await api.raw('GET', '/readyz').catch(() => undefined);
          return answer?.status === 200 ? true : undefined;
        },
        {
          // For what hangs: a server that ends is noticed at once, and one on emulated processors takes long.
          timeoutMs: 120_000,
          signal,
          describe: () => `the API server did not get ready; see ${files.folder}/server.log`,
        },
      ),
    );
    await progress.step(
      'nodes Ready',
      () => nodesReady(api, plan, signal, alive, options.folder, began),
      () => plan.nodes.map((node) => node.name).join(' '),
    );
    const broken = Promise.race([
      serverDead.then((how) => Promise.reject(new Error(`the server ${how}; see ${files.folder}/server.log`))),
      labDead.then((how) => Promise.reject(new Error(`the lab ${how}`))),
    ]);
    // Raced by whoever waits for something of the cluster; at other times nobody does.
    broken.catch(() => undefined);
    return { files, api, plan, record, lab, broken, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** What starts the processes, and locks the store. The plugins of the nodes say in the lab what else is missing. */
function checkCommands(): void {
  const { command } = hostFacts();
  const missing = ['unshare', 'setpriv', 'flock'].filter((name) => command(name) === undefined);
  if (missing.length === 0) return;
  const what = missing.length === 1 ? `the command ${missing[0]} is` : `the commands ${missing.join(', ')} are`;
  throw new PintleError('PLUGIN_UNSUPPORTED', `${what} missing on this host\nfix: apt-get install util-linux`);
}

function startServer(files: ClusterFiles, options: UpOptions, flags: readonly string[]): ChildProcess {
  mkdirSync(files.server, { recursive: true, mode: 0o700 });
  const log = openSync(`${files.folder}/server.log`, 'a', 0o600);
  const listen = options.listen === undefined ? [] : ['--listen', options.listen];
  const command = [process.execPath, program, 'server', '--state-dir', files.server, ...listen, ...flags];
  // Dies with its parent, also when that is killed; a new session keeps the terminal's Ctrl-C away from it.
  return spawn('setpriv', ['--pdeathsig', 'TERM', '--', ...command], { stdio: ['ignore', log, log], detached: true });
}

/** A kept store still says Ready of nodes whose agents are only starting: what an agent said before `began` counts not. */
async function nodesReady(
  api: ApiClient,
  plan: LabPlan,
  signal: AbortSignal,
  alive: () => void,
  folder: string,
  began: number,
): Promise<void> {
  let why = '';
  await waitFor(
    async () => {
      alive();
      const { items } = await api.get<{ items: Node[] }>('/api/v1/nodes');
      const leases = await api.get<{ items: Lease[] }>(
        '/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases',
      );
      const reasons = plan.nodes.map(({ name }) => {
        const ready = items
          .find((node) => node.metadata.name === name)
          ?.status?.conditions?.find((each) => each.type === 'Ready');
        // The times of conditions are whole seconds, those of leases are exact.
        const lease = leases.items.find((each) => each.metadata.name === name);
        const isNews =
          Date.parse(lease?.spec.renewTime ?? '') > began && Date.parse(ready?.lastHeartbeatTime ?? '') > began - 1000;
        return ready?.status === 'True' && isNews
          ? undefined
          : `${name}: ${(isNews ? ready?.message : undefined) ?? `its agent has not reported; see ${folder}/nodes/${name}/agent.log`}`;
      });
      why = reasons.filter(Boolean).join('\n');
      return why === '' ? true : undefined;
    },
    { timeoutMs: 60_000, signal, describe: () => `nodes are not Ready:\n${why}` },
  );
}

async function stopLab(child: ChildProcess): Promise<void> {
  const end = ended(child);
  child.stdin?.end();
  const timer = setTimeout(() => child.kill('SIGKILL'), stopGraceMs);
  await end;
  clearTimeout(timer);
}

async function stopServer(child: ChildProcess): Promise<void> {
  const end = ended(child);
  child.kill('SIGTERM');
  const timer = setTimeout(() => child.kill('SIGKILL'), stopGraceMs);
  await end;
  clearTimeout(timer);
}
