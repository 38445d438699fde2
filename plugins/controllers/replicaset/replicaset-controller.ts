/** Creates and deletes pods until a ReplicaSet has as many as it asks for, and reports how many it has. */
import { isPintleError, type Clock, type Cluster, type Logger } from '../../../kernel/contract/index.ts';
import type { Pod, ReplicaSet } from '../../../kernel/contract/kubernetes.ts';
import { claim, ownerIndex, unmanaged } from '../../../kernel/machinery/adoption.ts';
import type { EventRecorder } from '../../../kernel/machinery/event-recorder.ts';
import { Expectations } from '../../../kernel/machinery/expectations.ts';
import { informersFor, type Informer } from '../../../kernel/machinery/informer.ts';
import { controllerOf, keyOf, splitKey } from '../../../kernel/machinery/metadata.ts';
import { Pace } from '../../../kernel/machinery/pace.ts';
import { isPodActive, isPodTerminal } from '../../../kernel/machinery/pod-status.ts';
import { runReconciler } from '../../../kernel/machinery/reconciler.ts';
import { resources } from '../../../kernel/machinery/resources.ts';
import { labelSelector } from '../../../kernel/machinery/selectors.ts';
import type { WorkQueue } from '../../../kernel/machinery/work-queue.ts';
import { newPod } from './new-pod.ts';
import { replicaSetStatus } from './replicaset-status.ts';
import { byDeletionOrder } from './scale-down-order.ts';
import { slowStart } from './slow-start.ts';

export interface ReplicaSetControllerOptions {
  readonly cluster: Cluster;
  readonly concurrency: number;
  readonly burst: number;
  readonly record: EventRecorder;
  readonly log: Logger;
  readonly clock: Clock;
}

export class ReplicaSetController {
  readonly #options: ReplicaSetControllerOptions;
  readonly #replicaSets: Informer<ReplicaSet>;
  readonly #pods: Informer<Pod>;
  readonly #expectations: Expectations;
  readonly #pace: Pace;

  constructor(options: ReplicaSetControllerOptions) {
    const { cluster, log, clock } = options;
    this.#options = options;
    this.#replicaSets = informersFor(cluster, log).get(resources.replicaSets);
    this.#pods = informersFor(cluster, log).get(resources.pods);
    this.#expectations = new Expectations(clock);
    this.#pace = new Pace(clock);
  }

  run(signal: AbortSignal): Promise<void> {
    return runReconciler(
      {
        ...this.#options,
        name: 'replicaset',
        informers: [this.#replicaSets, this.#pods],
        watch: (queue) => this.#watch(queue),
        reconcile: (key, queue) => this.#reconcile(key, queue),
      },
      signal,
    );
  }

  #watch(queue: WorkQueue<string>): void {
    this.#pods.addIndex('owner', ownerIndex);
    this.#replicaSets.addIndex('namespace', (set) => [set.metadata.namespace]);
    this.#replicaSets.addIndex('owner', ownerIndex);
    this.#replicaSets.onChange(({ key, object, previous }) => {
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
      if (manager.kind === 'ReplicaSet') queue.add(`${namespace}/${manager.name}`);
      return;
    }
    // Nobody's pod: whoever selects it may adopt it.
    for (const set of this.#replicaSets.byIndex('namespace', namespace))
      if (labelSelector(set.spec.selector).matches(pod.metadata.labels)) queue.add(keyOf(set));
  }

  async #reconcile(key: string, queue: WorkQueue<string>): Promise<void> {
    const set = this.#replicaSets.get(key);
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

  #claimPods(key: string, set: ReplicaSet): Promise<readonly Pod[]> {
    const { cluster } = this.#options;
    return claim({
      cluster,
      ownerType: resources.replicaSets,
      owner: set,
      type: resources.pods,
      selector: labelSelector(set.spec.selector),
      candidates: [
        ...this.#pods.byIndex('owner', set.metadata.uid),
        ...this.#pods.byIndex('owner', unmanaged(set.metadata.namespace)),
      ],
      mayAdopt: (pod) => !isPodTerminal(pod),
      written: (pod) => this.#expectations.written(key, this.#pods, pod),
    });
  }

  /** Resolves to what went wrong, when something did. */
  async #scale(key: string, set: ReplicaSet, active: readonly Pod[]): Promise<Error | undefined> {
    const missing = (set.spec.replicas ?? 1) - active.length;
    try {
      if (missing > 0) await this.#create(key, set, Math.min(missing, this.#options.burst));
      else if (missing < 0) await this.#delete(key, set, active, Math.min(-missing, this.#options.burst));
      return undefined;
    } catch (error) {
      return error instanceof Error ? error : new Error(String(error));
    }
  }

  async #create(key: string, set: ReplicaSet, count: number): Promise<void> {
    const { cluster, record } = this.#options;
    await slowStart(count, async () => {
      try {
        const pod = await cluster.create(resources.pods, newPod(set));
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

  async #delete(key: string, set: ReplicaSet, active: readonly Pod[], count: number): Promise<void> {
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

  /** Active pods of all ReplicaSets of the same owner: two of them on one node are worth less than one each on two. */
  #relatedPods(set: ReplicaSet): readonly Pod[] {
    const owner = controllerOf(set);
    const siblings = owner === undefined ? [set] : this.#replicaSets.byIndex('owner', owner.uid);
    return siblings.flatMap((sibling) => this.#pods.byIndex('owner', sibling.metadata.uid)).filter(isPodActive);
  }

  async #writeStatus(
    key: string,
    set: ReplicaSet,
    pods: readonly Pod[],
    failure: Error | undefined,
    queue: WorkQueue<string>,
  ): Promise<void> {
    const { cluster, clock } = this.#options;
    const { status, nextInMs } = replicaSetStatus(set, pods, failure, clock.now());
    if (nextInMs !== undefined) queue.addAfter(key, nextInMs + 10);
    if (status === undefined) return;
    try {
      const written = await cluster.update(resources.replicaSets, { ...set, status }, { subresource: 'status' });
      this.#expectations.written(key, this.#replicaSets, written);
    } catch (error) {
      if (!isPintleError(error, 'NOT_FOUND')) throw error;
    }
  }
}

function isTerminatingNamespace(error: unknown): boolean {
  return (
    isPintleError(error, 'FORBIDDEN') &&
    (error.details.causes ?? []).some((cause) => cause.reason === 'NamespaceTerminating')
  );
}
