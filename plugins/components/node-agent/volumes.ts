/**
 * A pod's volumes on the node: folders below `<podFolder>/volumes`, made before the first container starts, removed with
 * the pod. emptyDir with medium Memory is a tmpfs mount, unmounted before its folder is removed.
 */
import { execFile } from 'node:child_process';
import { chmod, chown, mkdir, readFile, readdir, realpath, rename, rm, stat, writeFile } from 'node:fs/promises';
import { dirname, isAbsolute, join, sep } from 'node:path';
import { promisify } from 'node:util';
import type {
  Container as ContainerDefinition,
  DownwardAPIVolumeFile,
  KeyToPath,
  Pod,
  ServiceAccountTokenProjection,
  Volume,
} from '../../../kernel/contract/kubernetes.ts';
import { PintleError, type Mount } from '../../../kernel/contract/index.ts';
import { byteCount } from '../../../kernel/machinery/quantity.ts';
import { writeVolume, type VolumeFile } from './atomic-writer.ts';
import { podField, resourceField, type SpecSources } from './container-spec.ts';

const run = promisify(execFile);

/** The volume cannot be made now; the pod waits with reason FailedMount. */
function notMountable(volume: string, message: string): PintleError {
  return new PintleError('CONTAINER_INVALID', `MountVolume.SetUp failed for volume "${volume}": ${message}`);
}

type Files = Map<string, VolumeFile>;

function selectKeys(
  volume: string,
  what: string,
  data: ReadonlyMap<string, Uint8Array>,
  items: readonly KeyToPath[] | undefined,
  defaultMode: number,
  optional: boolean,
): Files {
  const files: Files = new Map();
  if (!items) for (const [key, content] of data) files.set(key, { content, mode: defaultMode });
  for (const item of items ?? []) {
    const content = data.get(item.key);
    if (content) files.set(item.path, { content, mode: item.mode ?? defaultMode });
    else if (!optional) throw notMountable(volume, `${what} references non-existent key: ${item.key}`);
  }
  return files;
}

async function configMapFiles(
  pod: Pod,
  volume: string,
  source: { name?: string; items?: KeyToPath[]; optional?: boolean },
  mode: number,
  sources: SpecSources,
): Promise<Files> {
  const object = await sources.configMap(pod.metadata.namespace, source.name ?? '');
  if (!object && !source.optional) throw notMountable(volume, `configmap "${source.name}" not found`);
  const data = new Map<string, Uint8Array>();
  for (const [key, text] of Object.entries(object?.data ?? {})) data.set(key, Buffer.from(text));
  for (const [key, text] of Object.entries(object?.binaryData ?? {})) data.set(key, Buffer.from(text, 'base64'));
  return selectKeys(volume, `configmap ${source.name}`, data, source.items, mode, source.optional ?? false);
}

async function secretFiles(
  pod: Pod,
  volume: string,
  source: { name: string; items?: KeyToPath[] | undefined; optional?: boolean | undefined },
  mode: number,
  sources: SpecSources,
): Promise<Files> {
  const object = await sources.secret(pod.metadata.namespace, source.name);
  if (!object && !source.optional) throw notMountable(volume, `secret "${source.name}" not found`);
  const data = new Map(
    Object.entries(object?.data ?? {}).map(([key, text]) => [key, Buffer.from(text, 'base64')] as const),
  );
  return selectKeys(volume, `secret ${source.name}`, data, source.items, mode, source.optional ?? false);
}

function downwardFiles(
  pod: Pod,
  volume: string,
  items: readonly DownwardAPIVolumeFile[] | undefined,
  mode: number,
  sources: SpecSources,
): Files {
  const files: Files = new Map();
  for (const item of items ?? []) {
    let text: string | undefined;
    if (item.fieldRef) text = podField(pod, item.fieldRef.fieldPath, sources);
    else if (item.resourceFieldRef) {
      const { containerName, resource, divisor } = item.resourceFieldRef;
      const container = pod.spec.containers.find((each) => each.name === containerName);
      if (container) text = resourceField(container, resource, divisor, sources.nodeAllocatable);
    }
    if (text === undefined) throw notMountable(volume, `downwardAPI item ${item.path} has no value`);
    files.set(item.path, { content: Buffer.from(text), mode: item.mode ?? mode });
  }
  return files;
}

async function tokenFile(
  pod: Pod,
  volume: string,
  source: ServiceAccountTokenProjection,
  mode: number,
  sources: SpecSources,
): Promise<Files> {
  try {
    const token = await sources.serviceAccountToken(pod, source);
    return new Map([[source.path, { content: Buffer.from(token), mode }]]);
  } catch (error) {
    throw notMountable(volume, `failed to fetch token: ${error instanceof Error ? error.message : String(error)}`);
  }
}

async function filesOf(pod: Pod, volume: Volume, sources: SpecSources): Promise<Files | undefined> {
  if (volume.configMap) {
    return configMapFiles(pod, volume.name, volume.configMap, volume.configMap.defaultMode ?? 0o644, sources);
  }
  if (volume.secret) {
    const { secretName, ...rest } = volume.secret;
    return secretFiles(pod, volume.name, { ...rest, name: secretName ?? '' }, rest.defaultMode ?? 0o644, sources);
  }
  if (volume.downwardAPI) {
    return downwardFiles(pod, volume.name, volume.downwardAPI.items, volume.downwardAPI.defaultMode ?? 0o644, sources);
  }
  if (!volume.projected) return undefined;
  const mode = volume.projected.defaultMode ?? 0o644;
  const files: Files = new Map();
  for (const source of volume.projected.sources ?? []) {
    const part = source.configMap
      ? await configMapFiles(pod, volume.name, source.configMap, mode, sources)
      : source.secret
        ? await secretFiles(pod, volume.name, { ...source.secret, name: source.secret.name ?? '' }, mode, sources)
        : source.downwardAPI
          ? downwardFiles(pod, volume.name, source.downwardAPI.items, mode, sources)
          : source.serviceAccountToken
            ? await tokenFile(pod, volume.name, source.serviceAccountToken, mode, sources)
            : undefined;
    if (!part) throw notMountable(volume.name, `projected source ${Object.keys(source).join()} is not supported`);
    for (const [path, file] of part) files.set(path, file);
  }
  return files;
}

async function checkHostPath(volume: string, path: string, type: string): Promise<void> {
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

const exists = (path: string) =>
  stat(path).then(
    () => true,
    () => false,
  );

/** The real path of a subPath, made when it is missing. Links are followed before anything is made: a pod may have left some. */
async function subPathOf(base: string, volume: string, subPath: string): Promise<string> {
  const inside = await realpath(base);
  let real = inside;
  for (const part of subPath.split('/').filter((each) => each !== '' && each !== '.')) {
    const next = join(real, part);
    real = await realpath(next).catch(async () => {
      await mkdir(next);
      return next;
    });
    if (real !== inside && !real.startsWith(inside + sep))
      throw notMountable(volume, `subPath "${subPath}" leads out of the volume`);
  }
  return real;
}

async function isMountPoint(path: string): Promise<boolean> {
  const table = await readFile('/proc/self/mountinfo', 'utf8');
  return table.split('\n').some((line) => line.split(' ')[4] === path.replaceAll(' ', '\\040'));
}

export interface PreparedVolume {
  /** Folder or file on the node. */
  readonly path: string;
  /** True for what the node writes: a pod that changed it would see its change undone. */
  readonly isReadOnly: boolean;
}

export interface PodVolumes {
  /** Makes or refreshes every volume; resolves to them by volume name. */
  prepare(pod: Pod, sources: SpecSources): Promise<ReadonlyMap<string, PreparedVolume>>;
  /** The mounts of one container. */
  mounts(container: ContainerDefinition, prepared: ReadonlyMap<string, PreparedVolume>): Promise<readonly Mount[]>;
  folder(podUid: string): string;
  /** Uids of pods with a folder. */
  list(): Promise<readonly string[]>;
  remove(podUid: string): Promise<void>;
}

export function createPodVolumes(root: string): PodVolumes {
  const folder = (uid: string) => join(root, uid);

  async function prepareOne(pod: Pod, volume: Volume, sources: SpecSources): Promise<PreparedVolume> {
    const group = pod.spec.securityContext?.fsGroup;
    const path = join(folder(pod.metadata.uid), 'volumes', volume.name);
    if (volume.hostPath) {
      if (!isAbsolute(volume.hostPath.path)) throw notMountable(volume.name, 'hostPath.path must be absolute');
      await checkHostPath(volume.name, volume.hostPath.path, volume.hostPath.type ?? '');
      return { path: volume.hostPath.path, isReadOnly: false };
    }
    if (volume.emptyDir) {
      const mode = group === undefined ? 0o777 : 0o2777;
      if (!(await exists(path))) {
        // Under another name until it is complete: whoever finds the folder finds it with its mode and group.
        const unfinished = join(dirname(path), `..${volume.name}`);
        await mkdir(unfinished, { recursive: true });
        if (group !== undefined) await chown(unfinished, process.getuid!(), group);
        await chmod(unfinished, mode);
        await rename(unfinished, path);
      }
      if (volume.emptyDir.medium === 'Memory' && !(await isMountPoint(path))) {
        const { sizeLimit } = volume.emptyDir;
        const options = [
          `mode=${mode.toString(8)}`,
          ...(group === undefined ? [] : [`gid=${group}`]),
          ...(sizeLimit === undefined ? [] : [`size=${byteCount(sizeLimit)}`]),
        ];
        await run('mount', ['-t', 'tmpfs', '-o', options.join(','), 'tmpfs', path]);
      }
      return { path, isReadOnly: false };
    }
    const files = await filesOf(pod, volume, sources);
    if (!files) {
      const kind = Object.keys(volume).find((key) => key !== 'name') ?? 'empty';
      throw notMountable(volume.name, `volumes of type ${kind} are not supported on this node`);
    }
    await writeVolume(path, files, group);
    return { path, isReadOnly: true };
  }

  return {
    folder,
    list: () => readdir(root),
    async prepare(pod, sources) {
      const prepared = new Map<string, PreparedVolume>();
      for (const volume of pod.spec.volumes ?? []) prepared.set(volume.name, await prepareOne(pod, volume, sources));
      return prepared;
    },
    async mounts(container, prepared) {
      const mounts: Mount[] = [];
      for (const mount of container.volumeMounts ?? []) {
        const volume = prepared.get(mount.name);
        if (volume === undefined) throw notMountable(mount.name, 'the pod has no volume of this name');
        let hostPath = volume.path;
        if (mount.subPath) {
          if (isAbsolute(mount.subPath) || mount.subPath.split('/').includes('..')) {
            throw notMountable(mount.name, `subPath "${mount.subPath}" must be relative and must not use ".."`);
          }
          hostPath = await subPathOf(volume.path, mount.name, mount.subPath);
        }
        mounts.push({
          hostPath,
          containerPath: isAbsolute(mount.mountPath) ? mount.mountPath : `/${mount.mountPath}`,
          readOnly: volume.isReadOnly || (mount.readOnly ?? false),
          propagation: mount.mountPropagation as Mount['propagation'],
        });
      }
      return mounts;
    },
    async remove(uid) {
      const path = folder(uid);
      const table = await readFile('/proc/self/mountinfo', 'utf8');
      const below = table
        .split('\n')
        .map((line) => line.split(' ')[4])
        .filter((point): point is string => point !== undefined && point.startsWith(path + sep));
      for (const point of below.reverse()) await run('umount', ['-l', point]);
      await rm(path, { recursive: true, force: true });
    },
  };
}
