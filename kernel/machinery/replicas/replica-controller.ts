/**
 * Creates and deletes pods until a ReplicaSet, or a ReplicationController, has as many as it asks for, and reports how
 * many it has.
 */
import type { Clock, Cluster, Logger, ResourceType } from '../../contract/index.ts';
import type { Pod } from '../../contract/kubernetes.ts';
import { ownerIndex } from '../adoption.ts';
import type { EventRecorder } from '../event-recorder.ts';
import type { Informer } from '../informer.ts';
import { controllerOf } from '../metadata.ts';
import { OwnedObjects } from '../owned-objects.ts';
import { isPodActive, isPodTerminal } from '../pod-status.ts';
import { runReconciler } from '../reconciler.ts';
import type { Selector } from '../selectors.ts';
import type { WorkQueue } from '../work-queue.ts';
import { podOfTemplate } from './pod-of-template.ts';
import type { Replicated } from './replicated.ts';
import { replicaStatus } from './replica-status.ts';
import { byDeletionOrder } from './scale-down-order.ts';
import { slowStart } from './slow-start.ts';

/** What the kinds differ in. */
export interface ReplicaKind<T extends Replicated> {
  readonly type: ResourceType<T>;
  readonly selectorOf: (set: T) => Selector;
  /** status.terminatingReplicas is a field of this kind. */
  readonly countsTerminating: boolean;
}

export interface ReplicaControllerOptions<T extends Replicated> {
  readonly kind: ReplicaKind<T>;
  readonly cluster: Cluster;
  readonly concurrency: number;
  readonly burst: number;
  readonly record: EventRecorder;
  readonly log: Logger;
  readonly clock: Clock;
}

export class ReplicaController<T extends Replicated> {
  readonly #options: ReplicaControllerOptions<T>;
  readonly #owned: OwnedObjects<T>;

  constructor(options: ReplicaControllerOptions<T>) {
    const { type, selectorOf } = options.kind;
    this.#options = options;
    this.#owned = new OwnedObjects<T>({ ...options, type, selectorOf });
  }

  run(signal: AbortSignal): Promise<void> {
    return runReconciler(
      {
        ...this.#options,
        name: this.#options.kind.type.resource,
        informers: [this.#owned.owners as Informer<Replicated>, this.#owned.pods],
        watch: (queue) => this.#watch(queue),
        reconcile: (key, queue) => this.#reconcile(key, queue),
      },
      signal,
    );
  }

  #watch(queue: WorkQueue<string>): void {
    this.#owned.watch(queue, this.#owned.pods);
    this.#owned.owners.addIndex('owner', ownerIndex);
  }

  async #reconcile(key: string, queue: WorkQueue<string>): Promise<void> {
    const set = this.#owned.due(key, queue);
    if (set === undefined) return;
    const pods = await this.#owned.claimPods(key, set, (pod) => !isPodTerminal(pod));
    this.#owned.pace.worked(key, pods.length);
    const active = pods.filter(isPodActive);
    let failure: Error | undefined;
    if (set.metadata.deletionTimestamp === undefined) failure = await this.#scale(key, set, active);
    await this.#writeStatus(key, set, pods, failure, queue);
    if (failure !== undefined) throw failure;
  }

  /** Resolves to what went wrong, when something did. */
  async #scale(key: string, set: T, active: readonly Pod[]): Promise<Error | undefined> {
    const missing = (set.spec.replicas ?? 1) - active.length;
    try {
      const { burst } = this.#options;
      const create = async () => void (await this.#owned.createPod(key, set, podOfTemplate(set, set.spec.template)));
      if (missing > 0) await slowStart(Math.min(missing, burst), create);
      else if (missing < 0) {
        const order = byDeletionOrder(active, this.#relatedPods(set), this.#options.clock.now());
        await this.#owned.deletePods(key, set, order.slice(0, Math.min(-missing, burst)));
      }
      return undefined;
    } catch (error) {
      return error instanceof Error ? error : new Error(String(error));
    }
  }

  /** Active pods of all sets of the same owner: two of them on one node are worth less than one each on two. */
  #relatedPods(set: T): readonly Pod[] {
    const owner = controllerOf(set);
    const siblings = owner === undefined ? [set] : this.#owned.owners.byIndex('owner', owner.uid);
    return siblings.flatMap((sibling) => this.#owned.pods.byIndex('owner', sibling.metadata.uid)).filter(isPodActive);
  }

  async #writeStatus(
    key: string,
    set: T,
    pods: readonly Pod[],
    failure: Error | undefined,
    queue: WorkQueue<string>,
  ): Promise<void> {
    const { clock, kind } = this.#options;
    const { status, nextInMs } = replicaStatus(set, pods, failure, clock.now(), kind.countsTerminating);
    if (nextInMs !== undefined) queue.addAfter(key, nextInMs + 10);
    if (status !== undefined) await this.#owned.writeStatus(key, { ...set, status });
  }
}
