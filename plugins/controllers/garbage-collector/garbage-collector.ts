/**
 * Keeps the graph of owners and dependents current by informers on every resource, and works off its uids:
 *   - an object all of whose owners are gone is deleted (background);
 *   - an object in foreground deletion waits until no dependent blocks it, and its dependents are deleted;
 *   - an object that is deleted with `orphan` lets its dependents go and is then released.
 * That an owner is gone is believed only after a live read. An owner of a kind that discovery does not know is left to
 * exist: nothing is deleted because of a kind that we cannot look up.
 */
import {
  type Clock,
  type Cluster,
  type KubernetesObject,
  type Logger,
  type ResourceType,
} from '../../../kernel/contract/index.ts';
import { pause } from '../../../kernel/machinery/clock.ts';
import { informersFor, type Change, type Informer } from '../../../kernel/machinery/informer.ts';
import { createWorkQueue, type WorkQueue } from '../../../kernel/machinery/work-queue.ts';
import { collectedResources } from './collected-resources.ts';
import { OwnerGraph } from './owner-graph.ts';
import { isDeletingDependents, isOrphaning, Sweep } from './sweep.ts';

export interface GarbageCollectorOptions {
  readonly cluster: Cluster;
  readonly concurrency: number;
  readonly discoveryPeriodSeconds: number;
  readonly log: Logger;
  readonly clock: Clock;
}

interface Watched {
  readonly type: ResourceType;
  readonly informer: Informer<KubernetesObject>;
}

export class GarbageCollector {
  readonly #options: GarbageCollectorOptions;
  readonly #graph = new OwnerGraph();
  readonly #watched = new Map<string, Watched>();

  constructor(options: GarbageCollectorOptions) {
    this.#options = options;
  }

  async run(signal: AbortSignal): Promise<void> {
    const { cluster, concurrency, log, clock } = this.#options;
    const sweep = new Sweep(cluster, this.#graph, () => collectedResources(cluster));
    const queue = createWorkQueue<string>({
      process: (uid) => sweep.process(uid, (other) => queue.add(other)),
      name: 'garbage-collector',
      backoff: { minMs: 20, maxMs: 30_000 },
      concurrency,
      log,
      clock,
    });
    try {
      this.#followDiscovery(queue);
      for (const { informer } of this.#watched.values()) await informer.synced(signal);
      const following = this.#keepFollowing(queue, signal);
      await queue.run(signal);
      await following;
    } catch (error) {
      if (!signal.aborted) throw error;
    } finally {
      for (const { informer } of this.#watched.values()) informer.close();
      this.#watched.clear();
    }
  }

  async #keepFollowing(queue: WorkQueue<string>, signal: AbortSignal): Promise<void> {
    const { cluster, clock, discoveryPeriodSeconds } = this.#options;
    let known = cluster.server?.resources();
    while (!signal.aborted) {
      await pause(clock, discoveryPeriodSeconds * 1000, signal);
      const now = cluster.server?.resources();
      if (now === known || signal.aborted) continue;
      known = now;
      this.#followDiscovery(queue);
    }
  }

  /** Opens informers on new resources and closes those of resources that are gone. */
  #followDiscovery(queue: WorkQueue<string>): void {
    const { cluster, log } = this.#options;
    const types = collectedResources(cluster);
    for (const [id, type] of types) {
      if (this.#watched.has(id)) continue;
      const informer = informersFor(cluster, log).get(type);
      this.#watched.set(id, { type, informer });
      informer.onChange((change) => this.#onChange(type, change, queue));
    }
    for (const [id, { informer }] of this.#watched) {
      if (types.has(id)) continue;
      for (const { metadata } of informer.list()) this.#graph.remove(metadata.uid);
      informer.close();
      this.#watched.delete(id);
    }
  }

  #onChange(type: ResourceType, { object, previous }: Change<KubernetesObject>, queue: WorkQueue<string>): void {
    if (object === undefined) {
      if (previous !== undefined) this.#onGone(previous, queue);
      return;
    }
    this.#graph.set(type, object);
    const { uid, ownerReferences = [] } = object.metadata;
    if (isDeletingDependents(object) || isOrphaning(object)) queue.add(uid);
    // Owners that are known and stay are the usual case, and need no work.
    for (const reference of ownerReferences) {
      const owner = this.#graph.get(reference.uid)?.object;
      if (owner === undefined || isDeletingDependents(owner)) queue.add(uid);
    }
    for (const reference of previous?.metadata.ownerReferences ?? []) this.#recheckOwner(reference.uid, queue);
  }

  #onGone(object: KubernetesObject, queue: WorkQueue<string>): void {
    const { uid, ownerReferences = [] } = object.metadata;
    this.#graph.remove(uid);
    for (const dependent of this.#graph.dependents(uid)) queue.add(dependent.object.metadata.uid);
    for (const reference of ownerReferences) this.#recheckOwner(reference.uid, queue);
  }

  /** An owner in foreground deletion may be waiting for just this dependent. */
  #recheckOwner(uid: string, queue: WorkQueue<string>): void {
    const owner = this.#graph.get(uid)?.object;
    if (owner !== undefined && isDeletingDependents(owner)) queue.add(uid);
  }
}
