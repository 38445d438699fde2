/** Watches DaemonSets, nodes, pods and revisions, and makes one pass over a DaemonSet at a time. */
import type { Clock, Cluster, Logger } from '../../../kernel/contract/index.ts';
import type { ControllerRevision, DaemonSet, Node, Pod } from '../../../kernel/contract/kubernetes.ts';
import type { EventRecorder } from '../../../kernel/machinery/event-recorder.ts';
import { informersFor, type Informer } from '../../../kernel/machinery/informer.ts';
import { keyOf } from '../../../kernel/machinery/metadata.ts';
import { OwnedObjects } from '../../../kernel/machinery/owned-objects.ts';
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
import { placementPlan } from './plan.ts';
import { isRollingUpdate, rollingUpdate, type Plan } from './rolling-update.ts';

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
  readonly #owned: OwnedObjects<DaemonSet>;
  readonly #nodes: Informer<Node>;
  readonly #revisions: Informer<ControllerRevision>;
  readonly #failedPods: FailedPods;

  constructor(options: DaemonSetControllerOptions) {
    const informers = informersFor(options.cluster, options.log);
    this.#options = options;
    this.#owned = new OwnedObjects({
      ...options,
      type: resources.daemonSets,
      selectorOf: (set) => labelSelector(set.spec.selector),
    });
    this.#nodes = informers.get(resources.nodes);
    this.#revisions = informers.get(resources.controllerRevisions);
    this.#failedPods = new FailedPods(options);
  }

  run(signal: AbortSignal): Promise<void> {
    return runReconciler(
      {
        ...this.#options,
        name: 'daemonsets',
        informers: [this.#owned.owners, this.#nodes, this.#owned.pods, this.#revisions],
        watch: (queue) => this.#watch(queue),
        reconcile: (key, queue) => this.#reconcile(key, queue),
      },
      signal,
    );
  }

  #watch(queue: WorkQueue<string>): void {
    this.#owned.watch<Pod | ControllerRevision>(queue, this.#owned.pods, this.#revisions);
    this.#nodes.onChange(({ object, previous }) => {
      if (object !== undefined && previous !== undefined && looksSame(object, previous)) return;
      for (const set of this.#owned.owners.list()) queue.add(keyOf(set));
    });
  }

  async #reconcile(key: string, queue: WorkQueue<string>): Promise<void> {
    const set = this.#owned.due(key, queue, () => this.#failedPods.forget(`${key}/`));
    if (set === undefined || set.metadata.deletionTimestamp !== undefined) return;
    const { clock, record } = this.#options;
    if (labelSelector(set.spec.selector).isEverything) {
      const message = 'This daemon set is selecting all pods. A non-empty selector is required.';
      record(set, 'Warning', 'SelectingAll', message);
      return;
    }
    const history = await this.#history(key, set);
    const pods = await this.#owned.claimPods(key, set);
    const nodes = this.#nodes.list();
    this.#owned.pace.worked(key, nodes.length + pods.length);
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
    if (!isSameStatus(set.status, status)) await this.#owned.writeStatus(key, { ...set, status });
    if (failure !== undefined) throw failure;
    const hashes = new Set(pods.map((pod) => pod.metadata.labels?.[revisionLabel]));
    const isInUse = ({ metadata }: ControllerRevision) => hashes.has(metadata.labels?.[revisionLabel]);
    await deleteOldRevisions({ cluster: this.#options.cluster, owner: set }, history, isInUse);
  }

  async #history(key: string, set: DaemonSet): Promise<RevisionHistory> {
    const { cluster } = this.#options;
    const written = (revision: ControllerRevision) => this.#owned.expectations.written(key, this.#revisions, revision);
    const revisions = await this.#owned.claim(key, set, resources.controllerRevisions, this.#revisions);
    return revisionHistory({ cluster, owner: set, revisions, hashLabel: revisionLabel, written });
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
    const { burst } = this.#options;
    let failure: unknown;
    await this.#owned.deletePods(key, set, remove.slice(0, burst)).catch((error: unknown) => (failure = error));
    const places = create.slice(0, burst).values();
    await slowStart(Math.min(create.length, burst), async () => {
      const next = places.next();
      if (next.done !== true) await this.#owned.createPod(key, set, daemonPod(set, hash, next.value));
    });
    if (failure !== undefined) throw failure;
  }
}

/** Of a node, only these say whether a daemon belongs there; its heartbeat does not. */
function looksSame(a: Node, b: Node): boolean {
  return a.metadata.labels === b.metadata.labels && a.spec === b.spec
    ? true
    : stableText([a.metadata.labels, a.spec.taints]) === stableText([b.metadata.labels, b.spec.taints]);
}
