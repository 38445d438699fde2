/**
 * Volumes as folders. One that is provisioned is <root>/<name>/ with `data`, which pods see, and `volume.json`, which says
 * whose it is and how large it may be. It appears by one rename, complete, and goes by one rename before its files are
 * deleted, so that a killed agent leaves either a whole volume or something whose name begins with a dot.
 * The size is a promise between claim and node: the file system does not enforce it.
 */
import { chmod, mkdir, readdir, readFile, rename, rm, stat, statfs, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PintleError, type Logger, type VolumeDriver } from '../../../kernel/contract/index.ts';
import type { PersistentVolume } from '../../../kernel/contract/kubernetes.ts';
import { giveToGroup } from './give-to-group.ts';

export interface LocalVolumesOptions {
  readonly root: string;
  readonly provisioner: string;
  readonly maxBytes?: number | undefined;
  readonly minFreeBytes: number;
  readonly log: Logger;
}

interface VolumeRecord {
  readonly bytes: number;
  readonly claim: { readonly namespace: string; readonly name: string; readonly uid: string };
}

const safeName = /^[a-z0-9][a-z0-9.-]*$/;

export async function openLocalVolumes(options: LocalVolumesOptions): Promise<VolumeDriver & AsyncDisposable> {
  const { root, provisioner, maxBytes, minFreeBytes, log } = options;
  const dataOf = (name: string): string => join(root, name, 'data');
  const recordOf = (name: string): string => join(root, name, 'volume.json');
  let last: Promise<unknown> = Promise.resolve();

  /** What counts sizes goes one after the other, so that two volumes do not take the same room. */
  function inTurn<T>(work: () => Promise<T>): Promise<T> {
    const next = last.then(work, work);
    // Its caller hears of a failure; the next one only waits for its turn.
    last = next.catch(() => undefined);
    return next;
  }

  for (const name of await readdir(root))
    if (name.startsWith('.')) await rm(join(root, name), { recursive: true, force: true });

  async function read(name: string): Promise<VolumeRecord | undefined> {
    try {
      return JSON.parse(await readFile(recordOf(name), 'utf8')) as VolumeRecord;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw error;
    }
  }

  /** Rejects when `bytes` for this volume are more than is left. */
  async function checkRoom(name: string, bytes: number): Promise<void> {
    const { bavail, bsize } = await statfs(root);
    if (bavail * bsize < minFreeBytes)
      throw new PintleError(
        'VOLUME_NO_ROOM',
        `the file system of ${root} has ${bavail * bsize} bytes left, and ${minFreeBytes} are kept free: make room or use another node`,
      );
    if (maxBytes === undefined) return;
    let taken = 0;
    for (const other of await readdir(root))
      if (other !== name && !other.startsWith('.')) taken += (await read(other))?.bytes ?? 0;
    if (taken + bytes > maxBytes)
      throw new PintleError(
        'VOLUME_NO_ROOM',
        `${bytes} bytes are asked for, and of the ${maxBytes} that this node gives to volumes ${taken} are taken: ask for less, delete claims, or raise maxBytes of volume/local`,
      );
  }

  /** The name of a volume that was provisioned here; undefined for any other. */
  function ownName({ metadata: { name }, spec }: PersistentVolume): string | undefined {
    return safeName.test(name) && spec.local?.path === dataOf(name) ? name : undefined;
  }

  function requireOwn(volume: PersistentVolume, verb: string): string {
    const name = ownName(volume);
    if (name !== undefined) return name;
    throw new PintleError(
      'VOLUME_INVALID',
      `volume ${volume.metadata.name} (${volume.spec.local?.path ?? 'not local'}) cannot be ${verb}: it was not provisioned by ${provisioner} on this node`,
    );
  }

  async function writeRecord(folder: string, record: VolumeRecord): Promise<void> {
    const file = join(folder, 'volume.json');
    await writeFile(`${file}.tmp`, `${JSON.stringify(record)}\n`, { flush: true });
    await rename(`${file}.tmp`, file);
  }

  return {
    capabilities: ['expand', 'provision'],
    provisioner,
    serves: (spec) => spec.local !== undefined,

    async publish({ volume, fsGroup, fsGroupChangePolicy }) {
      const path = volume.spec.local?.path ?? '';
      const found = await stat(path).catch((error: NodeJS.ErrnoException) => {
        if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return undefined;
        throw error;
      });
      if (found === undefined)
        throw new PintleError(
          'VOLUME_NOT_FOUND',
          `path "${path}" does not exist: the volume's data is not on this node`,
        );
      if (!found.isDirectory())
        throw new PintleError(
          'VOLUME_INVALID',
          `path "${path}" is not a folder, which is what a local volume has to be`,
        );
      if (fsGroup !== undefined) await giveToGroup(path, fsGroup, fsGroupChangePolicy ?? 'Always');
      return { path };
    },
    unpublish: async () => undefined,

    provision: ({ name, bytes, claim, parameters }) =>
      inTurn(async () => {
        const [unknown] = Object.keys(parameters);
        if (unknown !== undefined)
          throw new PintleError('VOLUME_INVALID', `parameter "${unknown}" is unknown: ${provisioner} takes none`);
        if (!safeName.test(name)) throw new PintleError('VOLUME_INVALID', `"${name}" cannot be the name of a folder`);
        const known = await read(name);
        if (known === undefined) {
          await checkRoom(name, bytes);
          const unfinished = join(root, `.${name}`);
          await rm(unfinished, { recursive: true, force: true });
          await mkdir(unfinished, { mode: 0o711 });
          // Whatever user the pod's containers run as.
          await mkdir(join(unfinished, 'data'));
          await chmod(join(unfinished, 'data'), 0o777);
          await writeRecord(unfinished, { bytes, claim });
          await rename(unfinished, join(root, name));
          log.info('volume made', { volume: name, bytes, claim: `${claim.namespace}/${claim.name}` });
        }
        return { source: { local: { path: dataOf(name) } }, bytes: known?.bytes ?? bytes, isLocal: true };
      }),

    expand: (volume, bytes) =>
      inTurn(async () => {
        const name = requireOwn(volume, 'expanded');
        const known = await read(name);
        if (known === undefined) throw new PintleError('VOLUME_NOT_FOUND', `volume ${name} is not on this node`);
        if (bytes <= known.bytes) return known.bytes;
        await checkRoom(name, bytes);
        await writeRecord(join(root, name), { ...known, bytes });
        return bytes;
      }),

    async delete(volume) {
      const name = requireOwn(volume, 'deleted');
      const going = join(root, `.${name}.gone`);
      await rename(join(root, name), going).catch((error: NodeJS.ErrnoException) => {
        if (error.code !== 'ENOENT') throw error;
      });
      await rm(going, { recursive: true, force: true });
    },

    [Symbol.asyncDispose]: async () => {
      await last;
    },
  };
}
