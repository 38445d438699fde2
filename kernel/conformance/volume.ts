/** Conformance kit of kind `volume`, on a folder (or a node) that the test provides. */
import { mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { VolumeCapability, VolumeDriver } from '../contract/index.ts';
import type { PersistentVolume } from '../contract/kubernetes.ts';
import { registerCases, type KitAssertions, type KitCase, type KitTest } from './kit.ts';

export interface VolumeBed {
  /** The instance that is running. */
  driver(): VolumeDriver & AsyncDisposable;
  /** Disposes it and starts another on the same node. */
  restart(): Promise<VolumeDriver>;
  /** Another volume of this driver, empty, its data on this node, not staged. */
  volume(): Promise<PersistentVolume>;
  /** Takes away what the volume stands for, as an administrator could. */
  lose(volume: PersistentVolume): Promise<void>;
  /** A folder of the test's own, in which pods' targets are. */
  readonly podsFolder: string;
  /** Text of all that the driver could leave on the node, the volumes' own content left out. Equal texts, equal nodes. */
  traces(): Promise<string>;
  /** False where files cannot be given to other groups. */
  readonly canGive: boolean;
}

type Case = KitCase<VolumeBed, VolumeCapability>;

const megabyte = 1024 * 1024;

/** A pod's use of a volume, as the node's agent does it. */
function pod(bed: VolumeBed, name: string) {
  const target = join(bed.podsFolder, name, 'volumes', 'v');
  return {
    publish: async (volume: PersistentVolume, more: { readonly fsGroup?: number } = {}): Promise<string> => {
      await mkdir(dirname(target), { recursive: true });
      const driver = bed.driver();
      await driver.stage?.(volume);
      const names = { podNamespace: 'default', podName: name, podUid: `uid-${name}` };
      return (await driver.publish({ volume, target, readOnly: false, ...names, ...more })).path;
    },
    unpublish: (volume: PersistentVolume) => bed.driver().unpublish({ volume, target, podUid: `uid-${name}` }),
  };
}

let serial = 0;

async function provision(bed: VolumeBed, bytes = megabyte, name = `pvc-kit-${process.pid}-${++serial}`) {
  const request = { name, bytes, accessModes: ['ReadWriteOnce'], parameters: {} };
  const claim = { namespace: 'default', name: 'claim', uid: name.slice(4) };
  const made = await bed.driver().provision!({ ...request, claim });
  const metadata = { name, uid: name, resourceVersion: '1', creationTimestamp: '' };
  const spec = { ...made.source, capacity: { storage: String(made.bytes) }, accessModes: request.accessModes };
  const volume: PersistentVolume = { apiVersion: 'v1', kind: 'PersistentVolume', metadata, spec };
  return { volume, made };
}

const readOf = (path: string) => readFile(path, 'utf8').catch(() => undefined);

const nodeCases: readonly Case[] = [
  {
    title: 'it serves its own volumes and no others',
    run: async (t, bed) => {
      t.true(bed.driver().serves((await bed.volume()).spec));
      t.false(bed.driver().serves({ nfs: { server: 's', path: '/' } }));
      t.false(bed.driver().serves({}));
    },
  },
  {
    title: 'pods that publish one volume share its files, and the next pod finds them',
    run: async (t, bed) => {
      const volume = await bed.volume();
      const [a, b] = [await pod(bed, 'a').publish(volume), await pod(bed, 'b').publish(volume)];
      await writeFile(join(a, 'file'), 'written');
      t.is(await readOf(join(b, 'file')), 'written');
      await pod(bed, 'a').unpublish(volume);
      t.is(await readOf(join(b, 'file')), 'written', 'when the other has gone');
      await pod(bed, 'b').unpublish(volume);
      await bed.driver().unstage?.(volume);
      t.is(await readOf(join(await pod(bed, 'c').publish(volume), 'file')), 'written', 'later');
    },
  },
  {
    title: 'volumes have their own files',
    run: async (t, bed) => {
      const [one, two] = [await bed.volume(), await bed.volume()];
      await writeFile(join(await pod(bed, 'a').publish(one), 'file'), 'one');
      t.is(await readOf(join(await pod(bed, 'b').publish(two), 'file')), undefined);
    },
  },
  {
    title: 'publishing again changes nothing and answers the same path',
    run: async (t, bed) => {
      const volume = await bed.volume();
      const path = await pod(bed, 'a').publish(volume);
      await writeFile(join(path, 'file'), 'kept');
      const before = await bed.traces();
      for (let round = 0; round < 3; round++) t.is(await pod(bed, 'a').publish(volume), path);
      t.is(await readOf(join(path, 'file')), 'kept');
      t.is(await bed.traces(), before);
    },
  },
  {
    title: 'unpublish and unstage leave nothing but the data, ten times over, and for a pod that never published',
    run: async (t, bed) => {
      const volume = await bed.volume();
      await mkdir(join(bed.podsFolder, 'a', 'volumes'), { recursive: true });
      const before = await bed.traces();
      await pod(bed, 'a').publish(volume);
      for (let round = 0; round < 10; round++) {
        await pod(bed, 'a').unpublish(volume);
        await pod(bed, 'never').unpublish(volume);
        await bed.driver().unstage?.(volume);
      }
      t.is(await bed.traces(), before);
    },
  },
  {
    title: 'a volume whose data is not there is refused, and nothing is made in its place',
    run: async (t, bed) => {
      const volume = await bed.volume();
      await bed.lose(volume);
      await mkdir(join(bed.podsFolder, 'a', 'volumes'), { recursive: true });
      const before = await bed.traces();
      for (let round = 0; round < 2; round++)
        await t.throwsAsync(() => pod(bed, 'a').publish(volume), { code: 'VOLUME_NOT_FOUND' });
      t.is(await bed.traces(), before);
    },
  },
  {
    title: 'dispose leaves volumes published; a new instance publishes them again and unpublishes them',
    run: async (t, bed) => {
      const volume = await bed.volume();
      const path = await pod(bed, 'a').publish(volume);
      await writeFile(join(path, 'file'), 'kept');
      await bed.driver()[Symbol.asyncDispose]();
      await bed.driver()[Symbol.asyncDispose]();
      t.is(await readOf(join(path, 'file')), 'kept', 'between two instances');
      await bed.restart();
      t.is(await pod(bed, 'a').publish(volume), path);
      t.is(await readOf(join(path, 'file')), 'kept');
      await pod(bed, 'a').unpublish(volume);
      await bed.driver().unstage?.(volume);
      t.is(await readOf(join(await pod(bed, 'b').publish(volume), 'file')), 'kept');
    },
  },
];

const provisionCases: readonly Case[] = [
  {
    title: 'a provisioned volume is empty, large enough, and served by the driver',
    needs: ['provision'],
    run: async (t, bed) => {
      t.true(typeof bed.driver().provisioner === 'string' && bed.driver().provisioner !== '');
      const { volume, made } = await provision(bed, 3 * megabyte);
      t.is(Object.keys(made.source).length, 1);
      t.true(made.bytes >= 3 * megabyte, `${made.bytes} bytes`);
      t.true(bed.driver().serves(made.source));
      await writeFile(join(await pod(bed, 'a').publish(volume), 'file'), 'one');
      const other = await provision(bed);
      t.is(await readOf(join(await pod(bed, 'b').publish(other.volume), 'file')), undefined);
    },
  },
  {
    title: 'provisioning again under a name answers the same volume, by a new instance too, with its data',
    needs: ['provision'],
    run: async (t, bed) => {
      const first = await provision(bed);
      await writeFile(join(await pod(bed, 'a').publish(first.volume), 'file'), 'kept');
      await bed.restart();
      const second = await provision(bed, megabyte, first.volume.metadata.name);
      t.deepEqual(second.made.source, first.made.source);
      t.is(await readOf(join(await pod(bed, 'a').publish(second.volume), 'file')), 'kept');
    },
  },
  {
    title: 'many volumes provisioned at once are different ones',
    needs: ['provision'],
    run: async (t, bed) => {
      const all = await Promise.all(Array.from({ length: 8 }, () => provision(bed)));
      t.is(new Set(all.map(({ made }) => JSON.stringify(made.source))).size, 8);
    },
  },
  {
    title: 'a parameter that it does not know is refused, and nothing is made',
    needs: ['provision'],
    run: async (t, bed) => {
      const before = await bed.traces();
      const claim = { namespace: 'default', name: 'claim', uid: 'u' };
      const request = { name: 'pvc-u', bytes: megabyte, accessModes: ['ReadWriteOnce'], claim };
      const parameters = { 'no.such/parameter': 'x' };
      await t.throwsAsync(() => bed.driver().provision!({ ...request, parameters }), { code: 'VOLUME_INVALID' });
      t.is(await bed.traces(), before);
    },
  },
  {
    title: 'delete removes a provisioned volume and every trace of it, ten times over',
    needs: ['provision'],
    run: async (t, bed) => {
      await mkdir(join(bed.podsFolder, 'a', 'volumes'), { recursive: true });
      const before = await bed.traces();
      const { volume } = await provision(bed);
      t.not(await bed.traces(), before, 'a provisioned volume is a trace');
      await writeFile(join(await pod(bed, 'a').publish(volume), 'file'), 'x');
      await pod(bed, 'a').unpublish(volume);
      await bed.driver().unstage?.(volume);
      for (let round = 0; round < 10; round++) await bed.driver().delete!(volume);
      t.is(await bed.traces(), before);
      await t.throwsAsync(() => pod(bed, 'b').publish(volume), { code: 'VOLUME_NOT_FOUND' });
    },
  },
  {
    title: 'delete refuses a volume that it did not provision, and keeps its data',
    needs: ['provision'],
    run: async (t, bed) => {
      const { volume } = await provision(bed);
      const path = await pod(bed, 'a').publish(volume);
      await writeFile(join(path, 'file'), 'kept');
      const foreign = { ...volume, metadata: { ...volume.metadata, name: 'somebody-elses' } };
      await t.throwsAsync(() => bed.driver().delete!(foreign), { code: 'VOLUME_INVALID' });
      t.is(await readOf(join(path, 'file')), 'kept');
    },
  },
  {
    title: 'expand enlarges a volume with its data, and never shrinks it',
    needs: ['provision', 'expand'],
    run: async (t, bed) => {
      const { volume } = await provision(bed, megabyte);
      const path = await pod(bed, 'a').publish(volume);
      await writeFile(join(path, 'file'), 'kept');
      t.true((await bed.driver().expand!(volume, 2 * megabyte)) >= 2 * megabyte);
      t.true((await bed.driver().expand!(volume, 2 * megabyte)) >= 2 * megabyte, 'again');
      await bed.restart();
      t.true((await bed.driver().expand!(volume, megabyte)) >= megabyte, 'asked for less');
      t.is(await readOf(join(path, 'file')), 'kept');
      const { bytes } = (await provision(bed, megabyte, volume.metadata.name)).made;
      t.true(bytes >= 2 * megabyte, `${bytes} bytes after asking for less`);
    },
  },
  {
    title: 'fsGroup: files that are there and files to come are the group’s',
    needs: ['provision'],
    run: async (t, bed) => {
      const { volume } = await provision(bed);
      const path = await pod(bed, 'a').publish(volume);
      await mkdir(join(path, 'folder'), { mode: 0o700 });
      await writeFile(join(path, 'folder', 'file'), 'x', { mode: 0o600 });
      const again = await pod(bed, 'b').publish(volume, { fsGroup: 4321 });
      t.is(await readOf(join(again, 'folder', 'file')), 'x');
      if (!bed.canGive) return;
      for (const each of ['', 'folder', 'folder/file']) t.is((await stat(join(again, each))).gid, 4321, each);
      t.is((await stat(join(again, 'folder/file'))).mode & 0o060, 0o060);
      await writeFile(join(again, 'folder', 'later'), 'x');
      t.is((await stat(join(again, 'folder/later'))).gid, 4321, 'later');
    },
  },
];

export const volumeCases: readonly Case[] = [...nodeCases, ...provisionCases];

export function volumeConformance(
  test: KitTest,
  options: {
    readonly name: string;
    readonly capabilities: readonly VolumeCapability[];
    readonly open: (t: KitAssertions) => VolumeBed | Promise<VolumeBed>;
  },
): void {
  const { name, capabilities, open } = options;
  const declared: Case = {
    title: 'the instance has the capabilities that the plugin declares, and their verbs',
    run: async (t, bed) => {
      const driver = bed.driver();
      t.deepEqual([...driver.capabilities].sort(), [...capabilities].sort());
      const verbs = { stage: ['stage', 'unstage'], expand: ['expand'], provision: ['provision', 'delete'] } as const;
      for (const [capability, names] of Object.entries(verbs))
        for (const verb of names)
          t.is(typeof driver[verb] === 'function', driver.capabilities.includes(capability as VolumeCapability), verb);
    },
  };
  registerCases(test, { name, capabilities, cases: [...volumeCases, declared], subject: open });
}
