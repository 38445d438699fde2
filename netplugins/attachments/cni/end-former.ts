/**
 * An agent that is killed leaves the executables that it started running: one of them could finish an ADD after its successor
 * has undone it. The successor ends them first; each carries a mark in its environment, and so do those that it started.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { markVariable } from './run-executable.ts';

const rounds = 500;
const pauseMs = 2;

/** Ends what carries `mark`, and resolves when none is left. */
export async function endFormerExecutables(mark: string): Promise<void> {
  for (let round = 0; round < rounds; round += 1) {
    const found = processesWith(mark);
    if (found.length === 0) return;
    for (const pid of found)
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // It has ended by itself.
      }
    await new Promise((resolve) => setTimeout(resolve, pauseMs));
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
