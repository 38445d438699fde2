/**
 * Keeps three things right for each node: the Ready condition becomes Unknown when its heartbeats stop, its taints follow
 * its conditions, and pods that do not tolerate its NoExecute taints are deleted in time. A pod on a silent node is not
 * ready, whatever its status says. After a restart every node has a full grace period: silence is what we heard ourselves.
 */
import { isPintleError, type Clock, type Cluster, type Logger } from '../../../kernel/contract/index.ts';
import type { Lease, Node, Pod, Taint } from '../../../kernel/contract/kubernetes.ts';
import { apiTime } from '../../../kernel/machinery/clock.ts';
import type { EventRecorder } from '../../../kernel/machinery/event-recorder.ts';
import { informersFor, type Informer } from '../../../kernel/machinery/informer.ts';
import { findCondition, keyOf, setCondition, splitKey } from '../../../kernel/machinery/metadata.ts';
import { isPodReady, isPodTerminal } from '../../../kernel/machinery/pod-status.ts';
import { runReconciler } from '../../../kernel/machinery/reconciler.ts';
import { resources } from '../../../kernel/machinery/resources.ts';
import type { WorkQueue } from '../../../kernel/machinery/work-queue.ts';
import { observe, silentStatus, type Heartbeat } from './node-health.ts';
import { evictionTime } from './taint-eviction.ts';
import { wantedTaints } from './wanted-taints.ts';

export interface NodeLifecycleControllerOptions {
  readonly cluster: Cluster;
  readonly gracePeriodSeconds: number;
  readonly startupGraceSeconds: number;
  readonly checkPeriodSeconds: number;
  readonly record: EventRecorder;
  readonly log: Logger;
  readonly clock: Clock;
}

export class NodeLifecycleController {
  readonly #options: NodeLifecycleControllerOptions;
  readonly #nodes: Informer<Node>;
  readonly #leases: Informer<Lease>;
  readonly #pods: Informer<Pod>;
  readonly #heartbeats = new Map<string, Heartbeat>();
  /** Nodes that pods name and that do not exist: since when by our clock. */
  readonly #missing = new Map<string, number>();
  /** By node: taints of users, who do not say when they came, and when we saw them first. */
  readonly #taintsSeen = new Map<string, ReadonlyMap<string, number>>();

  constructor(options: NodeLifecycleControllerOptions) {
    const informers = informersFor(options.cluster, options.log);
    this.#options = options;
    this.#nodes = informers.get(resources.nodes);
    this.#leases = informers.get(resources.leases, { namespace: 'kube-node-lease' });
    this.#pods = informers.get(resources.pods);
  }

  run(signal: AbortSignal): Promise<void> {
    return runReconciler(
      {
        ...this.#options,
        name: 'node-lifecycle',
        informers: [this.#nodes, this.#leases, this.#pods],
        watch: (queue) => this.#watch(queue),
        reconcile: (name, queue) => this.#reconcile(name, queue),
      },
      signal,
    );
  }

  #watch(queue: WorkQueue<string>): void {
    this.#pods.addIndex('node', (pod) => (pod.spec.nodeName === undefined ? [] : [pod.spec.nodeName]));
    this.#nodes.onChange(({ key }) => queue.add(key));
    // Of a lease only a renewal matters, and only when the node was given up: the rest is seen at the next check.
    this.#leases.onChange(({ object }) => {
      if (object === undefined) return;
      const node = this.#nodes.get(object.metadata.name);
      if (findCondition(node?.status?.conditions, 'Ready')?.status === 'Unknown') queue.add(object.metadata.name);
    });
    this.#pods.onChange(({ object }) => {
      const name = object?.spec.nodeName;
      if (name !== undefined && name !== '' && this.#isTroubled(name)) queue.add(name);
    });
  }

  #isTroubled(name: string): boolean {
    const node = this.#nodes.get(name);
    return node === undefined || (node.spec.taints?.some((taint) => taint.effect === 'NoExecute') ?? false);
  }

  async #reconcile(name: string, queue: WorkQueue<string>): Promise<void> {
    const node = this.#nodes.get(name);
    if (node === undefined) {
      this.#heartbeats.delete(name);
      this.#taintsSeen.delete(name);
      await this.#removeOrphans(name, queue);
      return;
    }
    this.#missing.delete(name);
    queue.addAfter(name, this.#options.checkPeriodSeconds * 1000);
    const judged = await this.#judge(node);
    const tainted = await this.#taint(judged);
    // Only of a silent node: one that says itself that it is not ready still reports on its pods, and would contradict.
    if (findCondition(tainted.status?.conditions, 'Ready')?.status === 'Unknown') await this.#markPods(tainted);
    await this.#evict(tainted, queue);
  }

  /** Nobody ends the pods of a node that was deleted. They get as long as a silent node does: it may come back. */
  async #removeOrphans(name: string, queue: WorkQueue<string>): Promise<void> {
    const { clock, cluster, gracePeriodSeconds } = this.#options;
    const orphans = this.#pods.byIndex('node', name);
    if (orphans.length === 0) {
      this.#missing.delete(name);
      return;
    }
    const since = this.#missing.get(name) ?? clock.now();
    this.#missing.set(name, since);
    const until = since + gracePeriodSeconds * 1000;
    if (clock.now() < until) {
      queue.addAfter(name, until - clock.now());
      return;
    }
    if (await exists(cluster, name)) return;
    for (const pod of orphans) {
      const options = { gracePeriodSeconds: 0, preconditions: { uid: pod.metadata.uid } };
      await ignoreGone(cluster.delete(resources.pods, splitKey(keyOf(pod)), options));
    }
  }

  /** The node with the status that its heartbeats give it. */
  async #judge(node: Node): Promise<Node> {
    const { clock, cluster, record, gracePeriodSeconds, startupGraceSeconds } = this.#options;
    const { name } = node.metadata;
    const now = clock.now();
    const lease = this.#leases.get(`kube-node-lease/${name}`);
    const heartbeat = observe(node, lease, this.#heartbeats.get(name), now);
    this.#heartbeats.set(name, heartbeat);
    const grace = heartbeat.isAlive ? gracePeriodSeconds : startupGraceSeconds;
    if (now - heartbeat.seenAt <= grace * 1000) return node;
    const status = silentStatus(node, now);
    if (status === undefined) return node;
    const written = await cluster.update(resources.nodes, { ...node, status }, { subresource: 'status' });
    record(node, 'Normal', 'NodeNotReady', `Node ${name} status is now: NodeNotReady`);
    return written;
  }

  async #taint(node: Node): Promise<Node> {
    const { clock, cluster } = this.#options;
    const taints = wantedTaints(node, apiTime(clock.now()));
    if (taints === undefined) return node;
    return cluster.update(resources.nodes, { ...node, spec: { ...node.spec, taints: [...taints] } });
  }

  async #markPods(node: Node): Promise<void> {
    const { clock, cluster, record } = this.#options;
    for (const pod of this.#pods.byIndex('node', node.metadata.name)) {
      if (!isPodReady(pod) || isPodTerminal(pod)) continue;
      const condition = { type: 'Ready', status: 'False', reason: 'NodeNotReady' };
      const conditions = setCondition(pod.status?.conditions, condition, apiTime(clock.now()));
      const body = { ...pod, status: { ...pod.status, conditions: [...conditions] } };
      try {
        await cluster.update(resources.pods, body, { subresource: 'status' });
        record(pod, 'Warning', 'NodeNotReady', 'Node is not ready');
      } catch (error) {
        if (!isPintleError(error, 'NOT_FOUND')) throw error;
      }
    }
  }

  #seen(node: Node, now: number): ReadonlyMap<string, number> {
    const before = this.#taintsSeen.get(node.metadata.name);
    const names = (node.spec.taints ?? []).map(taintName);
    const seen = new Map(names.map((name) => [name, before?.get(name) ?? now]));
    this.#taintsSeen.set(node.metadata.name, seen);
    return seen;
  }

  async #evict(node: Node, queue: WorkQueue<string>): Promise<void> {
    const { clock, cluster, record } = this.#options;
    const now = clock.now();
    const seen = this.#seen(node, now);
    for (const pod of this.#pods.byIndex('node', node.metadata.name)) {
      const at = evictionTime(pod, node, (taint) => seen.get(taintName(taint)) ?? now);
      if (at === undefined || pod.metadata.deletionTimestamp !== undefined) continue;
      if (at > now) {
        queue.addAfter(node.metadata.name, at - now);
        continue;
      }
      record(pod, 'Normal', 'TaintManagerEviction', `Marking for deletion Pod ${keyOf(pod)}`);
      const preconditions = { uid: pod.metadata.uid };
      await ignoreGone(cluster.delete(resources.pods, splitKey(keyOf(pod)), { preconditions }));
    }
  }
}

const taintName = ({ key, value = '', effect }: Taint) => `${key}=${value}:${effect}`;

async function exists(cluster: Cluster, name: string): Promise<boolean> {
  try {
    await cluster.get(resources.nodes, { name });
    return true;
  } catch (error) {
    if (isPintleError(error, 'NOT_FOUND')) return false;
    throw error;
  }
}

/** Gone, or another object of that name by now. */
async function ignoreGone(work: Promise<unknown>): Promise<void> {
  try {
    await work;
  } catch (error) {
    if (!isPintleError(error, 'NOT_FOUND', 'CONFLICT')) throw error;
  }
}
