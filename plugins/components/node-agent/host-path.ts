import { mkdir, stat, writeFile } from 'node:fs/promises';
import { isAbsolute } from 'node:path';
import type { HostPathVolumeSource } from '../../../kernel/contract/kubernetes.ts';
import { notMountable } from './volume-files.ts';

/** Checks a hostPath against its type, and makes what a type of "...OrCreate" wants made. */
export async function checkHostPath(volume: string, { path, type = '' }: HostPathVolumeSource): Promise<void> {
  if (!isAbsolute(path)) throw notMountable(volume, 'hostPath.path must be absolute');
  const found = await stat(path).catch(() => undefined);
  if (type === 'DirectoryOrCreate' && !found) await mkdir(path, { recursive: true, mode: 0o755 });
  else if (type === 'FileOrCreate' && !found) await writeFile(path, '', { mode: 0o644, flag: 'a' });
  else if (!found) throw notMountable(volume, `hostPath ${path} does not exist`);
  else {
    const wanted: Record<string, () => boolean> = {
      Directory: () => found.isDirectory(),
      DirectoryOrCreate: () => found.isDirectory(),
      File: () => found.isFile(),
      FileOrCreate: () => found.isFile(),
      Socket: () => found.isSocket(),
      CharDevice: () => found.isCharacterDevice(),
      BlockDevice: () => found.isBlockDevice(),
    };
    if (wanted[type] && !wanted[type]())
      throw notMountable(volume, `hostPath type check failed: ${path} is not a ${type}`);
  }
}
