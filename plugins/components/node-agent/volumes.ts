/**
 * A pod's volumes on the node: folders below `<podFolder>/volumes`, made before the first container starts, removed with
 * the pod. emptyDir with medium Memory is a tmpfs mount, unmounted before its folder is removed.
 */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { readFile, readdir, rm } from 'node:fs/promises';
import { isAbsolute, join, sep } from 'node:path';
import { promisify } from 'node:util';
import type { Container as ContainerDefinition, Pod, Volume } from '../../../kernel/contract/kubernetes.ts';
import { isPintleError, type Mount } from '../../../kernel/contract/index.ts';
import { hasVolume, writeVolume } from './atomic-writer.ts';
import { ClaimVolumes, type ClaimVolumesOptions } from './claim-volumes.ts';
import { environmentOf, type SpecSources } from './container-spec.ts';
import { makeEmptyDir } from './empty-dir.ts';
import { checkHostPath } from './host-path.ts';
import { subPathOf, subPathText } from './sub-path.ts';
import { filesOf, notMountable } from './volume-files.ts';

const run = promisify(execFile);

export interface PreparedVolume {
  /** Folder or file on the node. */
  readonly path: string;
  /** True for what no container may write: what the node writes itself, and claims that are mounted read-only. */
  readonly isReadOnly: boolean;
}

export interface PodVolumes {
  /**
   * Makes or refreshes every volume; resolves to them by volume name. What is there and cannot be refreshed (its ConfigMap is
   * gone) stays as it is, and `tell` hears why.
   */
  prepare(
    pod: Pod,
    sources: SpecSources,
    tell?: (message: string) => void,
  ): Promise<ReadonlyMap<string, PreparedVolume>>;
  /** The mounts of one container. */
  mounts(
    pod: Pod,
    container: ContainerDefinition,
    prepared: ReadonlyMap<string, PreparedVolume>,
    sources: SpecSources,
  ): Promise<readonly Mount[]>;
  folder(podUid: string): string;
  /** Uids of pods with a folder. */
  list(): Promise<readonly string[]>;
  /** Takes the volumes of a pod away whose containers have ended for good; its logs stay. */
  clear(podUid: string): Promise<void>;
  /** Takes everything of a pod away. */
  remove(podUid: string): Promise<void>;
}

export type PodVolumesOptions = Omit<ClaimVolumesOptions, 'folder' | 'list'>;

export function createPodVolumes(root: string, options: PodVolumesOptions): PodVolumes {
  const folder = (uid: string) => join(root, uid);
  const list = () => readdir(root);
  const claims = new ClaimVolumes({ ...options, node: () => options.node(), folder, list });

  async function prepareOne(
    pod: Pod,
    volume: Volume,
    sources: SpecSources,
    tell: (message: string) => void,
  ): Promise<PreparedVolume> {
    const group = pod.spec.securityContext?.fsGroup;
    const path = join(folder(pod.metadata.uid), 'volumes', volume.name);
    if (volume.hostPath) {
      await checkHostPath(volume.name, volume.hostPath);
      return { path: volume.hostPath.path, isReadOnly: false };
    }
    if (volume.emptyDir) {
      await makeEmptyDir(volume.name, volume.emptyDir, path, group);
      return { path, isReadOnly: false };
    }
    if (volume.persistentVolumeClaim || volume.ephemeral) return claims.prepare(pod, volume.name);
    const files = await filesOf(pod, volume, sources).catch(async (error: unknown) => {
      if (!(await hasVolume(path))) throw error;
      // What a running pod has is better than nothing: its containers must not depend on what happens to the source.
      if (!isPintleError(error, 'UNAVAILABLE', 'TIMEOUT')) tell(textOf(error));
      return 'unknown' as const;
    });
    if (!files) {
      const kind = Object.keys(volume).find((key) => key !== 'name') ?? 'empty';
      throw notMountable(volume.name, `volumes of type ${kind} are not supported on this node`);
    }
    if (files !== 'unknown') await writeVolume(path, files, group);
    return { path, isReadOnly: true };
  }

  async function clear(uid: string): Promise<void> {
    await claims.release(uid);
    const path = join(folder(uid), 'volumes');
    if (!existsSync(path)) return;
    const table = await readFile('/proc/self/mountinfo', 'utf8');
    const below = table
      .split('\n')
      .map((line) => line.split(' ')[4])
      .filter((point): point is string => point !== undefined && point.startsWith(path + sep));
    for (const point of below.reverse()) await run('umount', ['-l', point]);
    await rm(path, { recursive: true, force: true });
  }

  return {
    folder,
    list,
    async prepare(pod, sources, tell = () => undefined) {
      const prepared = new Map<string, PreparedVolume>();
      let failure: Error | undefined;
      for (const volume of pod.spec.volumes ?? [])
        try {
          prepared.set(volume.name, await prepareOne(pod, volume, sources, tell));
        } catch (error) {
          // A full disk, a file in the way, a mount that the kernel refuses: the pod waits with it as its reason.
          const fault = isPintleError(error) ? error : notMountable(volume.name, textOf(error));
          if (failure === undefined) failure = fault;
          else tell(fault.message);
        }
      if (failure !== undefined) throw failure;
      return prepared;
    },
    async mounts(pod, container, prepared, sources) {
      const mounts: Mount[] = [];
      for (const mount of container.volumeMounts ?? []) {
        const volume = prepared.get(mount.name);
        if (volume === undefined) throw notMountable(mount.name, 'the pod has no volume of this name');
        const subPath = await subPathText(mount, () => environmentOf(pod, container, sources));
        const hostPath = subPath === undefined ? volume.path : await subPathOf(volume.path, mount.name, subPath);
        mounts.push({
          hostPath,
          containerPath: isAbsolute(mount.mountPath) ? mount.mountPath : `/${mount.mountPath}`,
          readOnly: volume.isReadOnly || (mount.readOnly ?? false),
          propagation: mount.mountPropagation as Mount['propagation'],
        });
      }
      return mounts;
    },
    clear,
    async remove(uid) {
      await clear(uid);
      await rm(folder(uid), { recursive: true, force: true });
    },
  };
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
