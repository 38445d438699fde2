/**
 * What a cell may leave beside its nodes: processes, mounts, links of the laboratory itself, temporary folders. Looked at
 * before and after each cell, whatever its suite.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { openRtnetlink } from '../../netplugins/linux/rtnetlink.ts';
import { runFolders } from '../bed/run-folders.ts';

export type Traces = ReadonlyMap<string, string>;

interface Process {
  readonly pid: number;
  readonly parent: number;
  readonly name: string;
}

function processes(): readonly Process[] {
  return readdirSync('/proc').flatMap((entry): readonly Process[] => {
    if (!/^\d+$/.test(entry)) return [];
    try {
      const stat = readFileSync(`/proc/${entry}/stat`, 'latin1');
      const [state = '', parent = ''] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      // One that has ended and is not yet waited for.
      if (state === 'Z' || state === 'X') return [];
      const command = readFileSync(`/proc/${entry}/cmdline`, 'utf8').replaceAll('\0', ' ').trim();
      // Threads of the kernel have none.
      return command === '' ? [] : [{ pid: Number(entry), parent: Number(parent), name: command.slice(0, 80) }];
    } catch {
      return [];
    }
  });
}

/** In a pid namespace of our own everything but us and pid 1; on a host only what descends from us. */
function ours(isOwnNamespace: boolean): readonly Process[] {
  const all = processes().filter(({ pid }) => pid !== process.pid);
  if (isOwnNamespace) return all.filter(({ pid }) => pid !== 1 && pid !== process.ppid);
  const known = new Set([process.pid]);
  for (let before = 0; before < known.size;) {
    before = known.size;
    for (const { pid, parent } of all) if (known.has(parent)) known.add(pid);
  }
  return all.filter(({ pid }) => known.has(pid));
}

function links(): readonly string[] {
  const links = openRtnetlink();
  try {
    return links.listLinks().map(({ name }) => name);
  } finally {
    links.close();
  }
}

/** What is there, each with the words that tell it. */
export function labTraces(isOwnNamespace: boolean): Traces {
  const mounts = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[4] ?? '');
  // The run has folders of its own for all its files.
  const folders = runFolders().flatMap((folder) => readdirSync(folder));
  return new Map([
    ...ours(isOwnNamespace).map(({ pid, name }) => [`process ${pid}`, `process ${name}`] as const),
    ...folders.map((name) => [`folder ${name}`, `folder ${name}`] as const),
    // The host's own mounts and links come and go as they like.
    ...(isOwnNamespace
      ? [
          ...mounts.map((path) => [`mount ${path}`, `mount ${path}`] as const),
          ...links().map((name) => [`link ${name}`, `link ${name} of the laboratory`] as const),
        ]
      : []),
  ]);
}

const settleMs = 2_000;

/** What is there now and was not before; what only needs a moment to go is waited for. */
export async function labLeftovers(before: Traces, isOwnNamespace: boolean): Promise<readonly string[]> {
  const until = performance.now() + settleMs;
  for (;;) {
    const left = [...labTraces(isOwnNamespace)].filter(([key]) => !before.has(key)).map(([, words]) => words);
    if (left.length === 0 || performance.now() > until) return left.slice(0, 8);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
