/**
 * Creates and deletes pods until a ReplicaSet, or a ReplicationController, has as many as it asks for, and reports how
 * many it has.
 */
import { isPintleError, type Clock, type Cluster, type Logger, type ResourceType } from '../../contract/index.ts';
import type { Pod } from '../../contract/kubernetes.ts';
import { claim, ownerIndex, unmanaged } from '../adoption.ts';
import type { EventRecorder } from '../event-recorder.ts';
import { Expectations } from '../expectations.ts';
import { informersFor, type Informer } from '../informer.ts';
import { controllerOf, keyOf, splitKey } from '../metadata.ts';
import { isTerminatingNamespace } from '../namespace-state.ts';
import { Pace } from '../pace.ts';
import { isPodActive, isPodTerminal } from '../pod-status.ts';
import { runReconciler } from '../reconciler.ts';
import { resources } from '../resources.ts';
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
  readonly #sets: Informer<T>;
  readonly #pods: Informer<Pod>;
  readonly #expectations: Expectations;
  readonly #pace: Pace;

  constructor(options: ReplicaControllerOptions<T>) {
    const { cluster, kind, log, clock } = options;
    this.#options = options;
    this.#sets = informersFor(cluster, log).get(kind.type);
    this.#pods = informersFor(cluster, log).get(resources.pods);
    this.#expectations = new Expectations(clock);
    this.#pace = new Pace(clock);
  }

  run(signal: AbortSignal): Promise<void> {
    return runReconciler(
      {
        ...this.#options,
        name: this.#options.kind.type.resource,
        informers: [this.#sets as Informer<Replicated>, this.#pods],
        watch: (queue) => this.#watch(queue),
        reconcile: (key, queue) => this.#reconcile(key, queue),
      },
      signal,
    );
  }

  #watch(queue: WorkQueue<string>): void {
    this.#pods.addIndex('owner', ownerIndex);
    this.#sets.addIndex('namespace', (set) => [set.metadata.namespace]);
    this.#sets.addIndex('owner', ownerIndex);
    this.#sets.onChange(({ key, object, previous }) => {
      if (object !== undefined && previous === undefined) this.#expectations.forget(key);
      queue.add(key);
    });
    this.#pods.onChange(({ object, previous }) => {
      for (const pod of [object, previous]) if (pod !== undefined) this.#enqueueOwners(pod, queue);
    });
  }

  #enqueueOwners(pod: Pod, queue: WorkQueue<string>): void {
    const manager = controllerOf(pod);
    const { namespace } = pod.metadata;
    if (manager !== undefined) {
      if (manager.kind === this.#options.kind.type.kind) queue.add(`${namespace}/${manager.name}`);
      return;
    }
    // Nobody's pod: whoever selects it may adopt it.
    for (const set of this.#sets.byIndex('namespace', namespace))
      if (this.#options.kind.selectorOf(set).matches(pod.metadata.labels)) queue.add(keyOf(set));
  }

  async #reconcile(key: string, queue: WorkQueue<string>): Promise<void> {
    const set = this.#sets.get(key);
    if (set === undefined) {
      this.#expectations.forget(key);
      return;
    }
    // The event that the expectation waits for brings the key back; the delay is for one that was missed.
    if (!this.#expectations.areMet(key)) {
      queue.addAfter(key, 1000);
      return;
    }
    if (!this.#pace.mayWork(key, queue)) return;
    const pods = await this.#claimPods(key, set);
    this.#pace.worked(key, pods.length);
    const active = pods.filter(isPodActive);
    let failure: Error | undefined;
    if (set.metadata.deletionTimestamp === undefined) failure = await this.#scale(key, set, active);
    await this.#writeStatus(key, set, pods, failure, queue);
    if (failure !== undefined) throw failure;
  }

  #claimPods(key: string, set: T): Promise<readonly Pod[]> {
    const { cluster, kind } = this.#options;
    return claim({
      cluster,
      ownerType: kind.type,
      owner: set,
      type: resources.pods,
      selector: kind.selectorOf(set),
      candidates: [
        ...this.#pods.byIndex('owner', set.metadata.uid),
        ...this.#pods.byIndex('owner', unmanaged(set.metadata.namespace)),
      ],
      mayAdopt: (pod) => !isPodTerminal(pod),
      written: (pod) => this.#expectations.written(key, this.#pods, pod),
    });
  }

  /** Resolves to what went wrong, when something did. */
  async #scale(key: string, set: T, active: readonly Pod[]): Promise<Error | undefined> {
    const missing = (set.spec.replicas ?? 1) - active.length;
    try {
      if (missing > 0) await this.#create(key, set, Math.min(missing, this.#options.burst));
      else if (missing < 0) await this.#delete(key, set, active, Math.min(-missing, this.#options.burst));
      return undefined;
    } catch (error) {
      return error instanceof Error ? error : new Error(String(error));
    }
  }

  async #create(key: string, set: T, count: number): Promise<void> {
    const { cluster, record } = this.#options;
    await slowStart(count, async () => {
      try {
        const pod = await cluster.create(resources.pods, podOfTemplate(set, set.spec.template));
        this.#expectations.written(key, this.#pods, pod);
        record(set, 'Normal', 'SuccessfulCreate', `Created pod: ${pod.metadata.name}`);
      } catch (error) {
        // Nothing can be created in a namespace on its way out, and nobody needs to hear of it.
        if (isTerminatingNamespace(error)) return;
        const message = error instanceof Error ? error.message : String(error);
        record(set, 'Warning', 'FailedCreate', `Error creating: ${message}`);
        throw error;
      }
    });
  }

  async #delete(key: string, set: T, active: readonly Pod[], count: number): Promise<void> {
    const { cluster, record, clock } = this.#options;
    const doomed = byDeletionOrder(active, this.#relatedPods(set), clock.now()).slice(0, count);
    const results = await Promise.allSettled(
      doomed.map(async (pod) => {
        const { uid, name } = pod.metadata;
        try {
          await cluster.delete(resources.pods, splitKey(keyOf(pod)), { preconditions: { uid } });
          record(set, 'Normal', 'SuccessfulDelete', `Deleted pod: ${name}`);
        } catch (error) {
          if (!isPintleError(error, 'NOT_FOUND')) {
            record(set, 'Warning', 'FailedDelete', `Error deleting: ${String(error)}`);
            throw error;
          }
        }
        this.#expectations.deleted(key, this.#pods, pod);
      }),
    );
    for (const result of results) if (result.status === 'rejected') throw result.reason;
  }

  /** Active pods of all sets of the same owner: two of them on one node are worth less than one each on two. */
  #relatedPods(set: T): readonly Pod[] {
    const owner = controllerOf(set);
    const siblings = owner === undefined ? [set] : this.#sets.byIndex('owner', owner.uid);
    return siblings.flatMap((sibling) => this.#pods.byIndex('owner', sibling.metadata.uid)).filter(isPodActive);
  }

  async #writeStatus(
    key: string,
    set: T,
    pods: readonly Pod[],
    failure: Error | undefined,
    queue: WorkQueue<string>,
  ): Promise<void> {
    const { cluster, clock, kind } = this.#options;
    const { status, nextInMs } = replicaStatus(set, pods, failure, clock.now(), kind.countsTerminating);
    if (nextInMs !== undefined) queue.addAfter(key, nextInMs + 10);
    if (status === undefined) return;
    try {
      const written = await cluster.update(kind.type, { ...set, status }, { subresource: 'status' });
      this.#expectations.written(key, this.#sets, written);
    } catch (error) {
      if (!isPintleError(error, 'NOT_FOUND')) throw error;
    }
  }
}
