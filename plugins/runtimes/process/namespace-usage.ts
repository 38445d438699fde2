/**
 * What the processes of each namespace use, summed from /proc: for hosts without cgroups. One walk over all processes
 * serves every container that is asked about within a moment of it.
 */
import { allPids, namespaceOf, residentBytes, statOf } from './procfs.ts';

export interface ProcessSum {
  readonly cpuTicks: number;
  readonly memoryBytes: number;
}

/** How old a walk may be to be used again. */
const freshMs = 500;

export class NamespaceUsage {
  readonly #now: () => number;
  readonly #walks = new Map<
    'pid' | 'mnt',
    { readonly timeMs: number; readonly sums: ReadonlyMap<string, ProcessSum> }
  >();

  constructor(now: () => number) {
    this.#now = now;
  }

  of(kind: 'pid' | 'mnt', namespace: string): ProcessSum & { readonly timeMs: number } {
    const now = this.#now();
    let walk = this.#walks.get(kind);
    // A container that began after the walk is not in it.
    if (walk === undefined || now - walk.timeMs > freshMs || !walk.sums.has(namespace)) {
      walk = { timeMs: now, sums: walkProcesses(kind) };
      this.#walks.set(kind, walk);
    }
    return { timeMs: walk.timeMs, ...(walk.sums.get(namespace) ?? { cpuTicks: 0, memoryBytes: 0 }) };
  }
}

function walkProcesses(kind: 'pid' | 'mnt'): ReadonlyMap<string, ProcessSum> {
  const own = namespaceOf(process.pid, kind);
  const sums = new Map<string, { cpuTicks: number; memoryBytes: number }>();
  for (const pid of allPids()) {
    const namespace = namespaceOf(pid, kind);
    if (namespace === undefined || namespace === own) continue;
    let sum = sums.get(namespace);
    if (sum === undefined) sums.set(namespace, (sum = { cpuTicks: 0, memoryBytes: 0 }));
    sum.cpuTicks += statOf(pid)?.cpuTicks ?? 0;
    sum.memoryBytes += residentBytes(pid);
  }
  return sums;
}
