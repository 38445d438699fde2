/**
 * Writes spec.podCIDR and spec.podCIDRs of nodes that have none. What is taken is read from the nodes themselves, before
 * the first range is given out, so that a restart gives nothing twice. A node's range never changes; it is free again
 * when the node is deleted.
 */
import { isPintleError, type Clock, type Cluster, type Logger } from '../../../kernel/contract/index.ts';
import type { Node } from '../../../kernel/contract/kubernetes.ts';
import type { EventRecorder } from '../../../kernel/machinery/event-recorder.ts';
import { informersFor, type Informer } from '../../../kernel/machinery/informer.ts';
import { runReconciler } from '../../../kernel/machinery/reconciler.ts';
import { resources } from '../../../kernel/machinery/resources.ts';
import type { CidrPool } from './cidr-pool.ts';

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
    const { cluster, pools, record, log } = this.#options;
    const node = this.#nodes.get(name);
    if (node === undefined || node.metadata.deletionTimestamp !== undefined || rangesOf(node).length > 0) return;
    const podCIDRs = this.#given.get(name) ?? pools.flatMap((pool) => pool.take(name) ?? []);
    if (podCIDRs.length < pools.length) {
      for (const pool of pools) pool.release(name);
      record(node, 'Warning', 'CIDRNotAvailable', `Node ${name} status is now: CIDRNotAvailable`);
      throw new Error('no range of pod addresses is left');
    }
    this.#given.set(name, podCIDRs);
    const body = { metadata: { uid: node.metadata.uid }, spec: { podCIDR: podCIDRs[0], podCIDRs } };
    try {
      await cluster.patch(resources.nodes, { name }, { kind: 'merge', body });
      log.info('a node was given its pod addresses', { node: name, podCIDRs });
    } catch (error) {
      // Kept for the retry: the write may have happened, and the node must not get a second range.
      if (!isPintleError(error, 'NOT_FOUND')) throw error;
      this.#release(name);
    }
  }
}

function rangesOf(node: Node): readonly string[] {
  const { podCIDRs = [], podCIDR } = node.spec;
  return podCIDRs.length > 0 ? podCIDRs : podCIDR === undefined || podCIDR === '' ? [] : [podCIDR];
}
