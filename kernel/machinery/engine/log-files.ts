/** A container's log and what rotation made of it: PATH, PATH.1 (newer) ... */
import { existsSync, renameSync, rmSync } from 'node:fs';

/** Sets the log aside; there is none at `path` afterwards. */
export function rotateLogFiles(path: string, maxFiles: number): void {
  for (let index = Math.max(1, maxFiles) - 1; index >= 1; index--) {
    const from = index === 1 ? path : `${path}.${index - 1}`;
    if (existsSync(from)) renameSync(from, `${path}.${index}`);
  }
  if (maxFiles <= 1) rmSync(path, { force: true });
}

export function removeLogFiles(path: string, maxFiles: number): void {
  rmSync(path, { force: true });
  for (let index = 1; index < Math.max(2, maxFiles); index++) rmSync(`${path}.${index}`, { force: true });
}
