/**
 * The node's part of a claim's life: a claim that was given to this node gets a volume, a bound one that asks for more gets
 * more, and what its claim has left behind is deleted. Which claim goes to which node is the scheduler's decision; a claim
 * of a class that does not wait for a pod goes to the node that takes it first.
 */
import type { Clock, Cluster, Logger, VolumeDriver } from '../../../kernel/contract/index.ts';
import type {
  Node,
  PersistentVolume,
  PersistentVolumeClaim,
  StorageClass,
} from '../../../kernel/contract/kubernetes.ts';
import type { EventRecorder } from '../../../kernel/machinery/event-recorder.ts';
import { informersFor, type Informer } from '../../../kernel/machinery/informer.ts';
import { keyOf } from '../../../kernel/machinery/metadata.ts';
import { runReconciler } from '../../../kernel/machinery/reconciler.ts';
import { resources } from '../../../kernel/machinery/resources.ts';
import { isBound } from '../../../kernel/machinery/volumes/claims.ts';
import { isUsableOn } from '../../../kernel/machinery/volumes/matching.ts';
import { provisionedBy } from '../../../kernel/machinery/volumes/names.ts';
import type { Bench } from './bench.ts';
import { deleteVolume } from './delete-volume.ts';
import { expandVolume } from './expand-volume.ts';
import { provisionVolume } from './provision-volume.ts';

export interface VolumeProvisionerOptions {
  readonly cluster: Cluster;
  readonly drivers: ReadonlyMap<string, VolumeDriver>;
  readonly nodeName: string;
  readonly concurrency: number;
  readonly record: EventRecorder;
  readonly log: Logger;
  readonly clock: Clock;
}

export class VolumeProvisioner {
  readonly #options: VolumeProvisionerOptions;
  readonly #claims: Informer<PersistentVolumeClaim>;
  readonly #volumes: Informer<PersistentVolume>;
  readonly #classes: Informer<StorageClass>;
  readonly #node: Informer<Node>;
  readonly #drivers: ReadonlyMap<string, VolumeDriver>;
  readonly #pauses = new Map<string, number>();

  constructor(options: VolumeProvisionerOptions) {
    const informers = informersFor(options.cluster, options.log);
    this.#options = options;
    this.#claims = informers.get(resources.persistentVolumeClaims);
    this.#volumes = informers.get(resources.persistentVolumes);
    this.#classes = informers.get(resources.storageClasses);
    this.#node = informers.get(resources.nodes, { fieldSelector: `metadata.name=${options.nodeName}` });
    this.#drivers = new Map(
      [...options.drivers.values()]
        .filter(({ capabilities }) => capabilities.includes('provision'))
        .map((driver) => [driver.provisioner!, driver]),
    );
  }

  run(signal: AbortSignal): Promise<void> {
    const { log, clock, concurrency } = this.#options;
    return runReconciler(
      {
        name: 'volume-provisioner',
        concurrency,
        backoff: { minMs: 1_000, maxMs: 60_000 },
        log,
        clock,
        informers: [this.#claims, this.#volumes, this.#classes, this.#node],
        watch: (queue) => {
          this.#claims.onChange(({ key, object, previous }) => {
            if (object !== undefined) queue.add(`claim:${key}`);
            else if (previous !== undefined) this.#pauses.delete(previous.metadata.uid);
          });
          this.#volumes.onChange(({ key, object }) => object && queue.add(`volume:${key}`));
          const lookAtAll = () => {
            for (const claim of this.#claims.list()) if (!isBound(claim)) queue.add(`claim:${keyOf(claim)}`);
          };
          this.#classes.onChange(lookAtAll);
          this.#node.onChange(({ previous }) => {
            if (previous !== undefined) return;
            lookAtAll();
            for (const { metadata } of this.#volumes.list()) queue.add(`volume:${metadata.name}`);
          });
        },
        reconcile: (key, queue, working) => this.#reconcile(key, (afterMs) => queue.addAfter(key, afterMs), working),
      },
      signal,
    );
  }

  async #reconcile(key: string, again: (afterMs: number) => void, signal: AbortSignal): Promise<void> {
    const node = this.#node.get(this.#options.nodeName);
    if (node === undefined) return;
    const { cluster, clock, record } = this.#options;
    const bench: Bench = {
      ...{ cluster, clock, record, node, claims: this.#claims, volumes: this.#volumes, classes: this.#classes },
      pauses: this.#pauses,
      driverNamed: (provisioner) => (provisioner === undefined ? undefined : this.#drivers.get(provisioner)),
    };
    const name = key.slice(key.indexOf(':') + 1);
    if (key.startsWith('volume:')) {
      const volume = this.#volumes.get(name);
      if (volume !== undefined && this.#isOurs(volume, node)) await deleteVolume(bench, volume);
      return;
    }
    const claim = this.#claims.get(name);
    if (claim === undefined) return;
    if (!isBound(claim)) {
      await provisionVolume(bench, claim, again, signal);
      return;
    }
    const volume = this.#volumes.get(claim.spec.volumeName!);
    if (volume !== undefined && this.#isOurs(volume, node)) await expandVolume(bench, claim, volume);
  }

  /** Made by a driver of this node, and on this node. */
  #isOurs(volume: PersistentVolume, node: Node): boolean {
    const provisioner = volume.metadata.annotations?.[provisionedBy];
    return provisioner !== undefined && this.#drivers.has(provisioner) && isUsableOn(volume, node);
  }
}
