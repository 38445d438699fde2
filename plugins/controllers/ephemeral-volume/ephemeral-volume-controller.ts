/** One claim for each generic ephemeral volume of a pod; the pod owns it, so that it goes with the pod. */
import { isPintleError, type Clock, type Cluster, type Logger } from '../../../kernel/contract/index.ts';
import type { PersistentVolumeClaim, Pod, Volume } from '../../../kernel/contract/kubernetes.ts';
import type { EventRecorder } from '../../../kernel/machinery/event-recorder.ts';
import { informersFor, type Informer } from '../../../kernel/machinery/informer.ts';
import { ownerReference } from '../../../kernel/machinery/metadata.ts';
import { isPodTerminal } from '../../../kernel/machinery/pod-status.ts';
import { runReconciler } from '../../../kernel/machinery/reconciler.ts';
import { resources } from '../../../kernel/machinery/resources.ts';
import { claimsOfPod, ephemeralClaimName, isClaimOfPod } from '../../../kernel/machinery/volumes/claims.ts';

export interface EphemeralVolumeOptions {
  readonly cluster: Cluster;
  readonly record: EventRecorder;
  readonly concurrency: number;
  readonly log: Logger;
  readonly clock: Clock;
}

export class EphemeralVolumeController {
  readonly #options: EphemeralVolumeOptions;
  readonly #pods: Informer<Pod>;
  readonly #claims: Informer<PersistentVolumeClaim>;

  constructor(options: EphemeralVolumeOptions) {
    const informers = informersFor(options.cluster, options.log);
    this.#options = options;
    this.#pods = informers.get(resources.pods);
    this.#claims = informers.get(resources.persistentVolumeClaims);
    this.#pods.addIndex('ephemeral-claim', (pod) =>
      claimsOfPod(pod)
        .filter(({ isEphemeral }) => isEphemeral)
        .map(({ claim }) => `${pod.metadata.namespace}/${claim}`),
    );
  }

  run(signal: AbortSignal): Promise<void> {
    const { log, clock, concurrency } = this.#options;
    return runReconciler(
      {
        name: 'ephemeral-volume',
        concurrency,
        log,
        clock,
        informers: [this.#pods, this.#claims],
        watch: (queue) => {
          this.#pods.onChange(({ key, object }) => {
            if (object?.spec.volumes?.some(({ ephemeral }) => ephemeral !== undefined)) queue.add(key);
          });
          this.#claims.onChange(({ key, object }) => {
            if (object !== undefined) return;
            for (const { metadata } of this.#pods.byIndex('ephemeral-claim', key))
              queue.add(`${metadata.namespace}/${metadata.name}`);
          });
        },
        reconcile: (key) => this.#reconcile(key),
      },
      signal,
    );
  }

  async #reconcile(key: string): Promise<void> {
    const pod = this.#pods.get(key);
    if (pod === undefined || pod.metadata.deletionTimestamp !== undefined || isPodTerminal(pod)) return;
    for (const volume of pod.spec.volumes ?? []) if (volume.ephemeral !== undefined) await this.#ensure(pod, volume);
  }

  async #ensure(pod: Pod, volume: Volume): Promise<void> {
    const name = ephemeralClaimName(pod, volume);
    const { namespace } = pod.metadata;
    const known = this.#claims.get(`${namespace}/${name}`);
    if (known !== undefined) {
      if (!isClaimOfPod(pod, known)) this.#refuse(pod, volume, name);
      return;
    }
    const template = volume.ephemeral?.volumeClaimTemplate;
    if (template === undefined) return;
    const { labels, annotations } = template.metadata ?? {};
    const metadata = {
      ...{ namespace, name, ...(labels && { labels }), ...(annotations && { annotations }) },
      ownerReferences: [ownerReference(pod)],
    };
    try {
      await this.#options.cluster.create(resources.persistentVolumeClaims, { metadata, spec: template.spec });
    } catch (error) {
      if (isPintleError(error, 'ALREADY_EXISTS')) {
        const live = await this.#options.cluster.get(resources.persistentVolumeClaims, { namespace, name });
        if (!isClaimOfPod(pod, live)) this.#refuse(pod, volume, name);
        return;
      }
      const message = `ephemeral volume ${volume.name}: create PVC ${name}: ${error instanceof Error ? error.message : String(error)}`;
      this.#options.record(pod, 'Warning', 'FailedBinding', message);
      throw error;
    }
  }

  #refuse(pod: Pod, volume: Volume, claim: string): void {
    const message = `ephemeral volume ${volume.name}: PVC ${pod.metadata.namespace}/${claim} was not created for pod ${pod.metadata.namespace}/${pod.metadata.name} (pod is not owner)`;
    this.#options.record(pod, 'Warning', 'FailedBinding', message);
  }
}
