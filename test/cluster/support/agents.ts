/** The agents of a test cluster: killed and started again as a service manager would; and what a node has at a moment. */
import { spawn, spawnSync } from 'node:child_process';
import { closeSync, existsSync, openSync, readdirSync, readFileSync, realpathSync } from 'node:fs';
import { join } from 'node:path';
import { labMainPid, processesLike } from '../../../cli/up/lab-processes.ts';
import { hasEnded, identify } from '../../../lab/index.ts';
import type { TestCluster } from './cluster.ts';

export function commandLine(pid: number): readonly string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').slice(0, -1);
  } catch {
    return [];
  }
}

/** Agents are parts of the lab; one that a test starts stands outside, in a node's namespaces. */
export class Agent {
  readonly #cluster: TestCluster;
  readonly #labPid: number;
  readonly node: string;
  readonly stateDir: string;
  readonly #argv: readonly string[];

  constructor(cluster: TestCluster, node: string) {
    this.#cluster = cluster;
    this.#labPid = labMainPid(cluster.record().lab.pid);
    this.node = node;
    this.stateDir = join(realpathSync(cluster.folder), 'nodes', node, 'agent');
    this.#argv = commandLine(this.pid!);
  }

  get pid(): number | undefined {
    return processesLike(this.#labPid).find((pid) => {
      const words = commandLine(pid);
      return words[2] === 'agent' && words.includes(this.node);
    });
  }

  async kill(): Promise<void> {
    const identity = identify(this.pid!)!;
    process.kill(identity.pid, 'SIGKILL');
    if (!(await hasEnded(identity, 10_000))) throw new Error(`the agent of ${this.node} does not end`);
  }

  start(): void {
    // A bind mount of the lab: seen through its root, not through ours.
    const lab = join(realpathSync(this.#cluster.folder), 'lab');
    const netns = openSync(join(`/proc/${this.#labPid}/root`, lab, `${this.node}.netns`), 'r');
    const log = openSync(join(this.#cluster.folder, 'nodes', this.node, 'agent.log'), 'a');
    const enter = ['--target', String(this.#labPid), '--mount', '--pid', '--root', '--net=/proc/self/fd/3'];
    const child = spawn('nsenter', [...enter, '--', ...this.#argv], {
      stdio: ['ignore', log, log, netns],
      detached: true,
    });
    closeSync(netns);
    closeSync(log);
    child.unref();
  }

  /** All that pods can leave on a node, sorted; equal before and after when nothing leaks. */
  inventory(): Readonly<Record<string, readonly string[]>> {
    const pid = this.pid!;
    const list = (...path: string[]) => (existsSync(join(...path)) ? readdirSync(join(...path)).sort() : []);
    const runtime = join(this.stateDir, 'runtime/process');
    const links = spawnSync('nsenter', ['--target', String(pid), '--net', 'ip', '-o', 'link'], { encoding: 'utf8' });
    const routes = spawnSync(
      'nsenter',
      ['--target', String(pid), '--net', 'ip', '-4', 'route', 'show', 'table', 'all'],
      {
        encoding: 'utf8',
      },
    );
    const mounts = readFileSync(`/proc/${pid}/mountinfo`, 'utf8')
      .split('\n')
      .map((line) => line.split(' ')[4] ?? '');
    return {
      links: links.stdout
        .split('\n')
        .map((line) => line.split(': ')[1] ?? '')
        .sort(),
      // The bridge's carrier comes with the first pod.
      routes: routes.stdout.replaceAll(' linkdown', '').split('\n').sort(),
      leases: list(this.stateDir, 'attachment/bridge/leases').filter((name) => name.endsWith('.lease')),
      mounts: mounts.filter((point) => point.startsWith(this.stateDir)).sort(),
      cgroups: cgroupsOf(runtime),
      pods: list(this.stateDir, 'component/node-agent/pods'),
      sandboxes: list(runtime, 'sandboxes'),
      containers: list(runtime, 'containers'),
      exits: list(runtime, 'exits'),
      memory: list(runtime, 'memory'),
    };
  }

  openFiles(): number {
    return readdirSync(`/proc/${this.pid!}/fd`).length;
  }

  residentMb(): number {
    return Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${this.pid!}/status`, 'latin1'))?.[1]) / 1024;
  }
}

/** None of a folder that went meanwhile. */
function entriesOf(path: string) {
  try {
    return readdirSync(path, { withFileTypes: true });
  } catch {
    return [];
  }
}

function cgroupsOf(stateDir: string): readonly string[] {
  const found: string[] = [];
  const walk = (path: string) => {
    for (const entry of entriesOf(path)) {
      if (!entry.isDirectory()) continue;
      found.push(join(path, entry.name));
      walk(join(path, entry.name));
    }
  };
  for (const line of readFileSync('/proc/self/mountinfo', 'utf8').split('\n')) {
    const [, , , , point = '', ...rest] = line.split(' ');
    if (!['cgroup', 'cgroup2'].includes(rest[rest.indexOf('-') + 1] ?? '')) continue;
    const base = join(point, 'pintle', encodeURIComponent(stateDir));
    if (existsSync(base)) walk(base);
  }
  return found.sort();
}

/** Every process of the lab, those in the pid namespaces of containers too. */
export function labProcesses(cluster: TestCluster): readonly number[] {
  const inLab = new Set(processesLike(labMainPid(cluster.record().lab.pid)));
  const parentOf = (pid: number): number => {
    try {
      return Number(/^PPid:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1]);
    } catch {
      return 0;
    }
  };
  const isBelow = (pid: number) => {
    for (let each = pid; each > 1; each = parentOf(each)) if (inLab.has(each)) return true;
    return false;
  };
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter(isBelow);
}
