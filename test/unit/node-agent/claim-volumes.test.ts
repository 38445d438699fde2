import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { PintleError, type PublishRequest, type VolumeDriver } from '../../../kernel/contract/index.ts';
import type { PersistentVolumeSpec, Pod, PodSpec } from '../../../kernel/contract/kubernetes.ts';
import { resources } from '../../../kernel/machinery/resources.ts';
import type { SpecSources } from '../../../plugins/components/node-agent/container-spec.ts';
import { createPodVolumes } from '../../../plugins/components/node-agent/volumes.ts';
import { makeNode, openControlPlane, quiet } from '../controllers/control-plane.ts';

const namespace = 'default';
const sources = {} as SpecSources;

/** Says what it was asked, and refuses with `refusal`. */
function fakeDriver(folder: string) {
  const calls: string[] = [];
  const state: { refusal: PintleError | undefined; last: PublishRequest | undefined } = {
    refusal: undefined,
    last: undefined,
  };
  const driver: VolumeDriver = {
    capabilities: ['stage'],
    serves: (spec) => spec.hostPath !== undefined,
    stage: async ({ metadata }) => void calls.push(`stage ${metadata.name}`),
    unstage: async ({ metadata }) => void calls.push(`unstage ${metadata.name}`),
    publish: async (request) => {
      state.last = request;
      calls.push(`publish ${request.volume.metadata.name} ${request.podUid}`);
      if (state.refusal) throw state.refusal;
      return { path: folder };
    },
    unpublish: async ({ volume, podUid }) => void calls.push(`unpublish ${volume.metadata.name} ${podUid}`),
  };
  return { driver, calls, state };
}

async function open(t: { teardown(undo: () => unknown): void }) {
  const { cluster } = await openControlPlane(t);
  const folder = mkdtempSync(join(tmpdir(), 'pintle-claims-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const root = join(folder, 'pods');
  mkdirSync(root);
  const node = await makeNode(cluster, 'a', { labels: { zone: 'one' } });
  const fake = fakeDriver(folder);
  const start = (drivers = new Map([['fake', fake.driver]])) =>
    createPodVolumes(root, { cluster, drivers, log: quiet, node: () => node });
  const claim = (name: string) =>
    cluster.create(resources.persistentVolumeClaims, {
      metadata: { namespace, name },
      spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } }, storageClassName: '' },
    });
  const bind = async (claimName: string, name: string, more: Partial<PersistentVolumeSpec> = {}) => {
    const { metadata } = await cluster.get(resources.persistentVolumeClaims, { namespace, name: claimName });
    await cluster.create(resources.persistentVolumes, {
      metadata: { name },
      spec: {
        accessModes: ['ReadWriteOnce'],
        capacity: { storage: '1Gi' },
        hostPath: { path: '/x' },
        claimRef: { namespace, name: claimName, uid: metadata.uid },
        ...more,
      },
    });
    const annotations = { 'pv.kubernetes.io/bind-completed': 'yes' };
    const body = { metadata: { annotations }, spec: { volumeName: name } };
    await cluster.patch(resources.persistentVolumeClaims, { namespace, name: claimName }, { kind: 'merge', body });
  };
  return { cluster, root, ...fake, start, claim, bind };
}

const pod = (uid: string, claimName: string, spec: Partial<PodSpec> = {}, readOnly = false): Pod => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name: `pod-${uid}`, namespace, uid, resourceVersion: '', creationTimestamp: '' },
  spec: { containers: [], volumes: [{ name: 'v', persistentVolumeClaim: { claimName, readOnly } }], ...spec },
});

test('what is missing is said, one after the other, until the volume is published', async (t) => {
  const { start, claim, bind, state, calls, root } = await open(t);
  const volumes = start();
  const says = (message: RegExp) => t.throwsAsync(volumes.prepare(pod('u', 'c'), sources), { message });
  await says(/MountVolume\.SetUp failed for volume "v" : error processing PVC default\/c: .* "c" not found/);
  await claim('c');
  await says(/PVC is not bound/);
  await bind('c', 'pv');
  state.refusal = new PintleError('VOLUME_NOT_FOUND', 'its folder is gone');
  await says(/MountVolume\.SetUp failed for volume "pv" : its folder is gone/);
  state.refusal = undefined;
  const definition = pod('u', 'c', { securityContext: { fsGroup: 7, fsGroupChangePolicy: 'OnRootMismatch' } }, true);
  const prepared = await volumes.prepare(definition, sources);
  t.true(prepared.get('v')?.isReadOnly);
  t.like(state.last, { fsGroup: 7, fsGroupChangePolicy: 'OnRootMismatch', target: join(root, 'u', 'volumes', 'v') });
  calls.length = 0;
  await volumes.prepare(definition, sources);
  t.deepEqual(calls, [], 'published once');
});

test('a later agent publishes again without the API, and unpublishes; the last pod unstages', async (t) => {
  const { cluster, start, claim, bind, calls, root } = await open(t);
  await claim('c');
  await bind('c', 'pv');
  const first = start();
  await first.prepare(pod('one', 'c'), sources);
  await first.prepare(pod('two', 'c'), sources);
  const body = { metadata: { finalizers: null } };
  await cluster.patch(resources.persistentVolumeClaims, { namespace, name: 'c' }, { kind: 'merge', body });
  await cluster.delete(resources.persistentVolumeClaims, { namespace, name: 'c' });
  calls.length = 0;
  const second = start();
  await second.prepare(pod('one', 'c'), sources);
  t.deepEqual(calls, ['stage pv', 'publish pv one']);
  await t.throwsAsync(second.prepare(pod('three', 'c'), sources), { message: /"c" not found/ });
  calls.length = 0;
  await second.remove('one');
  t.deepEqual(calls, ['unpublish pv one']);
  await second.remove('two');
  t.deepEqual(calls, ['unpublish pv one', 'unpublish pv two', 'unstage pv']);
  await second.remove('two');
  t.is(calls.length, 3);
  t.deepEqual(
    readdirSync(root).filter((name) => name !== 'three'),
    [],
  );
});

test('a record that was half written is none', async (t) => {
  const { start, claim, bind, calls, root } = await open(t);
  await claim('c');
  await bind('c', 'pv');
  mkdirSync(join(root, 'u', 'published'), { recursive: true });
  const { writeFileSync } = await import('node:fs');
  writeFileSync(join(root, 'u', 'published', 'v.json'), '{"driver"');
  const volumes = start();
  await volumes.prepare(pod('u', 'c'), sources);
  t.deepEqual(calls, ['stage pv', 'publish pv u']);
  await volumes.remove('u');
  t.false(existsSync(join(root, 'u')));
});

test('refused: the wrong node, block devices, no driver, a claim that goes, another pod’s ephemeral claim', async (t) => {
  const { cluster, start, claim, bind } = await open(t);
  const volumes = start();
  const says = (definition: Pod, message: RegExp) => t.throwsAsync(volumes.prepare(definition, sources), { message });
  const terms = [{ matchExpressions: [{ key: 'zone', operator: 'In', values: ['two'] }] }];
  const cases: readonly (readonly [string, Partial<PersistentVolumeSpec>, RegExp])[] = [
    ['far', { nodeAffinity: { required: { nodeSelectorTerms: terms } } }, /volume node affinity check failed/],
    ['block', { volumeMode: 'Block' }, /block volumes are not supported/],
    ['nfs', { hostPath: undefined as never, nfs: { server: 's', path: '/' } }, /no volume driver of this node serves/],
  ];
  for (const [name, more, message] of cases) {
    await claim(name);
    await bind(name, name, more);
    await says(pod(name, name), message);
  }
  await claim('going');
  await cluster.delete(resources.persistentVolumeClaims, { namespace, name: 'going' });
  await says(pod('u', 'going'), /PVC is being deleted/);
  await claim('pod-u-v');
  const ephemeral = { volumes: [{ name: 'v', ephemeral: { volumeClaimTemplate: { spec: {} } } }] };
  await says(pod('u', '', ephemeral as Partial<PodSpec>), /pod is not owner/);
  await claim('gone-driver');
  await bind('gone-driver', 'pv');
  await volumes.prepare(pod('d', 'gone-driver'), sources);
  const without = start(new Map());
  await t.throwsAsync(without.prepare(pod('d', 'gone-driver'), sources), { message: /fake is not configured/ });
  await without.remove('d');
});
