/** Watches DaemonSets, nodes, pods and revisions, and makes one pass over a DaemonSet at a time. */
import { isPintleError, type Clock, type Cluster, type Logger } from '../../../kernel/contract/index.ts';
import type { ControllerRevision, DaemonSet, Node, Pod } from '../../../kernel/contract/kubernetes.ts';
import { claim, ownerIndex, unmanaged } from '../../../kernel/machinery/adoption.ts';
import type { EventRecorder } from '../../../kernel/machinery/event-recorder.ts';
import { Expectations } from '../../../kernel/machinery/expectations.ts';
import { informersFor, type Informer } from '../../../kernel/machinery/informer.ts';
import { controllerOf, keyOf, splitKey } from '../../../kernel/machinery/metadata.ts';
import { isTerminatingNamespace } from '../../../kernel/machinery/namespace-state.ts';
import { Pace } from '../../../kernel/machinery/pace.ts';
import { runReconciler } from '../../../kernel/machinery/reconciler.ts';
import { slowStart } from '../../../kernel/machinery/replicas/slow-start.ts';
import { resources } from '../../../kernel/machinery/resources.ts';
import { revisionLabel } from '../../../kernel/machinery/revisions/revision-data.ts';
import {
  deleteOldRevisions,
  revisionHistory,
  type RevisionHistory,
} from '../../../kernel/machinery/revisions/revision-history.ts';
import { labelSelector } from '../../../kernel/machinery/selectors.ts';
import { stableText } from '../../../kernel/machinery/stable-text.ts';
import type { WorkQueue } from '../../../kernel/machinery/work-queue.ts';
import { daemonPod } from './daemon-pod.ts';
import { daemonSetStatus, isSameStatus } from './daemon-set-status.ts';
import { FailedPods, type FailedPodsOptions } from './failed-pods.ts';
import { daemonView } from './node-pods.ts';
import { placementPlan, type Plan } from './plan.ts';
import { isRollingUpdate, rollingUpdate } from './rolling-update.ts';

export interface DaemonSetControllerOptions extends FailedPodsOptions {
  readonly cluster: Cluster;
  readonly concurrency: number;
  readonly burst: number;
  readonly record: EventRecorder;
  readonly log: Logger;
  readonly clock: Clock;
}

export class DaemonSetController {
  readonly #options: DaemonSetControllerOptions;
  readonly #sets: Informer<DaemonSet>;
  readonly #nodes: Informer<Node>;
  readonly #pods: Informer<Pod>;
  readonly #revisions: Informer<ControllerRevision>;
  readonly #expectations: Expectations;
  readonly #pace: Pace;
  readonly #failedPods: FailedPods;

  constructor(options: DaemonSetControllerOptions) {
    const informers = informersFor(options.cluster, options.log);
    this.#options = options;
    this.#sets = informers.get(resources.daemonSets);
    this.#nodes = informers.get(resources.nodes);
    this.#pods = informers.get(resources.pods);
    this.#revisions = informers.get(resources.controllerRevisions);
    this.#expectations = new Expectations(options.clock);
    this.#pace = new Pace(options.clock);
    this.#failedPods = new FailedPods(options);
  }

  run(signal: AbortSignal): Promise<void> {
    return runReconciler(
      {
        ...this.#options,
        name: 'daemonsets',
        informers: [this.#sets, this.#nodes, this.#pods, this.#revisions],
        watch: (queue) => this.#watch(queue),
        reconcile: (key, queue) => this.#reconcile(key, queue),
      },
      signal,
    );
  }

  #watch(queue: WorkQueue<string>): void {
    this.#pods.addIndex('owner', ownerIndex);
    this.#revisions.addIndex('owner', ownerIndex);
    this.#sets.addIndex('namespace', (set) => [set.metadata.namespace]);
    this.#sets.onChange(({ key, object, previous }) => {
      if (object !== undefined && previous === undefined) this.#expectations.forget(key);
      queue.add(key);
    });
    const enqueueOwners = ({ object, previous }: { readonly object?: Dependent; readonly previous?: Dependent }) => {
      for (const dependent of [object, previous]) if (dependent !== undefined) this.#enqueueOwners(dependent, queue);
    };
    this.#pods.onChange(enqueueOwners);
    this.#revisions.onChange(enqueueOwners);
    this.#nodes.onChange(({ object, previous }) => {
      if (object !== undefined && previous !== undefined && looksSame(object, previous)) return;
      for (const set of this.#sets.list()) queue.add(keyOf(set));
    });
  }

  #enqueueOwners(dependent: Dependent, queue: WorkQueue<string>): void {
    const manager = controllerOf(dependent);
    const { namespace, labels } = dependent.metadata;
    if (manager?.kind === 'DaemonSet') queue.add(`${namespace}/${manager.name}`);
    if (manager !== undefined) return;
    for (const set of this.#sets.byIndex('namespace', namespace))
      if (labelSelector(set.spec.selector).matches(labels)) queue.add(keyOf(set));
  }

  async #reconcile(key: string, queue: WorkQueue<string>): Promise<void> {
    const set = this.#sets.get(key);
    if (set === undefined) {
      this.#expectations.forget(key);
      this.#failedPods.forget(`${key}/`);
      return;
    }
    if (!this.#expectations.areMet(key)) {
      queue.addAfter(key, 1000);
      return;
    }
    if (set.metadata.deletionTimestamp !== undefined || !this.#pace.mayWork(key, queue)) return;
    const { clock, record } = this.#options;
    if (labelSelector(set.spec.selector).isEverything) {
      const message = 'This daemon set is selecting all pods. A non-empty selector is required.';
      record(set, 'Warning', 'SelectingAll', message);
      return;
    }
    const history = await this.#history(key, set);
    const pods = await this.#claimPods(key, set);
    const nodes = this.#nodes.list();
    this.#pace.worked(key, nodes.length + pods.length);
    const hash = history.current.metadata.labels?.[revisionLabel] ?? '';
    const view = daemonView(set, hash, nodes, pods, clock.now());
    let failure: unknown;
    try {
      let plan = placementPlan(view, (node, pod) => this.#mayReplace(key, set, node, pod, queue));
      if (plan.create.length === 0 && plan.remove.length === 0 && isRollingUpdate(set)) plan = rollingUpdate(view);
      await this.#execute(key, set, hash, plan);
    } catch (error) {
      failure = error;
    }
    const { status, nextInMs } = daemonSetStatus(view, history.collisionCount);
    if (nextInMs !== undefined) queue.addAfter(key, nextInMs + 10);
    if (!isSameStatus(set.status, status)) await this.#writeStatus(key, { ...set, status });
    if (failure !== undefined) throw failure;
    const hashes = new Set(pods.map((pod) => pod.metadata.labels?.[revisionLabel]));
    const isInUse = ({ metadata }: ControllerRevision) => hashes.has(metadata.labels?.[revisionLabel]);
    await deleteOldRevisions({ cluster: this.#options.cluster, owner: set }, history, isInUse);
  }

  async #history(key: string, set: DaemonSet): Promise<RevisionHistory> {
    const { cluster } = this.#options;
    const written = (revision: ControllerRevision) => this.#expectations.written(key, this.#revisions, revision);
    const revisions = await claim({
      cluster,
      ownerType: resources.daemonSets,
      owner: set,
      type: resources.controllerRevisions,
      selector: labelSelector(set.spec.selector),
      candidates: this.#dependents(this.#revisions, set),
      written,
    });
    return revisionHistory({ cluster, owner: set, revisions, hashLabel: revisionLabel, written });
  }

  #claimPods(key: string, set: DaemonSet): Promise<readonly Pod[]> {
    return claim({
      cluster: this.#options.cluster,
      ownerType: resources.daemonSets,
      owner: set,
      type: resources.pods,
      selector: labelSelector(set.spec.selector),
      candidates: this.#dependents(this.#pods, set),
      written: (pod) => this.#expectations.written(key, this.#pods, pod),
    });
  }

  #dependents<T extends Dependent>(informer: Informer<T>, { metadata }: DaemonSet): readonly T[] {
    return [...informer.byIndex('owner', metadata.uid), ...informer.byIndex('owner', unmanaged(metadata.namespace))];
  }

  /** Kubernetes' words for a daemon that has ended, which it should not. */
  #mayReplace(key: string, set: DaemonSet, node: string, pod: Pod, queue: WorkQueue<string>): boolean {
    const { name, namespace, uid } = pod.metadata;
    const hasFailed = pod.status?.phase === 'Failed';
    const wait = hasFailed ? this.#failedPods.msToWait(`${key}/${node}`, uid) : 0;
    if (wait > 0) {
      queue.addAfter(key, wait);
      return false;
    }
    const kind = hasFailed ? 'failed' : 'succeeded';
    const message = `Found ${kind} daemon pod ${namespace}/${name} on node ${node}, will try to ${hasFailed ? 'kill' : 'delete'} it`;
    this.#options.record(
      set,
      hasFailed ? 'Warning' : 'Normal',
      hasFailed ? 'FailedDaemonPod' : 'SucceededDaemonPod',
      message,
    );
    return true;
  }

  async #execute(key: string, set: DaemonSet, hash: string, { create, remove }: Plan): Promise<void> {
    const { cluster, record, burst } = this.#options;
    const results = await Promise.allSettled(
      remove.slice(0, burst).map(async (pod) => {
        try {
          const preconditions = { uid: pod.metadata.uid };
          await cluster.delete(resources.pods, splitKey(keyOf(pod)), { preconditions });
          record(set, 'Normal', 'SuccessfulDelete', `Deleted pod: ${pod.metadata.name}`);
        } catch (error) {
          if (!isPintleError(error, 'NOT_FOUND')) {
            record(set, 'Warning', 'FailedDelete', `Error deleting: ${String(error)}`);
            throw error;
          }
        }
        this.#expectations.deleted(key, this.#pods, pod);
      }),
    );
    const places = create.slice(0, burst).values();
    await slowStart(Math.min(create.length, burst), async () => {
      const next = places.next();
      if (next.done === true) return;
      try {
        const pod = await cluster.create(resources.pods, daemonPod(set, hash, next.value));
        this.#expectations.written(key, this.#pods, pod);
        record(set, 'Normal', 'SuccessfulCreate', `Created pod: ${pod.metadata.name}`);
      } catch (error) {
        if (isTerminatingNamespace(error)) return;
        record(
          set,
          'Warning',
          'FailedCreate',
          `Error creating: ${error instanceof Error ? error.message : String(error)}`,
        );
        throw error;
      }
    });
    for (const result of results) if (result.status === 'rejected') throw result.reason;
  }

  async #writeStatus(key: string, set: DaemonSet): Promise<void> {
    try {
      const written = await this.#options.cluster.update(resources.daemonSets, set, { subresource: 'status' });
      this.#expectations.written(key, this.#sets, written);
    } catch (error) {
      if (!isPintleError(error, 'NOT_FOUND')) throw error;
    }
  }
}

type Dependent = Pod | ControllerRevision;

/** Of a node, only these say whether a daemon belongs there; its heartbeat does not. */
function looksSame(a: Node, b: Node): boolean {
  return a.metadata.labels === b.metadata.labels && a.spec === b.spec
    ? true
    : stableText([a.metadata.labels, a.spec.taints]) === stableText([b.metadata.labels, b.spec.taints]);
}
