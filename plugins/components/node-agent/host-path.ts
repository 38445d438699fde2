import type { Stats } from 'node:fs';
import { mkdir, stat, writeFile } from 'node:fs/promises';
import { isAbsolute } from 'node:path';
import type { HostPathVolumeSource } from '../../../kernel/contract/kubernetes.ts';
import { notMountable } from './volume-files.ts';

const directory = [(stats: Stats) => stats.isDirectory(), 'directory'] as const;
const file = [(stats: Stats) => stats.isFile(), 'file'] as const;

/** What a type wants, and upstream's name for it. */
const kinds: Readonly<Record<string, readonly [(stats: Stats) => boolean, string]>> = {
  Directory: directory,
  DirectoryOrCreate: directory,
  File: file,
  FileOrCreate: file,
  Socket: [(stats) => stats.isSocket(), 'socket file'],
  CharDevice: [(stats) => stats.isCharacterDevice(), 'character device'],
  BlockDevice: [(stats) => stats.isBlockDevice(), 'block device'],
};

/** Checks a hostPath against its type, and makes what a type of "...OrCreate" wants made. */
export async function checkHostPath(volume: string, { path, type = '' }: HostPathVolumeSource): Promise<void> {
  if (!isAbsolute(path)) throw notMountable(volume, 'hostPath.path must be absolute');
  const found = await stat(path).catch(() => undefined);
  if (type === 'DirectoryOrCreate' && !found) await mkdir(path, { recursive: true, mode: 0o755 });
  else if (type === 'FileOrCreate' && !found) await writeFile(path, '', { mode: 0o644, flag: 'a' });
  else {
    const [is, name] = kinds[type] ?? [];
    if (is && !(found && is(found))) throw notMountable(volume, `hostPath type check failed: ${path} is not a ${name}`);
    if (!found) throw notMountable(volume, `hostPath ${path} does not exist`);
  }
}
