/**
 * What this host lets the runtime do, found out once at start by trying: one throw-away mount namespace in which every
 * mount that a container would need is attempted.
 */
import { lstatSync, mkdirSync, readFileSync, readdirSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { formatFstab, bindEntry, canBeLayer, type MountEntry } from './fstab.ts';
import { hostCommand, tryHostCommand } from './host-command.ts';
import type { Layout } from './layout.ts';
import { isMountPoint, isWithin, parseMountInfo } from './mount-table.ts';

/** How a top-level folder of the node appears in a container of image `host`. */
export type TopFolder =
  | { readonly name: string; readonly kind: 'link'; readonly target: string }
  | { readonly name: string; readonly kind: 'empty'; readonly mode: number }
  /** `memory`: its writable layer is on a tmpfs, because the state folder lies below this very folder. */
  | { readonly name: string; readonly kind: 'overlay'; readonly memory: boolean }
  | { readonly name: string; readonly kind: 'read-only' };

export interface HostFacts {
  readonly isRealRoot: boolean;
  readonly uids: IdMap;
  readonly gids: IdMap;
  readonly topFolders: readonly TopFolder[];
  /** Overlay with a layer on the state folder's file system, as imported images need it. */
  readonly canOverlayImages: boolean;
  readonly overlayOptions: readonly string[];
  /** A fresh sysfs; else the node's own is shown read-only. */
  readonly canMountSysfs: boolean;
  readonly limitations: readonly string[];
}

export interface IdMap {
  has(id: number): boolean;
  /** True when it maps everything: the initial user namespace. */
  readonly isWhole: boolean;
}

export function parseIdMap(text: string): IdMap {
  const ranges = text
    .trim()
    .split('\n')
    .map((line) => line.trim().split(/\s+/).map(Number));
  return {
    isWhole: ranges.some(([inside, outside, count]) => inside === 0 && outside === 0 && (count ?? 0) >= 4294967295),
    has: (id) => ranges.some(([inside = 0, , count = 0]) => id >= inside && id < inside + count),
  };
}

/** Kernel file systems and folders that every container has of its own. */
const ownFolders = new Set(['proc', 'sys', 'dev', 'run', 'tmp', 'lost+found', '.pintle']);

const probeScript = 'mount -a -T "$1"; while read -r line; do printf "%s\\n" "$line"; done </proc/self/mountinfo; true';

export async function findHostFacts(layout: Layout): Promise<HostFacts> {
  const uids = parseIdMap(readFileSync('/proc/self/uid_map', 'utf8'));
  const gids = parseIdMap(readFileSync('/proc/self/gid_map', 'utf8'));
  const isRealRoot = uids.isWhole && process.getuid?.() === 0;
  const overlayOptions = uids.isWhole ? [] : ['userxattr'];
  const candidates = readdirSync('/')
    .filter((name) => !ownFolders.has(name))
    .map((name) => classify(name, layout))
    .filter((folder) => folder !== undefined);
  if (candidates.some((folder) => folder.kind === 'overlay' && folder.memory) && !isMountPoint(layout.memory))
    await hostCommand(['mount', '-t', 'tmpfs', '-o', 'mode=0711', 'pintle-layers', layout.memory]);

  const entries: MountEntry[] = [];
  const place = (folder: string, ...parts: readonly string[]): string => {
    const path = join(folder, ...parts);
    mkdirSync(path, { recursive: true });
    return path;
  };
  const overlay = (target: string, lower: string, base: string): MountEntry => ({
    source: 'overlay',
    target,
    type: 'overlay',
    options: [
      `lowerdir=${lower}`,
      `upperdir=${place(base, 'upper')}`,
      `workdir=${place(base, 'work')}`,
      ...overlayOptions,
    ],
  });
  const memoryProbe = join(layout.memory, '.probe');
  for (const folder of candidates) {
    const target = place(layout.probe, 'top', folder.name);
    if (folder.kind === 'overlay')
      entries.push(
        overlay(target, `/${folder.name}`, join(folder.memory ? memoryProbe : layout.probe, `layers-${folder.name}`)),
      );
    entries.push(bindEntry(`/${folder.name}`, place(layout.probe, 'bind', folder.name), 'rbind'));
  }
  entries.push(
    overlay(place(layout.probe, 'image'), place(layout.probe, 'image-lower'), join(layout.probe, 'image-layers')),
  );
  entries.push({
    source: 'sysfs',
    target: place(layout.probe, 'sys'),
    type: 'sysfs',
    options: ['ro', 'nosuid', 'nodev', 'noexec'],
  });
  const table = join(layout.probe, 'fstab');
  writeFileSync(table, formatFstab(entries));
  const { stdout } = await tryHostCommand([
    'unshare',
    '--net',
    '--mount',
    '--',
    'dash',
    '-c',
    probeScript,
    'pintle-probe',
    table,
  ]);
  const mounted = new Map(parseMountInfo(stdout).map(({ target, type }) => [target, type]));
  rmSync(layout.probe, { recursive: true, force: true });
  rmSync(memoryProbe, { recursive: true, force: true });
  mkdirSync(layout.probe, { mode: 0o700 });

  const limitations: string[] = [];
  const topFolders = candidates.flatMap((folder): TopFolder[] => {
    if (folder.kind !== 'overlay' || mounted.get(join(layout.probe, 'top', folder.name)) === 'overlay') return [folder];
    if (!mounted.has(join(layout.probe, 'bind', folder.name))) {
      limitations.push(
        `/${folder.name} of the node cannot be shown in containers of image host: this user may not mount it`,
      );
      return [];
    }
    limitations.push(
      `/${folder.name} is read-only in containers of image host: the kernel refuses an overlay over it here`,
    );
    return [{ name: folder.name, kind: 'read-only' }];
  });
  const canOverlayImages = mounted.get(join(layout.probe, 'image')) === 'overlay';
  if (!canOverlayImages)
    limitations.push(
      'overlayfs is refused on the state folder: each container of an imported image gets a whole copy of it',
    );
  if (!uids.isWhole)
    limitations.push('inside a user namespace: containers run as the user ids that it maps only (usually 0)');
  return {
    isRealRoot,
    uids,
    gids,
    topFolders,
    canOverlayImages,
    overlayOptions,
    limitations,
    canMountSysfs: mounted.get(join(layout.probe, 'sys')) === 'sysfs',
  };
}

function classify(name: string, layout: Layout): TopFolder | undefined {
  const path = `/${name}`;
  const stats = lstatSync(path);
  if (stats.isSymbolicLink()) return { name, kind: 'link', target: readlinkSync(path) };
  if (!stats.isDirectory() || !canBeLayer(path)) return undefined;
  let isEmpty = false;
  try {
    isEmpty = readdirSync(path).length === 0;
  } catch {
    return { name, kind: 'empty', mode: stats.mode & 0o7777 };
  }
  if (isEmpty) return { name, kind: 'empty', mode: stats.mode & 0o7777 };
  return { name, kind: 'overlay', memory: isWithin(layout.root, path) };
}
