/** CPU time and memory by /proc. Inside the laboratory's own pid namespace, every process is one of the benchmark. */
import { readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';

/** USER_HZ: 100 on every Linux that Node runs on. */
const ticksPerSecond = 100;

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return undefined;
  }
}

/** User and system time of a process and of its children that have ended (proc(5), fields 14 to 17). */
export function cpuSecondsOf(pid: number, onlyChildren = false): number {
  const stat = read(`/proc/${pid}/stat`);
  if (stat === undefined) return 0;
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return fields.slice(onlyChildren ? 13 : 11, 15).reduce((sum, ticks) => sum + Number(ticks), 0) / ticksPerSecond;
}

/**
 * Of all processes of this pid namespace; of this one, which only watches, the part of its children that have ended. So
 * what a process used does not go when it ends.
 */
export function labCpuSeconds(): number {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .reduce((sum, pid) => sum + cpuSecondsOf(Number(pid), Number(pid) === process.pid), 0);
}

/** Busy time of all processors: the whole machine's, other people's work included; stolen time left out. */
export function machineCpuSeconds(): number {
  const [, user, nice, system, , , irq, softirq] = (read('/proc/stat') ?? '').split('\n')[0]!.split(/\s+/);
  return [user, nice, system, irq, softirq].reduce((sum, ticks) => sum + Number(ticks), 0) / ticksPerSecond;
}

export function residentBytesOf(pid: number): number {
  return Number(/^VmRSS:\s*(\d+) kB/m.exec(read(`/proc/${pid}/status`) ?? '')?.[1] ?? Number.NaN) * 1024;
}

/** Processes whose network is this namespace: of a node, its agent and what the agent started, alive or orphaned. */
export function processesIn(netns: string): readonly number[] {
  const { ino } = statSync(netns);
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      try {
        return readlinkSync(`/proc/${pid}/ns/net`) === `net:[${ino}]`;
      } catch {
        return false;
      }
    });
}

/** Memory of the kernel that tables of packet filters live in: slabs, per-CPU and vmalloc areas. */
export function kernelTableBytes(): number {
  const text = read('/proc/meminfo') ?? '';
  return ['SUnreclaim', 'VmallocUsed', 'Percpu'].reduce(
    (sum, name) => sum + Number(new RegExp(`^${name}:\\s*(\\d+)`, 'm').exec(text)?.[1] ?? 0) * 1024,
    0,
  );
}
