/**
 * Writes spec.podCIDR and spec.podCIDRs of nodes that have none, and Kubernetes' own annotation. What is taken is read from
 * the nodes themselves, before the first range is given out, so that a restart gives nothing twice. A node's range never
 * changes; it is free again when the node is deleted.
 */
import { isPintleError, type Clock, type Cluster, type Logger } from '../../../kernel/contract/index.ts';
import type { Node } from '../../../kernel/contract/kubernetes.ts';
import type { EventRecorder } from '../../../kernel/machinery/event-recorder.ts';
import { informersFor, type Informer } from '../../../kernel/machinery/informer.ts';
import { runReconciler } from '../../../kernel/machinery/reconciler.ts';
import { resources } from '../../../kernel/machinery/resources.ts';
import type { CidrPool } from './cidr-pool.ts';

/**
 * How long a kubelet may keep Secrets without looking. Kubernetes has it on every Node, so that none is without annotations:
 * flanneld ends in a panic on one that is.
 */
const ttlAnnotation = 'node.alpha.kubernetes.io/ttl';

export interface NodeIpamControllerOptions {
  readonly cluster: Cluster;
  /** One an address family. */
  readonly pools: readonly CidrPool[];
  readonly record: EventRecorder;
  readonly log: Logger;
  readonly clock: Clock;
}

export class NodeIpamController {
  readonly #options: NodeIpamControllerOptions;
  readonly #nodes: Informer<Node>;
  /** Given out, but not yet seen on the node. */
  readonly #given = new Map<string, readonly string[]>();

  constructor(options: NodeIpamControllerOptions) {
    this.#options = options;
    this.#nodes = informersFor(options.cluster, options.log).get(resources.nodes);
  }

  run(signal: AbortSignal): Promise<void> {
    return runReconciler(
      {
        ...this.#options,
        name: 'node-ipam',
        informers: [this.#nodes],
        // Listeners run before the queue does, so everything that is taken is marked before anything is given out.
        watch: (queue) => {
          this.#nodes.onChange(({ key, object }) => {
            if (object === undefined) this.#release(key);
            else this.#occupy(object);
            queue.add(key);
          });
        },
        reconcile: (key) => this.#reconcile(key),
        // One at a time: ranges are given in the order in which nodes came.
        concurrency: 1,
      },
      signal,
    );
  }

  #release(name: string): void {
    this.#given.delete(name);
    for (const pool of this.#options.pools) pool.release(name);
  }

  #occupy(node: Node): void {
    const { name } = node.metadata;
    const cidrs = rangesOf(node);
    if (cidrs.length > 0) this.#given.delete(name);
    for (const cidr of cidrs) {
      const pool = this.#options.pools.find((candidate) => candidate.contains(cidr));
      if (pool?.occupy(cidr, name) === true) continue;
      const reason = pool === undefined ? 'is not part of the cluster pod range' : 'belongs to another node already';
      this.#options.record(node, 'Warning', 'CIDRNotAvailable', `Pod range ${cidr} of node ${name} ${reason}`);
    }
  }

  async #reconcile(name: string): Promise<void> {
    const { pools, record, log } = this.#options;
    const node = this.#nodes.get(name);
    if (node === undefined || node.metadata.deletionTimestamp !== undefined) return;
    const { uid, annotations } = node.metadata;
    const metadata = {
      uid,
      ...(annotations?.[ttlAnnotation] === undefined && { annotations: { [ttlAnnotation]: '0' } }),
    };
    if (rangesOf(node).length > 0) {
      if (metadata.annotations !== undefined) await this.#patch(name, { metadata });
      return;
    }
    const podCIDRs = this.#given.get(name) ?? pools.flatMap((pool) => pool.take(name) ?? []);
    if (podCIDRs.length < pools.length) {
      for (const pool of pools) pool.release(name);
      record(node, 'Warning', 'CIDRNotAvailable', `Node ${name} status is now: CIDRNotAvailable`);
      throw new Error('no range of pod addresses is left');
    }
    this.#given.set(name, podCIDRs);
    // When it fails, what was taken is kept for the retry: the write may have happened, and a node gets no second range.
    const isThere = await this.#patch(name, { metadata, spec: { podCIDR: podCIDRs[0], podCIDRs } });
    if (isThere) log.info('a node was given its pod addresses', { node: name, podCIDRs });
    else this.#release(name);
  }

  /** False: the node is gone. */
  async #patch(name: string, body: object): Promise<boolean> {
    try {
      await this.#options.cluster.patch(resources.nodes, { name }, { kind: 'merge', body });
      return true;
    } catch (error) {
      if (isPintleError(error, 'NOT_FOUND')) return false;
      throw error;
    }
  }
}

function rangesOf(node: Node): readonly string[] {
  const { podCIDRs = [], podCIDR } = node.spec;
  return podCIDRs.length > 0 ? podCIDRs : podCIDR === undefined || podCIDR === '' ? [] : [podCIDR];
}
