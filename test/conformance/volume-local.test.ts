import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { volumeConformance } from '../../kernel/conformance/volume.ts';
import type { VolumeDriver } from '../../kernel/contract/index.ts';
import { openLocalVolumes } from '../../plugins/volumes/local/local-volumes.ts';
import local from '../../plugins/volumes/local/index.ts';
import { volumeBed } from '../unit/conformance/volume-bed.ts';
import { quiet, startPlugin } from '../unit/controllers/control-plane.ts';

const options = { provisioner: 'pintle.dev/local', minFreeBytes: 0, log: quiet };

volumeConformance(test, {
  name: 'local',
  capabilities: ['expand', 'provision'],
  open: (t) =>
    volumeBed(
      t,
      (root) => openLocalVolumes({ root, ...options }),
      (path) => ({ local: { path } }),
    ),
});

async function folder(t: { teardown(undo: () => unknown): void }): Promise<string> {
  const made = await mkdtemp(join(tmpdir(), 'pintle-local-'));
  t.teardown(() => rm(made, { recursive: true, force: true }));
  return made;
}

const claim = { namespace: 'default', name: 'c', uid: 'u' };
const request = { accessModes: [], claim, parameters: {} };

test('no more is promised than the node gives, and what is deleted is free again', async (t) => {
  const driver = await openLocalVolumes({ root: await folder(t), ...options, maxBytes: 100 });
  const { source } = await driver.provision!({ ...request, name: 'one', bytes: 60 });
  await t.throwsAsync(driver.provision!({ ...request, name: 'two', bytes: 41 }), {
    code: 'VOLUME_NO_ROOM',
    message: /41 bytes are asked for, and of the 100 .* 60 are taken/,
  });
  await driver.provision!({ ...request, name: 'two', bytes: 40 });
  const meta = { name: 'one', uid: '', resourceVersion: '', creationTimestamp: '' };
  const volume = { apiVersion: 'v1', kind: 'PersistentVolume', metadata: meta, spec: source };
  await t.throwsAsync(driver.expand!(volume, 61), { code: 'VOLUME_NO_ROOM' });
  await driver.delete!(volume);
  await driver.provision!({ ...request, name: 'three', bytes: 60 });
});

test('a full file system takes no new volume', async (t) => {
  const driver = await openLocalVolumes({ root: await folder(t), ...options, minFreeBytes: Number.MAX_SAFE_INTEGER });
  await t.throwsAsync(driver.provision!({ ...request, name: 'one', bytes: 1 }), {
    code: 'VOLUME_NO_ROOM',
    message: /are kept free/,
  });
});

test('volumes stand in a folder of the node’s name when a folder is configured', async (t) => {
  const root = await folder(t);
  const driver = await startPlugin<VolumeDriver>(local, { config: { folder: root } });
  const { source } = await driver.provision!({ ...request, name: 'one', bytes: 1 });
  t.is(source.local?.path, join(root, 'node', 'one', 'data'));
});
