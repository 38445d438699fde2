/** What pods can leave behind on a node of `pintle up`, read from outside: through /proc and in the node's namespaces. */
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { processesLike } from '../../cli/up/lab-processes.ts';

export type Inventory = Readonly<Record<string, readonly string[]>>;

/** Of the node whose agent has this pid and state folder. Sorted; equal before and after when nothing leaks. */
export function nodeInventory(pid: number, stateDir: string): Inventory {
  const list = (...path: string[]) => (existsSync(join(...path)) ? readdirSync(join(...path)).sort() : []);
  const runtime = join(stateDir, 'runtime/process');
  const mounts = readFileSync(`/proc/${pid}/mountinfo`, 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[4] ?? '');
  return {
    links: linesIn(pid, ['ip', '-o', 'link'])
      .map((line) => line.split(': ')[1] ?? '')
      .sort(),
    // The bridge's carrier comes with the first pod.
    routes: linesIn(pid, ['ip', '-4', 'route', 'show', 'table', 'all'])
      .map((line) => line.replaceAll(' linkdown', ''))
      .sort(),
    leases: list(stateDir, 'attachment/bridge/leases').filter((name) => name.endsWith('.lease')),
    mounts: mounts.filter((point) => point.startsWith(stateDir)).sort(),
    cgroups: cgroupsOf(runtime),
    pods: list(stateDir, 'component/node-agent/pods'),
    sandboxes: list(runtime, 'sandboxes'),
    containers: list(runtime, 'containers'),
    exits: list(runtime, 'exits'),
    memory: list(runtime, 'memory'),
  };
}

/** Addresses, packet filter rules (counters left out), policy rules, and every file below the agent's state folder. */
export function deepInventory(pid: number, stateDir: string): Inventory {
  return {
    ...nodeInventory(pid, stateDir),
    addresses: linesIn(pid, ['ip', '-o', 'addr'])
      .map((line) => line.split(/\s+/).slice(1, 4).join(' '))
      .sort(),
    'policy rules': [...linesIn(pid, ['ip', 'rule'])].sort(),
    'filter rules': filterRules(pid),
    files: filesBelow(stateDir),
  };
}

interface NftObject {
  readonly name?: string;
  readonly chain?: string;
  readonly table?: string;
  readonly expr?: unknown;
  readonly elem?: readonly unknown[];
}

/**
 * Tables, chains, rules, and every element of sets and maps. The chains by which proxy nftables draws one of N endpoints
 * are the same for all Services and stay, as many as the largest Service had endpoints: left out. The endpoints themselves
 * are elements.
 */
function filterRules(pid: number): readonly string[] {
  const text = linesIn(pid, ['nft', '--stateless', '--json', 'list', 'ruleset']).join('\n');
  const { nftables } = JSON.parse(text) as { readonly nftables: readonly Readonly<Record<string, NftObject>>[] };
  const found: string[] = [];
  for (const [what, object] of nftables.flatMap((each) => Object.entries(each))) {
    const { name = '', chain = name, table = '', expr, elem = [] } = object;
    const isShared = /^(local-)?(pick|slots?)-\d|^external-\d+-\d/.test(chain);
    if (what !== 'metainfo' && !isShared) found.push(`${what} ${table} ${chain} ${JSON.stringify(expr ?? '')}`);
    for (const each of elem) found.push(`element ${table} ${name} ${JSON.stringify(each)}`);
  }
  return found.sort();
}

function linesIn(pid: number, command: readonly string[]): readonly string[] {
  const { stdout, status, stderr, error } = spawnSync('nsenter', ['--target', String(pid), '--net', ...command], {
    encoding: 'utf8',
    // npm's folders first would find another program called nft.
    env: { ...process.env, PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' },
  });
  if (status !== 0)
    throw new Error(`${command.join(' ')} failed in the namespace of ${pid}: ${stderr || String(error)}`);
  return stdout.split('\n');
}

/** None of a folder that went meanwhile. */
function entriesOf(path: string) {
  try {
    return readdirSync(path, { withFileTypes: true });
  } catch {
    return [];
  }
}

function filesBelow(folder: string): readonly string[] {
  const found: string[] = [];
  const walk = (path: string) => {
    for (const entry of entriesOf(path)) {
      found.push(join(path, entry.name));
      if (entry.isDirectory()) walk(join(path, entry.name));
    }
  };
  walk(folder);
  return found.sort();
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

/** Every process of the lab with this first process, those in the pid namespaces of containers too. */
export function processesBelow(labPid: number): readonly number[] {
  const inLab = new Set(processesLike(labPid));
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

/** Kinds and inode numbers of the namespaces that these processes are in. */
export function namespacesOf(pids: readonly number[]): readonly string[] {
  const found = new Set<string>();
  for (const pid of pids) {
    for (const kind of ['net', 'mnt', 'pid', 'uts', 'ipc', 'cgroup']) {
      try {
        found.add(readlinkSync(`/proc/${pid}/ns/${kind}`));
      } catch {
        // It has ended.
      }
    }
  }
  return [...found].sort();
}

export function commandLine(pid: number): readonly string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').slice(0, -1);
  } catch {
    return [];
  }
}
