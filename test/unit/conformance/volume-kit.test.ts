import { mkdir, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import test from 'ava';
import { recordCases } from '../../../kernel/conformance/recorder.ts';
import { volumeConformance } from '../../../kernel/conformance/volume.ts';
import type { VolumeDriver } from '../../../kernel/contract/index.ts';
import { openLocalVolumes } from '../../../plugins/volumes/local/local-volumes.ts';
import { quiet } from '../controllers/control-plane.ts';
import { volumeBed } from './volume-bed.ts';

type Driver = VolumeDriver & AsyncDisposable;

/** Ways to be wrong, each as a change of a driver that is right. */
const flaws: Readonly<Record<string, (driver: Driver) => Partial<Driver>>> = {
  'serves everything': () => ({ serves: () => true }),
  'makes up lost data': ({ publish }) => ({
    publish: async (request) => {
      await mkdir(request.volume.spec.local!.path, { recursive: true });
      return publish(request);
    },
  }),
  'a folder for each pod': () => ({
    publish: async ({ target }) => {
      await mkdir(target, { recursive: true });
      return { path: target };
    },
    unpublish: async ({ target }) => rm(target, { recursive: true, force: true }),
  }),
  'unpublish empties the volume': () => ({
    unpublish: async ({ volume }) => {
      const path = volume.spec.local!.path;
      await rm(path, { recursive: true, force: true });
      await mkdir(path, { recursive: true });
    },
  }),
  'unpublish leaves its record': ({ publish }) => ({
    publish: async (request) => {
      await writeFile(join(dirname(request.target), 'record'), '');
      return publish(request);
    },
  }),
  'unpublish of the unknown fails': () => ({
    unpublish: async ({ podUid }) => {
      if (podUid === 'uid-never') throw new Error('unknown pod');
    },
  }),
  'provision starts over': (driver) => ({
    provision: async (request) => {
      const made = await driver.provision!(request);
      await rm(join(made.source.local!.path, 'file'), { force: true });
      return made;
    },
  }),
  'one volume for all claims': (driver) => ({
    provision: (request) => driver.provision!({ ...request, name: 'pvc-one' }),
  }),
  'takes any parameter': (driver) => ({
    provision: (request) => driver.provision!({ ...request, parameters: {} }),
  }),
  'delete forgets the data': () => ({ delete: async () => undefined }),
  'deletes what it did not make': () => ({
    delete: async ({ spec }) => rm(dirname(spec.local!.path), { recursive: true, force: true }),
  }),
  'expand does nothing': () => ({ expand: async () => 1 }),
  'no expand': () => ({ expand: undefined as never }),
  'too small': (driver) => ({
    provision: async (request) => ({ ...(await driver.provision!(request)), bytes: 1 }),
  }),
};

async function failedCases(flaw: string | undefined): Promise<string[]> {
  const { test: recorder, run } = recordCases(flaw === undefined ? { timeoutMs: 60_000 } : {});
  volumeConformance(recorder, {
    name: 'x',
    capabilities: ['expand', 'provision'],
    open: (t) =>
      volumeBed(
        t,
        async (root) => {
          const driver = await openLocalVolumes({ root, provisioner: 'x', minFreeBytes: 0, log: quiet });
          return flaw === undefined ? driver : { ...driver, ...flaws[flaw]!(driver) };
        },
        (path) => ({ local: { path } }),
      ),
  });
  return (await run())
    .filter(({ outcome }) => outcome === 'failed')
    .map(({ title, failures }) => `${title}: ${failures.join('; ')}`);
}

test('the kit passes a sound driver', async (t) => {
  t.deepEqual(await failedCases(undefined), []);
});

const noticedBy: Readonly<Record<string, RegExp>> = {
  'serves everything': /its own volumes and no others/,
  'makes up lost data': /nothing is made in its place/,
  'a folder for each pod': /share its files/,
  'unpublish empties the volume': /share its files/,
  'unpublish leaves its record': /leave nothing but the data/,
  'unpublish of the unknown fails': /leave nothing but the data/,
  'provision starts over': /answers the same volume/,
  'one volume for all claims': /at once are different ones/,
  'takes any parameter': /does not know is refused/,
  'delete forgets the data': /every trace of it/,
  'deletes what it did not make': /did not provision/,
  'expand does nothing': /never shrinks/,
  'no expand': /and their verbs/,
  'too small': /large enough/,
};

for (const flaw of Object.keys(flaws)) {
  test(`the kit notices: ${flaw}`, async (t) => {
    const failed = await failedCases(flaw);
    t.true(
      failed.some((one) => noticedBy[flaw]!.test(one)),
      `failed: ${failed.join('\n')}`,
    );
  });
}
