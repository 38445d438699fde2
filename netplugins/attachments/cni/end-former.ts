/**
 * An agent that is killed leaves the executables that it started running: one of them could finish an ADD after its successor
 * has undone it. The successor waits for them, and ends those that take long; each carries a mark in its environment, and so
 * do those that it started. None is ended without need: host-local, cut short, leaves a lease without an owner.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { markVariable } from './run-executable.ts';

const pauseMs = 10;
/** What a kill does not end hangs in the kernel, and waiting longer would not help. */
const lastMs = 5_000;

/** Resolves when nothing is left that carries `mark`; what is there after `graceMs` is killed. */
export async function endFormerExecutables(mark: string, graceMs: number): Promise<void> {
  const began = performance.now();
  // One that starts another and ends while they are listed shows neither: nobody is there when two looks find nobody.
  for (let empty = 0; ;) {
    const found = processesWith(mark);
    const passed = performance.now() - began;
    empty = found.length === 0 ? empty + 1 : 0;
    if (empty === 2 || passed > graceMs + lastMs) return;
    if (passed >= graceMs) for (const pid of found) end(pid);
    await new Promise((resolve) => setTimeout(resolve, pauseMs));
  }
}

function end(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended by itself.
  }
}

/** One that has ended, and waits for its parent to notice, has no environment any more. */
function processesWith(mark: string): number[] {
  const entry = `${markVariable}=${mark}`;
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => pid !== process.pid && environmentOf(pid).split('\0').includes(entry));
}

function environmentOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/environ`, 'latin1');
  } catch {
    return '';
  }
}
