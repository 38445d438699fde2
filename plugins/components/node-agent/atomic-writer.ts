/**
 * Writes a set of files into a volume so that a reader sees the old set or the new one, never a mixture: the files are
 * links through `..data`, a link that is swapped by one rename to a new folder (the layout of Kubernetes' atomic writer).
 */
import { mkdir, readFile, readlink, readdir, rename, rm, symlink, writeFile, chmod } from 'node:fs/promises';
import { dirname, join, sep } from 'node:path';
import { PintleError } from '../../../kernel/contract/index.ts';
import { giveTo } from './give-to.ts';

export interface VolumeFile {
  readonly content: Uint8Array;
  /** Permission bits: 0o644. */
  readonly mode: number;
}

function checkPath(path: string): void {
  const parts = path.split('/');
  if (path === '' || path.startsWith('/') || parts.includes('..') || parts[0]!.startsWith('..')) {
    throw new PintleError('CONTAINER_INVALID', `volume file path "${path}" must be relative and must not use ".."`);
  }
}

async function isUnchanged(folder: string, files: ReadonlyMap<string, VolumeFile>): Promise<boolean> {
  const names: string[] = [];
  const walk = async (path: string) => {
    for (const entry of await readdir(join(folder, path), { withFileTypes: true })) {
      const child = path === '' ? entry.name : `${path}/${entry.name}`;
      if (entry.isDirectory()) await walk(child);
      else names.push(child);
    }
  };
  await walk('');
  if (names.length !== files.size) return false;
  for (const name of names) {
    const file = files.get(name);
    if (!file || !Buffer.from(file.content).equals(await readFile(join(folder, name)))) return false;
  }
  return true;
}

/** True when a set has been written before. */
export async function hasVolume(target: string): Promise<boolean> {
  return readlink(join(target, '..data')).then(
    () => true,
    () => false,
  );
}

/** Resolves to true when the volume changed. */
export async function writeVolume(
  target: string,
  files: ReadonlyMap<string, VolumeFile>,
  group: number | undefined,
): Promise<boolean> {
  for (const path of files.keys()) checkPath(path);
  await mkdir(target, { recursive: true, mode: 0o755 });
  const link = join(target, '..data');
  const current = await readlink(link).catch(() => undefined);
  if (current !== undefined && (await isUnchanged(join(target, current), files).catch(() => false))) {
    // An agent that was killed may have left the new set without its links.
    await linkFiles(target, files);
    return false;
  }

  const stamp = `..${new Date().toISOString().replaceAll(/[-:T]/g, '_').replace('Z', '')}.${process.hrtime.bigint() % 1000000n}`;
  const folder = join(target, stamp);
  await mkdir(folder, { mode: 0o755 });
  for (const [path, file] of files) {
    const full = join(folder, path);
    await mkdir(dirname(full), { recursive: true, mode: 0o755 });
    await writeFile(full, file.content, { mode: file.mode });
    if (group !== undefined) await giveTo(full, group);
    // The group reads what is meant for it, as in Kubernetes, whatever the mode says.
    await chmod(full, group === undefined ? file.mode : file.mode | 0o440);
  }
  const temporary = join(target, '..data_tmp');
  await rm(temporary, { force: true });
  await symlink(stamp, temporary);
  await rename(temporary, link);

  await linkFiles(target, files);
  for (const entry of await readdir(target)) {
    if (entry.startsWith('..') && entry !== '..data' && entry !== stamp)
      await rm(join(target, entry), { recursive: true, force: true });
  }
  return true;
}

/** The names that a reader sees: one link a top-level entry; links of entries that are gone are removed. */
async function linkFiles(target: string, files: ReadonlyMap<string, VolumeFile>): Promise<void> {
  const roots = new Set([...files.keys()].map((path) => path.split(sep)[0]!));
  const present = new Set((await readdir(target)).filter((entry) => !entry.startsWith('..')));
  for (const root of roots) {
    if (!present.has(root)) await symlink(join('..data', root), join(target, root));
  }
  for (const entry of present) {
    if (!roots.has(entry)) await rm(join(target, entry), { force: true });
  }
}
