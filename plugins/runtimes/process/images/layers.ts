/**
 * Puts an unpacked layer over a root file system (OCI image-spec, layer.md): a file takes the place of what is there, a
 * folder joins a folder, `.wh.NAME` removes NAME, `.wh..wh..opq` removes all that lower layers have in its folder. Never
 * follows a symbolic link.
 */
import type { Stats } from 'node:fs';
import { chmod, lchown, lstat, mkdir, readdir, rename, rm, utimes } from 'node:fs/promises';
import { join } from 'node:path';

const whiteout = '.wh.';
const opaque = '.wh..wh..opq';

export async function mergeLayer(layer: string, target: string): Promise<void> {
  const names = await readdir(layer);
  if (names.includes(opaque)) for (const name of await readdir(target)) await remove(join(target, name));
  for (const name of names.filter((one) => one.startsWith(whiteout) && one !== opaque)) {
    const hidden = name.slice(whiteout.length);
    if (hidden !== '' && hidden !== '.' && hidden !== '..') await remove(join(target, hidden));
  }
  for (const name of names.filter((one) => !one.startsWith(whiteout))) {
    const from = join(layer, name);
    const to = join(target, name);
    const stats = await lstat(from);
    const existing = await statsOf(to);
    if (!stats.isDirectory()) {
      if (existing !== undefined) await remove(to);
      await rename(from, to);
      continue;
    }
    if (existing !== undefined && !existing.isDirectory()) await remove(to);
    if (existing?.isDirectory() !== true) await mkdir(to);
    await mergeLayer(from, to);
    // Only root may give a folder away; without, everything is this user's.
    await lchown(to, stats.uid, stats.gid).catch(() => undefined);
    await chmod(to, stats.mode & 0o7777);
    await utimes(to, stats.atime, stats.mtime);
  }
}

/** Bytes of all files below a folder. */
export async function folderSize(folder: string): Promise<number> {
  let sum = 0;
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) sum += await folderSize(path);
    else if (entry.isFile()) sum += (await lstat(path)).size;
  }
  return sum;
}

const remove = (path: string): Promise<void> => rm(path, { recursive: true, force: true });

async function statsOf(path: string): Promise<Stats | undefined> {
  // Nothing there; what cannot be looked at cannot be written to either, and that says why.
  return lstat(path).catch(() => undefined);
}
