/**
 * Facts from /proc. A process is named by pid and start time together, so that a pid that was given to another process
 * meanwhile is never taken for ours.
 */
import { closeSync, fstatSync, openSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { readText } from './layout.ts';

type NamespaceKind = 'mnt' | 'pid' | 'net' | 'ipc' | 'uts';

export interface ProcessId {
  readonly pid: number;
  /** Field 22 of /proc/PID/stat: clock ticks after boot. */
  readonly startTicks: string;
}

interface Stat extends ProcessId {
  readonly state: string;
  readonly parent: number;
  /** utime + stime + cutime + cstime, in clock ticks. */
  readonly cpuTicks: number;
}

/** A line of /proc/PID/stat. The name in brackets may itself hold blanks and brackets. */
export function parseStat(line: string | undefined): Stat | undefined {
  const close = line?.lastIndexOf(')') ?? -1;
  if (line === undefined || close < 0) return undefined;
  const fields = line
    .slice(close + 2)
    .trim()
    .split(' ');
  const startTicks = fields[19];
  if (startTicks === undefined) return undefined;
  const ticks = [11, 12, 13, 14].reduce((sum, index) => sum + Number(fields[index]), 0);
  return {
    pid: Number.parseInt(line, 10),
    startTicks,
    state: fields[0] ?? '?',
    parent: Number(fields[1]),
    cpuTicks: ticks,
  };
}

export function statOf(pid: number): Stat | undefined {
  return parseStat(readText(`/proc/${pid}/stat`));
}

/** True while that very process runs; a zombie has ended. */
export function isAlive(process: ProcessId | undefined): boolean {
  if (process === undefined) return false;
  const stat = statOf(process.pid);
  return stat !== undefined && stat.startTicks === process.startTicks && stat.state !== 'Z' && stat.state !== 'X';
}

/** The process that a file made by a script names (its own /proc/self/stat line). */
export function recordedProcess(path: string): ProcessId | undefined {
  return parseStat(readText(path));
}

export function childrenOf(pid: number): readonly number[] {
  const listed = readText(`/proc/${pid}/task/${pid}/children`);
  if (listed !== undefined) return listed.trim().split(' ').filter(Boolean).map(Number);
  return allPids().filter((candidate) => statOf(candidate)?.parent === pid);
}

export function allPids(): readonly number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number);
}

/** The pid that a process has in its innermost pid namespace. */
export function innerPid(pid: number): number | undefined {
  const line = /^NSpid:\s+(.*)$/m.exec(readText(`/proc/${pid}/status`) ?? '')?.[1];
  const last = line?.split(/\s+/).at(-1);
  return last === undefined ? undefined : Number(last);
}

/** "mnt:[4026531841]": what identifies a namespace; undefined when the process is gone. */
export function namespaceOf(pid: number, kind: NamespaceKind): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/ns/${kind}`);
  } catch {
    return undefined;
  }
}

/** A namespace that stays until it is closed: its number goes to no other meanwhile. */
export function holdNamespace(
  pid: number,
  kind: NamespaceKind,
): { readonly id: string; readonly close: () => void } | undefined {
  try {
    const fd = openSync(`/proc/${pid}/ns/${kind}`, 'r');
    return { id: `${kind}:[${fstatSync(fd).ino}]`, close: () => closeSync(fd) };
  } catch {
    return undefined;
  }
}

/** Sends a signal to that very process; false when it is gone. */
export function signalProcess(target: ProcessId | undefined, signal: NodeJS.Signals | number): boolean {
  if (target === undefined || !isAlive(target)) return false;
  try {
    process.kill(target.pid, signal);
    return true;
  } catch {
    return false;
  }
}

export function residentBytes(pid: number): number {
  try {
    return Number(readFileSync(`/proc/${pid}/statm`, 'utf8').split(' ')[1]) * 4096;
  } catch {
    return 0;
  }
}
