/** What the host as a whole uses, from /proc and the state folder's file system. */
import { readFileSync, statfsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import type { FileSystemUsage } from '../../../../kernel/contract/index.ts';

export interface HostUsage {
  readonly cpuNanos: number;
  readonly memoryTotalBytes: number;
  readonly memoryUsageBytes: number;
  readonly memoryAvailableBytes: number;
  readonly fileSystem: FileSystemUsage;
  readonly processes: { readonly count: number; readonly max: number };
}

export interface HostFiles {
  readonly stat: string;
  readonly meminfo: string;
  readonly loadavg: string;
  readonly pidMax: string;
}

/** USER_HZ: 100 on every Linux that Node runs on. */
const nanosPerTick = 10_000_000;

export function parseHostUsage(files: HostFiles, fileSystem: FileSystemUsage): HostUsage {
  // user nice system idle iowait irq softirq steal: all but the two in which nothing is done. Guest time is in user.
  const ticks = (/^cpu +(.*)$/m.exec(files.stat)?.[1] ?? '').split(' ').map(Number);
  const busy = [0, 1, 2, 5, 6, 7].reduce((sum, index) => sum + (ticks[index] ?? 0), 0);
  const kilobytes = (name: string): number =>
    Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(files.meminfo)?.[1] ?? 0);
  return {
    cpuNanos: busy * nanosPerTick,
    memoryTotalBytes: kilobytes('MemTotal') * 1024,
    memoryUsageBytes: (kilobytes('MemTotal') - kilobytes('MemFree')) * 1024,
    memoryAvailableBytes: kilobytes('MemAvailable') * 1024,
    fileSystem,
    // "0.20 0.18 0.12 1/80 11206": the 80 counts threads, which is what the limit counts.
    processes: {
      count: Number(/^\S+ \S+ \S+ \d+\/(\d+)/.exec(files.loadavg)?.[1] ?? 0),
      max: Number(files.pidMax.trim()) || 32_768,
    },
  };
}

/** Of a local file system, whose figures are in memory. */
export function fileSystemUsage(path: string): FileSystemUsage {
  const facts = statfsSync(path);
  return {
    capacityBytes: facts.bsize * facts.blocks,
    availableBytes: facts.bsize * facts.bavail,
    usedBytes: facts.bsize * (facts.blocks - facts.bfree),
    inodes: facts.files,
    inodesFree: facts.ffree,
  };
}

export function readHostUsage(stateDir: string): HostUsage {
  // The kernel answers from memory: asking a thread for it would cost ten times as much, and save no waiting.
  const [stat, meminfo, loadavg, pidMax] = ['stat', 'meminfo', 'loadavg', 'sys/kernel/pid_max'].map((name) =>
    readFileSync(`/proc/${name}`, 'utf8'),
  );
  return parseHostUsage(
    { stat: stat!, meminfo: meminfo!, loadavg: loadavg!, pidMax: pidMax! },
    fileSystemUsage(stateDir),
  );
}

/** When the host was booted, in milliseconds since 1970. */
export async function bootTimeMs(): Promise<number> {
  return Number(/^btime (\d+)$/m.exec(await readFile('/proc/stat', 'utf8'))?.[1] ?? 0) * 1000;
}
