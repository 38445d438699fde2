/**
 * A container's file system as it will be, before anything of it is mounted: which folder of the node each path will
 * come from. Mount points are made here, by names that hold no symbolic link any more: an image whose /data is a link to
 * /etc must not make the node mount over, or create something in, its own /etc.
 */
import { chownSync, lstatSync, mkdirSync, readlinkSync, writeFileSync, type Stats } from 'node:fs';
import { dirname, join, posix } from 'node:path';
import { PintleError } from '../../../kernel/contract/index.ts';
import { isWithin } from './mount-table.ts';

export interface Area {
  /** Where it is mounted in the container. */
  readonly prefix: string;
  /** What is new is made here; undefined: nothing can be made. */
  readonly upper: string | undefined;
  /** What is there already. */
  readonly lower: string | undefined;
}

export class RootView {
  readonly #areas: Area[];

  constructor(areas: readonly Area[]) {
    this.#areas = [...areas];
  }

  /** A later area covers what is below its prefix. */
  cover(area: Area): void {
    this.#areas.push(area);
  }

  /** The same place without symbolic links, `.` and `..`. */
  resolve(path: string): string {
    let pending = path.split('/').filter(Boolean);
    let done = '/';
    for (let links = 0; pending.length > 0;) {
      const [name = '', ...rest] = pending;
      pending = rest;
      if (name === '.') continue;
      if (name === '..') {
        done = dirname(done);
        continue;
      }
      const next = posix.join(done, name);
      const found = this.#find(next);
      if (found?.stats.isSymbolicLink() !== true) {
        done = next;
        continue;
      }
      if (++links > 40) throw new PintleError('CONTAINER_INVALID', `path ${path} goes through too many symbolic links`);
      const target = readlinkSync(found.path);
      if (target.startsWith('/')) done = '/';
      pending = [...target.split('/').filter(Boolean), ...pending];
    }
    return done;
  }

  /** Makes sure that something can be mounted at `path` (already resolved). */
  makeMountPoint(path: string, kind: 'folder' | 'file'): void {
    if (path === '/') throw new PintleError('CONTAINER_INVALID', 'a volume cannot be mounted at /');
    const existing = this.#find(path)?.stats;
    if (existing !== undefined && existing.isDirectory() !== (kind === 'folder'))
      throw new PintleError(
        'CONTAINER_INVALID',
        `mount at ${path}: the image has a ${existing.isDirectory() ? 'folder' : 'file'} there, the volume is a ${kind}`,
      );
    if (existing !== undefined) return;
    this.makeFolders(dirname(path));
    const place = this.upperPath(path);
    if (kind === 'folder') mkdirSync(place, { recursive: true, mode: 0o755 });
    else writeFileSync(place, '', { flag: 'a' });
  }

  /** A file of the runtime's own, in place of whatever the image has there. */
  writeFile(path: string, text: string): boolean {
    if (this.#area(path).upper === undefined) return false;
    this.makeFolders(dirname(path));
    writeFileSync(this.upperPath(path), text, { mode: 0o644 });
    return true;
  }

  /** Folders made above an image's folder take its owner and mode, or the overlay would show new ones. */
  makeFolders(path: string): void {
    if (path === this.#area(path).prefix) return;
    const lower = this.#area(path).lower;
    this.makeFolders(dirname(path));
    const place = this.upperPath(path);
    if (statsOf(place) !== undefined) return;
    const model = lower === undefined ? undefined : statsOf(join(lower, posix.relative(this.#area(path).prefix, path)));
    mkdirSync(place, { mode: model === undefined ? 0o755 : model.mode & 0o7777 });
    if (model !== undefined && (model.uid !== 0 || model.gid !== 0)) {
      try {
        chownSync(place, model.uid, model.gid);
      } catch {
        // An owner that the user namespace does not map stays ours.
      }
    }
  }

  upperPath(path: string): string {
    const { upper, prefix } = this.#area(path);
    if (upper === undefined)
      throw new PintleError(
        'CONTAINER_INVALID',
        `${path} does not exist in the image and cannot be made: ${prefix} is read-only here`,
      );
    return join(upper, posix.relative(prefix, path));
  }

  #area(path: string): Area {
    const area = this.#areas.findLast(({ prefix }) => isWithin(path, prefix));
    if (area === undefined) throw new PintleError('CONTAINER_INVALID', `path ${path} is not absolute`);
    return area;
  }

  #find(path: string): { readonly path: string; readonly stats: Stats } | undefined {
    const { prefix, upper, lower } = this.#area(path);
    for (const base of [upper, lower]) {
      if (base === undefined) continue;
      const place = join(base, posix.relative(prefix, path));
      const stats = statsOf(place);
      if (stats !== undefined) return { path: place, stats };
    }
    return undefined;
  }
}

function statsOf(path: string): Stats | undefined {
  return lstatSync(path, { throwIfNoEntry: false });
}
