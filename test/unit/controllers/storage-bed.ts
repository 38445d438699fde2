/** A control plane with everything that storage needs: controllers, scheduler, and nodes whose volumes are real folders. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Component, NewObject, SchedulerPolicy } from '../../../kernel/contract/index.ts';
import type {
  PersistentVolume,
  PersistentVolumeClaim,
  PersistentVolumeClaimSpec,
  PersistentVolumeSpec,
  Pod,
  StorageClass,
} from '../../../kernel/contract/kubernetes.ts';
import { systemClock } from '../../../kernel/machinery/clock.ts';
import { eventRecorder } from '../../../kernel/machinery/event-recorder.ts';
import { findCondition } from '../../../kernel/machinery/metadata.ts';
import { resources } from '../../../kernel/machinery/resources.ts';
import { VolumeProvisioner } from '../../../plugins/components/volume-provisioner/volume-provisioner.ts';
import scheduler from '../../../plugins/components/scheduler/index.ts';
import ephemeralVolume from '../../../plugins/controllers/ephemeral-volume/index.ts';
import persistentVolume from '../../../plugins/controllers/persistent-volume/index.ts';
import storageClass from '../../../plugins/controllers/storage-class/index.ts';
import volumeProtection from '../../../plugins/controllers/volume-protection/index.ts';
import spread from '../../../plugins/schedulers/spread/index.ts';
import { openLocalVolumes } from '../../../plugins/volumes/local/local-volumes.ts';
import { eventually, find, makeNode, openControlPlane, podSpec, quiet, startPlugin } from './control-plane.ts';

type Test = { teardown(undo: () => unknown): void };
const namespace = 'default';

export async function openStorage(t: Test) {
  const { cluster, controller } = await openControlPlane(t);
  const folder = await mkdtemp(join(tmpdir(), 'pintle-storage-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  for (const plugin of [persistentVolume, volumeProtection, ephemeralVolume, storageClass]) await controller(plugin);
  const policies = new Map([['spread', await startPlugin<SchedulerPolicy>(spread)]]);
  const loop = await startPlugin<Component>(scheduler, { uses: { cluster, scheduler: policies } });
  t.teardown(() => loop[Symbol.asyncDispose]());
  await eventually('the default class', () => find(cluster, resources.storageClasses, { name: 'local' }));

  const claim = (name: string) => find(cluster, resources.persistentVolumeClaims, { namespace, name });
  const volume = (name: string) => find(cluster, resources.persistentVolumes, { name });
  const pod = (name: string) => find(cluster, resources.pods, { namespace, name });
  const claimSpec = (more: Partial<PersistentVolumeClaimSpec> = {}, size = '1Mi'): PersistentVolumeClaimSpec => ({
    accessModes: ['ReadWriteOnce'],
    resources: { requests: { storage: size } },
    ...more,
  });

  return {
    ...{ cluster, folder, claim, volume, pod, claimSpec },

    /** A node with a provisioner of its own. */
    async node(name: string, options: { readonly maxBytes?: number } = {}) {
      await makeNode(cluster, name, { labels: { 'kubernetes.io/hostname': name } });
      const { mkdir } = await import('node:fs/promises');
      const root = join(folder, name);
      await mkdir(root);
      const driver = await openLocalVolumes({
        ...{ root, provisioner: 'pintle.dev/local', minFreeBytes: 0, log: quiet },
        ...options,
      });
      const record = eventRecorder(cluster, { component: 'volume-provisioner', host: name, clock: systemClock });
      const stop = new AbortController();
      const running = new VolumeProvisioner({
        ...{ cluster, nodeName: name, concurrency: 2, record, log: quiet, clock: systemClock },
        drivers: new Map([['local', driver]]),
      }).run(stop.signal);
      t.teardown(async () => {
        stop.abort();
        await running;
      });
    },

    makeClaim: (name: string, more: Partial<PersistentVolumeClaimSpec> = {}, size = '1Mi') =>
      cluster.create(resources.persistentVolumeClaims, { metadata: { namespace, name }, spec: claimSpec(more, size) }),

    makeVolume: (name: string, spec: Partial<PersistentVolumeSpec> = {}, labels: Record<string, string> = {}) =>
      cluster.create(resources.persistentVolumes, {
        metadata: { name, labels },
        spec: {
          accessModes: ['ReadWriteOnce'],
          capacity: { storage: '1Gi' },
          hostPath: { path: `/srv/${name}` },
          ...spec,
        },
      }),

    makeClass: (name: string, more: Partial<StorageClass> = {}) =>
      cluster.create(resources.storageClasses, {
        metadata: { name },
        provisioner: 'pintle.dev/local',
        ...more,
      } as NewObject<StorageClass>),

    makePod: (name: string, ...claims: readonly string[]) =>
      cluster.create(resources.pods, {
        metadata: { namespace, name },
        spec: podSpec({
          volumes: claims.map((claimName) => ({ name: claimName, persistentVolumeClaim: { claimName } })),
        }),
      }),

    /** As a node's agent ends it. */
    endPod: async (name: string) =>
      void (await cluster.delete(resources.pods, { namespace, name }, { gracePeriodSeconds: 0 })),

    deleteClaim: async (name: string) =>
      void (await cluster.delete(resources.persistentVolumeClaims, { namespace, name })),

    claimPhase: (name: string, phase: string): Promise<PersistentVolumeClaim> =>
      eventually(`claim ${name} ${phase}`, async () => {
        const found = await claim(name);
        return found?.status?.phase === phase && found;
      }),

    volumePhase: (name: string, phase: string): Promise<PersistentVolume> =>
      eventually(`volume ${name} ${phase}`, async () => {
        const found = await volume(name);
        return found?.status?.phase === phase && found;
      }),

    placed: (name: string): Promise<Pod> =>
      eventually(`pod ${name} has a node`, async () => {
        const found = await pod(name);
        return Boolean(found?.spec.nodeName) && found;
      }),

    unschedulable: (name: string, message: string | RegExp) =>
      eventually(`pod ${name}: ${message}`, async () => {
        const condition = findCondition((await pod(name))?.status?.conditions, 'PodScheduled');
        const text = condition?.status === 'False' ? (condition.message ?? '') : '';
        // What preemption could do about it has tests of its own.
        return typeof message === 'string' ? text.split(' preemption:')[0] === message : message.test(text);
      }),

    event: (name: string, reason: string) =>
      eventually(`event ${reason} of ${name}`, async () => {
        const { items } = await cluster.list(resources.events);
        return items.find((each) => each.involvedObject.name === name && each.reason === reason)?.message;
      }),
  };
}
