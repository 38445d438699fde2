/**
 * Where a run keeps its files. Agents, engines and beds have a file system in memory of the run's own: what a disk did in the
 * minutes before would tell in their figures (ext4 without a journal looks through all inodes that were freed lately for each
 * new file, and takes twenty times as long after some thousands of them). Stores are durable, and have a folder on the disk.
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { mount, umount } from '../../netplugins/linux/namespaces.ts';

let disk: string | undefined;

/** A new folder for what must be durable. */
export const newDiskFolder = (name: string): string => mkdtempSync(join(disk ?? tmpdir(), `${name}-`));

/** A new folder for everything else; plugins' own temporary files are there too. */
export const newFolder = (name: string): string => mkdtempSync(join(tmpdir(), `${name}-`));

/** All folders in which a run may leave something. */
export const runFolders = (): readonly string[] => (disk === undefined ? [tmpdir()] : [tmpdir(), disk]);

/**
 * One folder for all of a run, so that what stays in it is seen, and goes. `inMemory`: where mounts are the run's own.
 * Returns what ends it.
 */
export function openRunFolders(inMemory: boolean): () => void {
  const before = process.env['TMPDIR'];
  const root = mkdtempSync(join(tmpdir(), 'pb-'));
  // Short names: sockets are below, and a socket's path has 107 bytes.
  const memory = join(root, 'm');
  disk = join(root, 'd');
  for (const folder of [memory, disk]) mkdirSync(folder);
  if (inMemory) mount('pintle-bench', memory, 'tmpfs', 0, 'mode=0700');
  process.env['TMPDIR'] = memory;
  return () => {
    if (inMemory) umount(memory, { lazy: true });
    rmSync(root, { recursive: true, force: true });
    disk = undefined;
    if (before === undefined) delete process.env['TMPDIR'];
    else process.env['TMPDIR'] = before;
  };
}

/** The type of the file system that a path is on, such as ext4. */
export function fileSystemOf(path: string): string {
  const mounts = readFileSync('/proc/self/mountinfo', 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => {
      const [fields = '', source = ''] = line.split(' - ');
      return { at: fields.split(' ')[4] ?? '', type: source.split(' ')[0] ?? '' };
    })
    .filter(({ at }) => at === '/' || path === at || path.startsWith(`${at}/`));
  // Of several mounts on one place the last one is seen.
  return mounts.reduce((best, one) => (one.at.length >= best.at.length ? one : best), { at: '', type: 'unknown' }).type;
}
