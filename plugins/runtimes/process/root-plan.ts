/**
 * Builds a container's file system: makes folders and files under the container's own folder, and returns the table of
 * mounts that its init makes in its private mount namespace. Nothing is mounted in the node's namespace, so nothing of
 * it has to be unmounted when the container is gone.
 */
import { chmodSync, existsSync, mkdirSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { cp } from 'node:fs/promises';
import { join } from 'node:path';
import { PintleError, type ContainerSpec, type Mount, type SandboxSpec } from '../../../kernel/contract/index.ts';
import { bindEntry, canBeLayer, type MountEntry } from './fstab.ts';
import type { HostFacts } from './host-facts.ts';
import type { Layout } from './layout.ts';
import { isWithin, keptFlags, readMountTable } from './mount-table.ts';
import { RootView, type Area } from './root-view.ts';
import { toolsPath } from './tools.ts';

export interface RootRequest {
  readonly layout: Layout;
  readonly facts: HostFacts;
  readonly spec: ContainerSpec;
  readonly sandbox: SandboxSpec;
  /** The container's folder, already made. */
  readonly folder: string;
  /** Folder of the imported image's files; undefined: image `host`. */
  readonly rootfs: string | undefined;
  /** Paths of the node that a container of image `host` must not see. */
  readonly hidden: readonly string[];
  /** The pod's /dev/shm. */
  readonly sharedMemory: string;
  readonly workingDir: string;
}

const devices = ['null', 'zero', 'full', 'random', 'urandom', 'tty'] as const;
const deviceLinks = {
  fd: '/proc/self/fd',
  stdin: '/proc/self/fd/0',
  stdout: '/proc/self/fd/1',
  stderr: '/proc/self/fd/2',
  ptmx: 'pts/ptmx',
};
/** What Docker masks and makes read-only in /proc, for the same reasons. */
const maskedProc = ['kcore', 'keys', 'latency_stats', 'timer_list', 'sched_debug'] as const;
const maskedFolders = ['proc/acpi', 'proc/scsi', 'proc/asound', 'sys/firmware'] as const;
const readOnlyProc = ['bus', 'fs', 'irq', 'sys', 'sysrq-trigger'] as const;

export async function planRoot(request: RootRequest): Promise<readonly MountEntry[]> {
  const { layout, folder, spec, sandbox } = request;
  const root = join(folder, 'root');
  mkdirSync(root, { mode: 0o755 });
  const { entries, view } =
    request.rootfs === undefined ? hostRoot(request, root) : await imageRoot(request, root, request.rootfs);
  entries.push(...kernelFileSystems(request, root, view));

  view.makeMountPoint(toolsPath, 'folder');
  entries.push(bindEntry(layout.tools, root + toolsPath, 'ro', 'nosuid', 'nodev'));
  entries.push(...podFiles(sandbox, folder, root, view));
  entries.push(...volumes(request, root, view));
  if (request.rootfs === undefined) entries.push(...hide([layout.root, ...request.hidden], root, request.facts));
  if (
    view.resolve(request.workingDir) !== '/' &&
    !spec.mounts.some(({ containerPath }) => isWithin(request.workingDir, containerPath))
  ) {
    try {
      view.makeMountPoint(view.resolve(request.workingDir), 'folder');
    } catch {
      // The init says so when it cannot enter it.
    }
  }
  return entries;
}

function hostRoot(
  { facts, folder, spec, layout }: RootRequest,
  root: string,
): { entries: MountEntry[]; view: RootView } {
  const write = spec.readOnlyRoot ? ['ro'] : [];
  const entries = [bindEntry(root, root, 'nodev', ...write)];
  const areas: Area[] = [{ prefix: '/', upper: root, lower: undefined }];
  const table = facts.topFolders.some(({ kind }) => kind === 'read-only') ? readMountTable() : [];
  for (const top of facts.topFolders) {
    const target = join(root, top.name);
    if (top.kind === 'link') {
      symlinkSync(top.target, target);
      continue;
    }
    makeFolder(target, top.kind === 'empty' ? top.mode : 0o755);
    if (top.kind === 'read-only') {
      areas.push({ prefix: `/${top.name}`, upper: undefined, lower: `/${top.name}` });
      entries.push(bindEntry(`/${top.name}`, target, 'rbind', 'ro', ...keptFlags(`/${top.name}`, table)));
    }
    if (top.kind !== 'overlay') continue;
    const layers = join(top.memory ? join(layout.memory, spec.id) : folder, 'layers', top.name);
    entries.push(overlayEntry(`/${top.name}`, layers, target, [...facts.overlayOptions, ...write]));
    areas.push({ prefix: `/${top.name}`, upper: join(layers, 'upper'), lower: `/${top.name}` });
  }
  for (const [name, mode] of [
    ['tmp', 0o1777],
    ['run', 0o755],
    ['proc', 0o555],
    ['sys', 0o555],
  ] as const)
    makeFolder(join(root, name), mode);
  makeFolder(join(root, 'run/lock'), 0o1777);
  return { entries, view: new RootView(areas) };
}

async function imageRoot(
  { facts, folder, spec }: RootRequest,
  root: string,
  rootfs: string,
): Promise<{ entries: MountEntry[]; view: RootView }> {
  const write = spec.readOnlyRoot ? ['ro'] : [];
  if (facts.canOverlayImages && canBeLayer(folder)) {
    const layers = join(folder, 'layers');
    const entries = [overlayEntry(rootfs, layers, root, [...facts.overlayOptions, 'nodev', ...write])];
    return { entries, view: new RootView([{ prefix: '/', upper: join(layers, 'upper'), lower: rootfs }]) };
  }
  await cp(rootfs, root, { recursive: true, verbatimSymlinks: true, preserveTimestamps: true });
  return {
    entries: [bindEntry(root, root, 'nodev', ...write)],
    view: new RootView([{ prefix: '/', upper: root, lower: undefined }]),
  };
}

function overlayEntry(lower: string, layers: string, target: string, options: readonly string[]): MountEntry {
  const mode = statSync(lower).mode & 0o7777;
  mkdirSync(layers, { recursive: true });
  makeFolder(join(layers, 'upper'), mode);
  mkdirSync(join(layers, 'work'));
  return {
    source: 'overlay',
    target,
    type: 'overlay',
    options: [
      `lowerdir=${lower}`,
      `upperdir=${join(layers, 'upper')}`,
      `workdir=${join(layers, 'work')}`,
      'nodev',
      ...options,
    ],
  };
}

function kernelFileSystems(
  { facts, folder, sandbox, spec, sharedMemory }: RootRequest,
  root: string,
  view: RootView,
): MountEntry[] {
  const dev = join(folder, 'dev');
  mkdirSync(join(dev, 'pts'), { recursive: true });
  makeFolder(join(dev, 'shm'), 0o1777);
  for (const [name, target] of Object.entries(deviceLinks)) symlinkSync(target, join(dev, name));
  for (const name of devices) writeFileSync(join(dev, name), '');
  for (const path of ['/dev', '/proc', '/sys']) view.makeMountPoint(path, 'folder');
  // Volumes below /dev are mounted in this one.
  view.cover({ prefix: '/dev', upper: dev, lower: dev });

  const entries = [bindEntry(dev, join(root, 'dev'), 'nosuid', 'noexec')];
  for (const name of devices) entries.push(bindEntry(`/dev/${name}`, join(root, 'dev', name)));
  entries.push({
    source: 'devpts',
    target: join(root, 'dev/pts'),
    type: 'devpts',
    options: ['newinstance', 'ptmxmode=0666', 'mode=0620', ...(facts.gids.has(5) ? ['gid=5'] : []), 'nosuid', 'noexec'],
  });
  entries.push(bindEntry(sandbox.hostIpc ? '/dev/shm' : sharedMemory, join(root, 'dev/shm')));

  const proc = join(root, 'proc');
  entries.push(
    sandbox.hostPid
      ? bindEntry('/proc', proc, 'rbind')
      : { source: 'proc', target: proc, type: 'proc', options: ['nosuid', 'nodev', 'noexec'] },
  );
  entries.push(
    facts.canMountSysfs
      ? {
          source: 'sysfs',
          target: join(root, 'sys'),
          type: 'sysfs',
          options: [spec.privileged ? 'rw' : 'ro', 'nosuid', 'nodev', 'noexec'],
        }
      : bindEntry('/sys', join(root, 'sys'), 'rbind', 'ro', 'nosuid', 'nodev', 'noexec'),
  );
  if (spec.privileged) return entries;
  const flags = ['nosuid', 'nodev', 'noexec'];
  for (const name of readOnlyProc)
    if (existsSync(`/proc/${name}`)) entries.push(bindEntry(join(proc, name), join(proc, name), 'ro', ...flags));
  for (const name of maskedProc)
    if (existsSync(`/proc/${name}`)) entries.push(bindEntry('/dev/null', join(proc, name)));
  for (const name of maskedFolders) if (existsSync(`/${name}`)) entries.push(emptyFolder(join(root, name)));
  return entries;
}

/** /etc/hosts, /etc/hostname and /etc/resolv.conf of the pod, unless a volume brings its own. */
function podFiles(sandbox: SandboxSpec, folder: string, root: string, view: RootView): MountEntry[] {
  const entries: MountEntry[] = [];
  const files = { hosts: sandbox.etcHosts, hostname: `${sandbox.hostname}\n`, 'resolv.conf': sandbox.resolvConf };
  for (const [name, text] of Object.entries(files)) {
    if (view.writeFile(`/etc/${name}`, text)) continue;
    writeFileSync(join(folder, name), text, { mode: 0o644 });
    const target = view.resolve(`/etc/${name}`);
    view.makeMountPoint(target, 'file');
    entries.push(bindEntry(join(folder, name), root + target));
  }
  return entries;
}

function volumes({ spec }: RootRequest, root: string, view: RootView): MountEntry[] {
  const table = spec.mounts.some(({ readOnly }) => readOnly) ? readMountTable() : [];
  const byDepth = [...spec.mounts].sort((a, b) => a.containerPath.length - b.containerPath.length);
  return byDepth.map((mount) => {
    const stats = statSync(mount.hostPath, { throwIfNoEntry: false });
    if (stats === undefined)
      throw new PintleError(
        'CONTAINER_INVALID',
        `volume for ${mount.containerPath}: ${mount.hostPath} does not exist on the node`,
      );
    if (!mount.containerPath.startsWith('/'))
      throw new PintleError(
        'CONTAINER_INVALID',
        `mount path ${mount.containerPath} is not absolute: expected one that begins with "/"`,
      );
    const target = view.resolve(mount.containerPath);
    if (isWithin(target, toolsPath))
      throw new PintleError('CONTAINER_INVALID', `mount path ${target} is kept for the runtime: choose another`);
    const isFolder = stats.isDirectory();
    view.makeMountPoint(target, isFolder ? 'folder' : 'file');
    view.cover({
      prefix: target,
      upper: isFolder && !mount.readOnly ? mount.hostPath : undefined,
      lower: isFolder ? mount.hostPath : undefined,
    });
    const flags = mount.readOnly ? ['ro', ...keptFlags(mount.hostPath, table)] : [];
    return bindEntry(mount.hostPath, root + target, isFolder ? 'rbind' : 'bind', propagationOption(mount), ...flags);
  });
}

function propagationOption({ propagation }: Mount): string {
  if (propagation === 'Bidirectional') return 'rshared';
  return propagation === 'HostToContainer' ? 'rslave' : 'rprivate';
}

/** Empty folders over what is not to be seen; what lies below a folder of the container's own is not there anyway. */
function hide(paths: readonly string[], root: string, { topFolders }: HostFacts): MountEntry[] {
  const shown = topFolders
    .filter(({ kind }) => kind === 'overlay' || kind === 'read-only')
    .map(({ name }) => `/${name}`);
  return [...new Set(paths)]
    .filter((path) => path !== '/' && shown.some((top) => isWithin(path, top)))
    .filter((path) => statSync(path, { throwIfNoEntry: false })?.isDirectory() === true)
    .map((path) => emptyFolder(root + path));
}

function emptyFolder(target: string): MountEntry {
  return {
    source: 'tmpfs',
    target,
    type: 'tmpfs',
    options: ['ro', 'size=4k', 'mode=0555', 'nosuid', 'nodev', 'noexec'],
  };
}

/** mkdir's mode is cut by the umask; these must be exact. */
function makeFolder(path: string, mode: number): void {
  mkdirSync(path, { recursive: true });
  chmodSync(path, mode);
}
