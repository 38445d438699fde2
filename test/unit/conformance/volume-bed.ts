/** Beds for the kit of kind `volume` on a temporary folder. */
import { mkdir, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import type { VolumeBed } from '../../../kernel/conformance/volume.ts';
import type { VolumeDriver } from '../../../kernel/contract/index.ts';
import type { PersistentVolume, PersistentVolumeSource } from '../../../kernel/contract/kubernetes.ts';

/** Names of everything below `root`, without what is in the volumes' own folders. */
async function namesBelow(root: string, own: ReadonlySet<string>): Promise<string> {
  const entries = await readdir(root, { recursive: true, withFileTypes: true });
  const paths = entries.map((entry) => join(entry.parentPath, entry.name));
  const isContent = (path: string) => [...own].some((folder) => path.startsWith(`${folder}/`));
  return paths
    .filter((path) => !isContent(path))
    .map((path) => relative(root, path))
    .sort()
    .join('\n');
}

export async function volumeBed(
  t: { teardown(undo: () => unknown): void },
  open: (stateDir: string) => Promise<VolumeDriver & AsyncDisposable>,
  sourceOf: (path: string) => PersistentVolumeSource,
): Promise<VolumeBed> {
  const root = await mkdtemp(join(tmpdir(), 'pintle-volume-kit-'));
  t.teardown(() => rm(root, { recursive: true, force: true }));
  const [state, pods, byHand] = ['state', 'pods', 'by-hand'].map((name) => join(root, name)) as [
    string,
    string,
    string,
  ];
  for (const folder of [state, pods, byHand]) await mkdir(folder);
  let driver = await open(state);
  t.teardown(() => driver[Symbol.asyncDispose]());
  const own = new Set<string>();
  const places = new Map<string, string>();
  let serial = 0;
  return {
    driver: () => driver,
    restart: async () => {
      await driver[Symbol.asyncDispose]();
      return (driver = await open(state));
    },
    volume: async () => {
      const name = `volume-${++serial}`;
      const path = join(byHand, name);
      await mkdir(path);
      own.add(path);
      places.set(name, path);
      const metadata = { name, uid: name, resourceVersion: '1', creationTimestamp: '' };
      const spec = { ...sourceOf(path), capacity: { storage: '1Gi' }, accessModes: ['ReadWriteOnce'] };
      return { apiVersion: 'v1', kind: 'PersistentVolume', metadata, spec } satisfies PersistentVolume;
    },
    lose: async (volume) => {
      await rm(places.get(volume.metadata.name)!, { recursive: true });
    },
    podsFolder: pods,
    traces: async () => namesBelow(root, new Set([...own, ...(await dataFolders(state))])),
    canGive: process.getuid!() === 0,
  };
}

async function dataFolders(state: string): Promise<readonly string[]> {
  return (await readdir(state)).map((name) => join(state, name, 'data'));
}
