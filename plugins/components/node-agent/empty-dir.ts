/** emptyDir: a folder that lives as long as its pod, or, with medium Memory, a tmpfs of its size limit. */
import { execFile } from 'node:child_process';
import { chmod, mkdir, readFile, readdir, rename, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import type { EmptyDirVolumeSource } from '../../../kernel/contract/kubernetes.ts';
import { byteCount } from '../../../kernel/machinery/quantity.ts';
import { giveTo } from './give-to.ts';
import { notMountable } from './volume-files.ts';

const run = promisify(execFile);

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

async function isMountPoint(path: string): Promise<boolean> {
  const table = await readFile('/proc/self/mountinfo', 'utf8');
  return table.split('\n').some((line) => line.split(' ')[4] === path.replaceAll(' ', '\\040'));
}

export async function makeEmptyDir(
  name: string,
  { medium = '', sizeLimit }: EmptyDirVolumeSource,
  path: string,
  group: number | undefined,
): Promise<void> {
  if (medium !== '' && medium !== 'Memory') throw notMountable(name, `medium ${medium} is not supported on this node`);
  const mode = group === undefined ? 0o777 : 0o2777;
  if (!(await exists(path))) {
    // Under another name until it is complete: whoever finds the folder finds it with its mode and group.
    const unfinished = join(dirname(path), `..${name}`);
    await mkdir(unfinished, { recursive: true });
    if (group !== undefined) await giveTo(unfinished, group);
    await chmod(unfinished, mode);
    await rename(unfinished, path);
  }
  if (medium !== 'Memory' || (await isMountPoint(path))) return;
  const options = [`mode=${mode.toString(8)}`, ...(sizeLimit === undefined ? [] : [`size=${byteCount(sizeLimit)}`])];
  await run('mount', ['-t', 'tmpfs', '-o', options.join(','), 'tmpfs', path]);
  if (group === undefined) return;
  await giveTo(path, group);
  await chmod(path, mode);
}

/** Bytes on disk of everything below a folder, links not followed; what vanishes meanwhile counts nothing. */
export async function usedBytes(folder: string): Promise<number> {
  let total = 0;
  for (const entry of await readdir(folder, { withFileTypes: true }).catch(() => [])) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) total += await usedBytes(path);
    else if (entry.isFile()) total += ((await stat(path).catch(() => undefined))?.blocks ?? 0) * 512;
  }
  return total;
}
