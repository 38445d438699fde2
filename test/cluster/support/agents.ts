/** The agents of a test cluster: killed and started again as a service manager would; and what a node has at a moment. */
import { spawn } from 'node:child_process';
import { closeSync, openSync, readdirSync, readFileSync, realpathSync } from 'node:fs';
import { join } from 'node:path';
import { commandLine, nodeInventory, processesBelow, type Inventory } from '../../../bench/programs/node-inventory.ts';
import { labMainPid, processesLike } from '../../../cli/up/lab-processes.ts';
import { hasEnded, identify } from '../../../lab/index.ts';
import type { TestCluster } from './cluster.ts';

export { commandLine };

/** An agent's child that has not become its own program yet has the agent's command line: the agent is nobody's child of these. */
export function agentPid(labPid: number, node: string): number | undefined {
  const found = processesLike(labPid).filter((pid) => {
    const words = commandLine(pid);
    return words[2] === 'agent' && words.includes(node);
  });
  return found.find((pid) => {
    const parent = parentOf(pid);
    return parent !== undefined && !found.includes(parent);
  });
}

/** Undefined: it has ended. */
function parentOf(pid: number): number | undefined {
  try {
    return Number(/^PPid:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1]);
  } catch {
    return undefined;
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
    return agentPid(this.#labPid, this.node);
  }

  async kill(): Promise<void> {
    const identity = identify(this.pid!)!;
    process.kill(identity.pid, 'SIGKILL');
    if (!(await hasEnded(identity, 120_000))) throw new Error(`the agent of ${this.node} does not end`);
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
  inventory(): Inventory {
    return nodeInventory(this.pid!, this.stateDir);
  }

  openFiles(): number {
    return readdirSync(`/proc/${this.pid!}/fd`).length;
  }

  residentMb(): number {
    return Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${this.pid!}/status`, 'latin1'))?.[1]) / 1024;
  }
}

/** Every process of the lab, those in the pid namespaces of containers too. */
export function labProcesses(cluster: TestCluster): readonly number[] {
  return processesBelow(labMainPid(cluster.record().lab.pid));
}
