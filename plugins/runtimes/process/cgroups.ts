/**
 * Limits and accounting through cgroups, v1 or v2, found out for each controller: one machine may have both. Owns the
 * folders pintle/KEY/SANDBOX/CONTAINER of each hierarchy it uses, KEY standing for this runtime's state folder, so that
 * several nodes on one machine do not meet.
 */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, rmdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ResourceLimits } from '../../../kernel/contract/index.ts';
import { readText } from './layout.ts';
import { readMountTable, type MountInfo } from './mount-table.ts';

const controllers = ['memory', 'cpu', 'cpuacct', 'pids'] as const;
type Controller = (typeof controllers)[number];

interface Hierarchy {
  readonly version: 1 | 2;
  /** Folder of this runtime in it. */
  readonly base: string;
  readonly controllers: ReadonlySet<Controller>;
}

export interface CgroupStats {
  readonly cpuNanos: number;
  readonly memoryBytes: number;
  readonly workingSetBytes: number;
}

export class Cgroups {
  readonly #hierarchies: readonly Hierarchy[];

  private constructor(hierarchies: readonly Hierarchy[]) {
    this.#hierarchies = hierarchies;
  }

  /** Uses what there is and can be written; nothing at all when not real root. */
  static open(stateDir: string, isRealRoot: boolean, table: readonly MountInfo[] = readMountTable()): Cgroups {
    if (!isRealRoot) return new Cgroups([]);
    const key = cgroupKey(stateDir);
    const found: Hierarchy[] = [];
    for (const mount of table) {
      if (mount.type !== 'cgroup' && mount.type !== 'cgroup2') continue;
      const version = mount.type === 'cgroup' ? 1 : 2;
      const present =
        version === 1 ? mount.superOptions : (readText(join(mount.target, 'cgroup.controllers')) ?? '').split(/\s+/);
      const taken = new Set(found.flatMap((one) => [...one.controllers]));
      const usable = controllers.filter((name) => present.includes(name) && !taken.has(name));
      if (usable.length === 0) continue;
      const base = join(mount.target, 'pintle', key);
      try {
        removeAbandoned(join(mount.target, 'pintle'));
        makeFolder(base);
        if (version === 2)
          for (const folder of [mount.target, join(mount.target, 'pintle'), base]) delegate(folder, usable);
        found.push({ version, base, controllers: new Set(usable) });
      } catch {
        removeTree(base);
      }
    }
    return new Cgroups(found);
  }

  has(controller: 'memory' | 'cpu' | 'pids'): boolean {
    return this.#hierarchies.some((one) => one.controllers.has(controller));
  }

  limitations(): readonly string[] {
    const missing = (['memory', 'cpu', 'pids'] as const).filter((name) => !this.has(name));
    const lines: string[] = [];
    if (missing.length > 0)
      lines.push(`no cgroup controller for ${missing.join(', ')} can be used here: these limits are not enforced`);
    const canCount = this.#hierarchies.some(
      ({ version, controllers: present }) => present.has('cpuacct') || (version === 2 && present.has('cpu')),
    );
    if (!canCount || !this.has('memory'))
      lines.push(
        'usage is summed over the processes in /proc: shared memory counts once for each, and CPU time of processes that nobody waited for is lost',
      );
    return lines;
  }

  makeSandbox(sandboxId: string, limits: ResourceLimits | undefined): void {
    for (const one of this.#hierarchies) {
      const folder = join(one.base, sandboxId);
      makeFolder(folder);
      if (one.version === 2) delegate(folder, [...one.controllers]);
      applyLimits(one, folder, limits);
    }
  }

  /** Makes a container's folders. Returns the files into which its first process writes itself. */
  makeContainer(sandboxId: string, containerId: string, limits: ResourceLimits | undefined): readonly string[] {
    return this.#hierarchies.map((one) => {
      const folder = join(one.base, sandboxId, containerId);
      makeFolder(folder);
      applyLimits(one, folder, limits);
      return join(folder, 'cgroup.procs');
    });
  }

  procsFiles(sandboxId: string, containerId: string): readonly string[] {
    return this.#hierarchies
      .map((one) => join(one.base, sandboxId, containerId, 'cgroup.procs'))
      .filter((path) => existsSync(path));
  }

  /** Pids of all processes of a container; none where there is no cgroup. */
  processes(sandboxId: string, containerId: string): readonly number[] {
    const [file] = this.procsFiles(sandboxId, containerId);
    const text = file === undefined ? undefined : readText(file);
    return (text ?? '').split('\n').filter(Boolean).map(Number);
  }

  wasOutOfMemory(sandboxId: string, containerId: string): boolean {
    const memory = this.#hierarchies.find((one) => one.controllers.has('memory'));
    if (memory === undefined) return false;
    const text = readText(
      join(memory.base, sandboxId, containerId, memory.version === 1 ? 'memory.oom_control' : 'memory.events'),
    );
    return Number(/^oom_kill (\d+)$/m.exec(text ?? '')?.[1] ?? 0) > 0;
  }

  stats(sandboxId: string, containerId: string): CgroupStats | undefined {
    const read = (controller: Controller, v1: string, v2: string): { text: string; version: 1 | 2 } | undefined => {
      const one = this.#hierarchies.find((candidate) => candidate.controllers.has(controller));
      const text = one && readText(join(one.base, sandboxId, containerId, one.version === 1 ? v1 : v2));
      return one === undefined || text === undefined ? undefined : { text, version: one.version };
    };
    const memory = read('memory', 'memory.usage_in_bytes', 'memory.current');
    const inactive = read('memory', 'memory.stat', 'memory.stat');
    const cpu = read('cpuacct', 'cpuacct.usage', 'cpu.stat') ?? read('cpu', 'none', 'cpu.stat');
    if (memory === undefined || inactive === undefined || cpu === undefined) return undefined;
    // v1 has a figure of the folder alone and, as total_, one that counts those below as well.
    const pattern = inactive.version === 1 ? /^total_inactive_file (\d+)$/m : /^inactive_file (\d+)$/m;
    const idle = Number(pattern.exec(inactive.text)?.[1] ?? 0);
    const memoryBytes = Number(memory.text);
    return {
      cpuNanos: cpu.version === 1 ? Number(cpu.text) : Number(/^usage_usec (\d+)$/m.exec(cpu.text)?.[1] ?? 0) * 1000,
      memoryBytes,
      workingSetBytes: Math.max(0, memoryBytes - idle),
    };
  }

  /** True when nothing is left; a folder whose last process is just ending refuses for a moment. */
  removeContainer(sandboxId: string, containerId: string): boolean {
    return this.#hierarchies.map((one) => removeFolder(join(one.base, sandboxId, containerId))).every(Boolean);
  }

  removeSandbox(sandboxId: string): boolean {
    return this.#hierarchies.map((one) => removeFolder(join(one.base, sandboxId))).every(Boolean);
  }

  /** Folders of sandboxes that are not in `known`: left by a crash. */
  strays(known: ReadonlySet<string>): readonly string[] {
    const names = this.#hierarchies.flatMap((one) => folders(one.base));
    return [...new Set(names)].filter((name) => !known.has(name));
  }

  purge(): void {
    for (const one of this.#hierarchies) removeTree(one.base);
  }
}

/** Names the state folder, so that what a runtime left that is gone for good can be told and removed. */
export function cgroupKey(stateDir: string): string {
  const name = encodeURIComponent(stateDir);
  return name.length <= 200 ? name : createHash('sha256').update(stateDir).digest('hex');
}

/** Removes what a runtime with this state folder left, once all its processes have ended. False: some are still there. */
export function removeCgroups(stateDir: string, table: readonly MountInfo[] = readMountTable()): boolean {
  const bases = table
    .filter((mount) => mount.type === 'cgroup' || mount.type === 'cgroup2')
    .map((mount) => join(mount.target, 'pintle', cgroupKey(stateDir)))
    .filter((base) => existsSync(base));
  for (const base of bases) removeTree(base);
  return bases.every((base) => !existsSync(base));
}

/**
 * Folders of state folders that are not there any more: their nodes were killed and their files deleted. Only empty ones
 * of some age go: another mount namespace may have what this one does not see.
 */
function removeAbandoned(parent: string): void {
  for (const key of folders(parent)) {
    if (!key.startsWith('%2F') || existsSync(decodeURIComponent(key))) continue;
    const folder = join(parent, key);
    if (Date.now() - statSync(folder).mtimeMs < 60_000) continue;
    removeTree(folder);
  }
}

/** A runtime's folder and what is below; the folder above too when it was the last. */
function removeTree(base: string): void {
  for (const sandbox of folders(base)) {
    for (const container of folders(join(base, sandbox))) removeFolder(join(base, sandbox, container));
    removeFolder(join(base, sandbox));
  }
  removeFolder(base);
  removeFolder(join(base, '..'));
}

/** Another runtime that ends may remove the folder above in between. */
function makeFolder(path: string): void {
  for (let tries = 0; ; tries++) {
    try {
      mkdirSync(path, { recursive: true });
      return;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || tries === 10) throw error;
    }
  }
}

function delegate(folder: string, names: readonly Controller[]): void {
  writeFileSync(
    join(folder, 'cgroup.subtree_control'),
    names
      .filter((name) => name !== 'cpuacct')
      .map((name) => `+${name}`)
      .join(' '),
  );
}

function applyLimits({ version, controllers: present }: Hierarchy, folder: string, limits: ResourceLimits = {}): void {
  const set = (controller: Controller, file: string, value: string | number): void => {
    if (present.has(controller) && existsSync(join(folder, file))) writeFileSync(join(folder, file), String(value));
  };
  const { memoryBytes, cpuMillis, cpuRequestMillis, pids } = limits;
  if (memoryBytes !== undefined && memoryBytes > 0) {
    set('memory', version === 1 ? 'memory.limit_in_bytes' : 'memory.max', memoryBytes);
    set('memory', version === 1 ? 'memory.memsw.limit_in_bytes' : 'memory.swap.max', version === 1 ? memoryBytes : 0);
  }
  // A quota below 1 ms in a period of 100 ms is refused by the kernel.
  if (cpuMillis !== undefined && cpuMillis > 0) {
    const quota = Math.max(1000, Math.round(cpuMillis * 100));
    if (version === 2) set('cpu', 'cpu.max', `${quota} 100000`);
    else {
      set('cpu', 'cpu.cfs_period_us', 100_000);
      set('cpu', 'cpu.cfs_quota_us', quota);
    }
  }
  if (cpuRequestMillis !== undefined) {
    const shares = Math.min(262_144, Math.max(2, Math.round((cpuRequestMillis * 1024) / 1000)));
    if (version === 1) set('cpu', 'cpu.shares', shares);
    else set('cpu', 'cpu.weight', 1 + Math.floor(((shares - 2) * 9999) / 262_142));
  }
  if (pids !== undefined && pids > 0) set('pids', 'pids.max', pids);
}

function folders(path: string): readonly string[] {
  if (!existsSync(path)) return [];
  return readdirSync(path, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => name);
}

function removeFolder(path: string): boolean {
  try {
    rmdirSync(path);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ENOENT';
  }
}
