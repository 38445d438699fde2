/**
 * The finalizers kubernetes.io/pvc-protection and kubernetes.io/pv-protection: on every claim and volume, and taken away
 * from one that is being deleted as soon as nobody uses it.
 */
import {
  isPintleError,
  type Clock,
  type Cluster,
  type KubernetesObject,
  type Logger,
  type ResourceType,
} from '../../../kernel/contract/index.ts';
import type { PersistentVolume, PersistentVolumeClaim, Pod } from '../../../kernel/contract/kubernetes.ts';
import { informersFor, type Informer } from '../../../kernel/machinery/informer.ts';
import { keyOf, splitKey } from '../../../kernel/machinery/metadata.ts';
import { isPodTerminal } from '../../../kernel/machinery/pod-status.ts';
import { runReconciler } from '../../../kernel/machinery/reconciler.ts';
import { resources } from '../../../kernel/machinery/resources.ts';
import { claimsOfPod, isClaimOfPod } from '../../../kernel/machinery/volumes/claims.ts';
import { claimProtection, volumeProtection } from '../../../kernel/machinery/volumes/names.ts';

export interface VolumeProtectionOptions {
  readonly cluster: Cluster;
  readonly concurrency: number;
  readonly log: Logger;
  readonly clock: Clock;
}

const claimKeys = (pod: Pod): string[] => claimsOfPod(pod).map(({ claim }) => `${pod.metadata.namespace}/${claim}`);

/**
 * Only a pod that has a node counts: before that its node has not seen it, and will refuse a claim that is being deleted.
 * One that has ended still has its place on the node, and gives back only what was made for it alone.
 */
function uses(pod: Pod, claim: PersistentVolumeClaim): boolean {
  if (!pod.spec.nodeName) return false;
  return claimsOfPod(pod).some(
    (use) =>
      use.claim === claim.metadata.name && (!use.isEphemeral || (!isPodTerminal(pod) && isClaimOfPod(pod, claim))),
  );
}

export class VolumeProtectionController {
  readonly #options: VolumeProtectionOptions;
  readonly #claims: Informer<PersistentVolumeClaim>;
  readonly #volumes: Informer<PersistentVolume>;
  readonly #pods: Informer<Pod>;

  constructor(options: VolumeProtectionOptions) {
    const informers = informersFor(options.cluster, options.log);
    this.#options = options;
    this.#claims = informers.get(resources.persistentVolumeClaims);
    this.#volumes = informers.get(resources.persistentVolumes);
    this.#pods = informers.get(resources.pods);
    this.#pods.addIndex('claim', claimKeys);
  }

  run(signal: AbortSignal): Promise<void> {
    const { log, clock, concurrency } = this.#options;
    return runReconciler(
      {
        name: 'volume-protection',
        concurrency,
        log,
        clock,
        informers: [this.#claims, this.#volumes, this.#pods],
        watch: (queue) => {
          this.#claims.onChange(({ key, object }) => object && queue.add(`claim:${key}`));
          this.#volumes.onChange(({ key, object }) => object && queue.add(`volume:${key}`));
          this.#pods.onChange(({ object, previous }) => {
            const isOver = object === undefined || isPodTerminal(object);
            if (isOver) for (const key of claimKeys((object ?? previous)!)) queue.add(`claim:${key}`);
          });
        },
        reconcile: (key) => {
          const name = key.slice(key.indexOf(':') + 1);
          return key.startsWith('claim:') ? this.#syncClaim(name) : this.#syncVolume(name);
        },
      },
      signal,
    );
  }

  async #syncClaim(key: string): Promise<void> {
    const claim = this.#claims.get(key);
    if (claim === undefined) return;
    const isFree = async (): Promise<boolean> => {
      if (this.#pods.byIndex('claim', key).some((pod) => uses(pod, claim))) return false;
      // A pod may have got its node before this copy saw it.
      const { items } = await this.#options.cluster.list(resources.pods, { namespace: claim.metadata.namespace });
      return !items.some((pod) => uses(pod, claim));
    };
    await this.#keep(resources.persistentVolumeClaims, claim, claimProtection, isFree);
  }

  async #syncVolume(name: string): Promise<void> {
    const volume = this.#volumes.get(name);
    if (volume === undefined) return;
    const isFree = async (): Promise<boolean> => volume.status?.phase !== 'Bound';
    await this.#keep(resources.persistentVolumes, volume, volumeProtection, isFree);
  }

  async #keep<T extends KubernetesObject>(
    type: ResourceType<T>,
    object: T,
    finalizer: string,
    isFree: () => Promise<boolean>,
  ): Promise<void> {
    const { uid, resourceVersion, deletionTimestamp, finalizers = [] } = object.metadata;
    const isProtected = finalizers.includes(finalizer);
    let wanted: readonly string[];
    if (deletionTimestamp === undefined) {
      if (isProtected) return;
      wanted = [...finalizers, finalizer];
    } else {
      if (!isProtected || !(await isFree())) return;
      wanted = finalizers.filter((each) => each !== finalizer);
    }
    const body = { metadata: { uid, resourceVersion, finalizers: wanted.length === 0 ? null : wanted } };
    try {
      await this.#options.cluster.patch(type, splitKey(keyOf(object)), { kind: 'merge', body });
    } catch (error) {
      if (!isPintleError(error, 'NOT_FOUND')) throw error;
    }
  }
}
