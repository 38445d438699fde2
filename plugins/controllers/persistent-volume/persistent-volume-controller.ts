/** Claims and volumes in one queue, one after the other, so that two claims never reach for one volume at a time. */
import type { Clock, Cluster, Logger } from '../../../kernel/contract/index.ts';
import type {
  Node,
  PersistentVolume,
  PersistentVolumeClaim,
  StorageClass,
} from '../../../kernel/contract/kubernetes.ts';
import type { EventRecorder } from '../../../kernel/machinery/event-recorder.ts';
import { informersFor, type Informer } from '../../../kernel/machinery/informer.ts';
import { keyOf } from '../../../kernel/machinery/metadata.ts';
import { Newest } from '../../../kernel/machinery/newest.ts';
import { runReconciler } from '../../../kernel/machinery/reconciler.ts';
import { resources } from '../../../kernel/machinery/resources.ts';
import { isBound } from '../../../kernel/machinery/volumes/claims.ts';
import type { WorkQueue } from '../../../kernel/machinery/work-queue.ts';
import type { Desk } from './binding.ts';
import { syncClaim } from './sync-claim.ts';
import { syncVolume } from './sync-volume.ts';

export interface PersistentVolumeControllerOptions {
  readonly cluster: Cluster;
  readonly record: EventRecorder;
  readonly log: Logger;
  readonly clock: Clock;
}

const ofClaim = (key: string): string => `claim:${key}`;
const ofVolume = (name: string): string => `volume:${name}`;

export class PersistentVolumeController {
  readonly #options: PersistentVolumeControllerOptions;
  readonly #claims: Informer<PersistentVolumeClaim>;
  readonly #volumes: Informer<PersistentVolume>;
  readonly #classes: Informer<StorageClass>;
  readonly #nodes: Informer<Node>;
  readonly #desk: Desk;

  constructor(options: PersistentVolumeControllerOptions) {
    const { cluster, record, clock, log } = options;
    const informers = informersFor(cluster, log);
    this.#options = options;
    this.#claims = informers.get(resources.persistentVolumeClaims);
    this.#volumes = informers.get(resources.persistentVolumes);
    this.#classes = informers.get(resources.storageClasses);
    this.#nodes = informers.get(resources.nodes);
    this.#claims.addIndex('volume', ({ spec }) => (spec?.volumeName ? [spec.volumeName] : []));
    this.#volumes.addIndex('claim', ({ spec: { claimRef } }) =>
      claimRef === undefined ? [] : [`${claimRef.namespace}/${claimRef.name}`],
    );
    this.#desk = {
      cluster,
      clock,
      record,
      claims: new Newest(this.#claims),
      volumes: new Newest(this.#volumes),
      classes: this.#classes,
      nodes: this.#nodes,
    };
  }

  run(signal: AbortSignal): Promise<void> {
    const { log, clock } = this.#options;
    return runReconciler(
      {
        name: 'persistent-volume',
        concurrency: 1,
        log,
        clock,
        informers: [this.#claims, this.#volumes, this.#classes, this.#nodes],
        watch: (queue) => this.#watch(queue),
        reconcile: (key, queue) => this.#reconcile(key, queue),
      },
      signal,
    );
  }

  #watch(queue: WorkQueue<string>): void {
    this.#claims.onChange(({ key, object, previous }) => {
      queue.add(ofClaim(key));
      const volume = object?.spec.volumeName ?? previous?.spec.volumeName;
      if (volume) queue.add(ofVolume(volume));
      if (object === undefined || object.metadata.uid !== previous?.metadata.uid)
        for (const { metadata } of this.#volumes.byIndex('claim', key)) queue.add(ofVolume(metadata.name));
    });
    this.#volumes.onChange(({ key, object, previous }) => {
      queue.add(ofVolume(key));
      for (const claim of this.#claims.byIndex('volume', key)) queue.add(ofClaim(keyOf(claim)));
      // One that became free, or is new, may be what others wait for.
      const isFree = object !== undefined && object.spec.claimRef === undefined && object.status?.phase === 'Available';
      if (isFree && previous?.status?.phase !== 'Available') this.#lookAtWaiting(queue);
    });
    this.#classes.onChange(() => this.#lookAtWaiting(queue));
    this.#nodes.onChange(({ object }) => {
      if (object !== undefined) return;
      this.#lookAtWaiting(queue);
      for (const { metadata, status } of this.#volumes.list())
        if (status?.phase === 'Released') queue.add(ofVolume(metadata.name));
    });
  }

  #lookAtWaiting(queue: WorkQueue<string>): void {
    for (const claim of this.#claims.list()) if (!isBound(claim)) queue.add(ofClaim(keyOf(claim)));
  }

  async #reconcile(key: string, queue: WorkQueue<string>): Promise<void> {
    const colon = key.indexOf(':');
    const name = key.slice(colon + 1);
    if (key.startsWith('claim:')) {
      const claim = this.#desk.claims.get(name);
      if (claim !== undefined) await syncClaim(this.#desk, claim);
      return;
    }
    const volume = this.#desk.volumes.get(name);
    if (volume !== undefined) await syncVolume(this.#desk, volume, (claim) => queue.add(ofClaim(claim)));
  }
}
