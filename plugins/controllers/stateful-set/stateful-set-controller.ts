/** Watches StatefulSets, their pods, claims and revisions, and makes one pass over a set at a time. */
import { isPintleError, type Clock, type Cluster, type Logger } from '../../../kernel/contract/index.ts';
import type {
  ControllerRevision,
  PersistentVolumeClaim,
  Pod,
  StatefulSet,
} from '../../../kernel/contract/kubernetes.ts';
import type { EventRecorder } from '../../../kernel/machinery/event-recorder.ts';
import { informersFor, type Informer } from '../../../kernel/machinery/informer.ts';
import { keyOf, splitKey } from '../../../kernel/machinery/metadata.ts';
import { isTerminatingNamespace } from '../../../kernel/machinery/namespace-state.ts';
import { OwnedObjects } from '../../../kernel/machinery/owned-objects.ts';
import { runReconciler } from '../../../kernel/machinery/reconciler.ts';
import { slowStart } from '../../../kernel/machinery/replicas/slow-start.ts';
import { resources } from '../../../kernel/machinery/resources.ts';
import {
  deleteOldRevisions,
  revisionHistory,
  type RevisionHistory,
} from '../../../kernel/machinery/revisions/revision-history.ts';
import { labelSelector } from '../../../kernel/machinery/selectors.ts';
import type { WorkQueue } from '../../../kernel/machinery/work-queue.ts';
import { createClaims, keepClaimOwners, type ClaimsOptions } from './claims.ts';
import { isRollingUpdate, partitionOf, plan, type Plan } from './plan.ts';
import { identityLabels, ordinalOf, podName, revisionOf, statefulPod } from './pod-identity.ts';
import { firstOrdinal, isLeaving, setView, type SetView } from './set-view.ts';
import { isSameStatus, statefulSetStatus } from './stateful-set-status.ts';

export interface StatefulSetControllerOptions {
  readonly cluster: Cluster;
  readonly concurrency: number;
  readonly record: EventRecorder;
  readonly log: Logger;
  readonly clock: Clock;
}

/** Of a ControllerRevision; the pods' label names the whole revision. */
const hashLabel = 'controller.kubernetes.io/hash';

export class StatefulSetController {
  readonly #options: StatefulSetControllerOptions;
  readonly #owned: OwnedObjects<StatefulSet>;
  readonly #claims: Informer<PersistentVolumeClaim>;
  readonly #revisions: Informer<ControllerRevision>;

  constructor(options: StatefulSetControllerOptions) {
    const informers = informersFor(options.cluster, options.log);
    this.#options = options;
    this.#owned = new OwnedObjects({
      ...options,
      type: resources.statefulSets,
      selectorOf: (set) => labelSelector(set.spec.selector),
    });
    this.#claims = informers.get(resources.persistentVolumeClaims);
    this.#revisions = informers.get(resources.controllerRevisions);
  }

  run(signal: AbortSignal): Promise<void> {
    return runReconciler(
      {
        ...this.#options,
        name: 'statefulsets',
        informers: [this.#owned.owners, this.#owned.pods, this.#claims, this.#revisions],
        watch: (queue) => this.#watch(queue),
        reconcile: (key, queue) => this.#reconcile(key, queue),
      },
      signal,
    );
  }

  #watch(queue: WorkQueue<string>): void {
    this.#owned.watch<Pod | ControllerRevision>(queue, this.#owned.pods, this.#revisions);
    // A pod may wait for the claim of its predecessor to be gone.
    this.#claims.onChange(({ object, previous }) => {
      if (object !== undefined || previous === undefined) return;
      for (const set of this.#owned.owners.byIndex('namespace', previous.metadata.namespace))
        if ((set.spec.volumeClaimTemplates ?? []).length > 0) queue.add(keyOf(set));
    });
  }

  async #reconcile(key: string, queue: WorkQueue<string>): Promise<void> {
    const set = this.#owned.due(key, queue);
    if (set === undefined) return;
    const { cluster, clock } = this.#options;
    const history = await this.#history(key, set);
    const pods = await this.#owned.claimPods(key, set, (pod) => ordinalOf(set, pod) !== undefined);
    this.#owned.pace.worked(key, pods.length);
    const current =
      history.all.find(({ metadata }) => metadata.name === set.status?.currentRevision) ?? history.current;
    const view = setView(set, pods, clock.now());
    let failure: unknown;
    if (set.metadata.deletionTimestamp === undefined) {
      try {
        await this.#pass(key, view, current, history.current);
      } catch (error) {
        failure = error;
      }
    }
    const revisions = {
      current: current.metadata.name,
      update: history.current.metadata.name,
      collisionCount: history.collisionCount,
    };
    const { status, nextInMs } = statefulSetStatus(view, revisions);
    if (nextInMs !== undefined) queue.addAfter(key, nextInMs + 10);
    if (!isSameStatus(set.status, status)) await this.#owned.writeStatus(key, { ...set, status });
    if (failure !== undefined) throw failure;
    const used = new Set([revisions.current, ...pods.map(revisionOf)]);
    await deleteOldRevisions({ cluster, owner: set }, history, ({ metadata }) => used.has(metadata.name));
  }

  async #history(key: string, set: StatefulSet): Promise<RevisionHistory> {
    const { cluster } = this.#options;
    const written = (revision: ControllerRevision) => this.#owned.expectations.written(key, this.#revisions, revision);
    const revisions = await this.#owned.claim(key, set, resources.controllerRevisions, this.#revisions);
    return revisionHistory({ cluster, owner: set, revisions, hashLabel, written });
  }

  async #pass(key: string, view: SetView, current: ControllerRevision, update: ControllerRevision): Promise<void> {
    const { set } = view;
    await this.#keepIdentities(key, view);
    const todo: Plan = plan(view, update.metadata.name);
    const { record } = this.#options;
    for (const pod of todo.restart) {
      const hasFailed = pod.status?.phase === 'Failed';
      const kind = hasFailed ? 'failed' : 'terminated';
      const message = `StatefulSet ${keyOf(set)} is recreating ${kind} Pod ${pod.metadata.name}`;
      record(
        set,
        hasFailed ? 'Warning' : 'Normal',
        hasFailed ? 'RecreatingFailedPod' : 'RecreatingTerminatedPod',
        message,
      );
    }
    for (const pod of [...todo.restart, ...todo.remove, ...todo.replace]) await this.#delete(key, set, pod);
    const ordinals = todo.create.values();
    await slowStart(todo.create.length, async () => {
      const next = ordinals.next();
      if (next.done === true) return;
      const revision = isOfCurrentRevision(set, next.value) ? current : update;
      await this.#create(key, set, revision, next.value);
    });
  }

  /** Labels that a pod needs for its Service, and the owners of its claims. */
  async #keepIdentities(key: string, { set, slots, condemned }: SetView): Promise<void> {
    const claims = this.#claimsOptions(key);
    for (const { ordinal, pod } of slots) {
      if (pod === undefined || isLeaving(pod)) continue;
      await keepClaimOwners(claims, set, ordinal, pod, false);
      const labels = identityLabels(set, ordinal);
      if (Object.entries(labels).every(([name, value]) => pod.metadata.labels?.[name] === value)) continue;
      const body = { metadata: { uid: pod.metadata.uid, labels } };
      const written = await this.#options.cluster.patch(resources.pods, splitKey(keyOf(pod)), { kind: 'merge', body });
      this.#owned.expectations.written(key, this.#owned.pods, written);
    }
    for (const pod of condemned) await keepClaimOwners(claims, set, ordinalOf(set, pod) ?? 0, pod, true);
  }

  #claimsOptions(key: string): ClaimsOptions {
    const { cluster, record } = this.#options;
    const written = (object: PersistentVolumeClaim) => this.#owned.expectations.written(key, this.#claims, object);
    return { cluster, record, claims: this.#claims, written };
  }

  async #create(key: string, set: StatefulSet, revision: ControllerRevision, ordinal: number): Promise<void> {
    const { cluster, record } = this.#options;
    const what = `create Pod ${podName(set, ordinal)} in StatefulSet ${set.metadata.name}`;
    try {
      await createClaims(this.#claimsOptions(key), set, ordinal);
      const pod = await cluster.create(resources.pods, statefulPod(set, revision, ordinal));
      this.#owned.expectations.written(key, this.#owned.pods, pod);
      record(set, 'Normal', 'SuccessfulCreate', `${what} successful`);
    } catch (error) {
      if (isTerminatingNamespace(error)) return;
      const message = error instanceof Error ? error.message : String(error);
      record(set, 'Warning', 'FailedCreate', `${what} failed error: ${message}`);
      throw error;
    }
  }

  async #delete(key: string, set: StatefulSet, pod: Pod): Promise<void> {
    const { cluster, record } = this.#options;
    const what = `delete Pod ${pod.metadata.name} in StatefulSet ${set.metadata.name}`;
    try {
      await cluster.delete(resources.pods, splitKey(keyOf(pod)), { preconditions: { uid: pod.metadata.uid } });
      record(set, 'Normal', 'SuccessfulDelete', `${what} successful`);
    } catch (error) {
      if (!isPintleError(error, 'NOT_FOUND')) {
        record(set, 'Warning', 'FailedDelete', `${what} failed error: ${String(error)}`);
        throw error;
      }
    }
    this.#owned.expectations.deleted(key, this.#owned.pods, pod);
  }
}

/** A pod that comes back below the partition, or in the middle of an update that has not reached it, is as it was. */
function isOfCurrentRevision(set: StatefulSet, ordinal: number): boolean {
  if (!isRollingUpdate(set)) return false;
  return ordinal < firstOrdinal(set) + (partitionOf(set) ?? set.status?.currentReplicas ?? 0);
}
