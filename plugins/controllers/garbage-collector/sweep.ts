/** What is done about one object of the graph. Everything is decided anew from the graph and from live reads. */
import {
  isPintleError,
  type Cluster,
  type DeleteOptions,
  type KubernetesObject,
  type ObjectKey,
  type ResourceType,
} from '../../../kernel/contract/index.ts';
import type { OwnerReference } from '../../../kernel/contract/kubernetes.ts';
import { resourceOf } from './collected-resources.ts';
import type { GraphNode, OwnerGraph } from './owner-graph.ts';

export const foreground = 'foregroundDeletion';
export const orphan = 'orphan';

const maxAbsent = 1000;

export function isDeletingDependents({ metadata }: KubernetesObject): boolean {
  return metadata.deletionTimestamp !== undefined && metadata.finalizers?.includes(foreground) === true;
}

export function isOrphaning({ metadata }: KubernetesObject): boolean {
  return metadata.deletionTimestamp !== undefined && metadata.finalizers?.includes(orphan) === true;
}

interface Owners {
  /** They exist and stay. */
  readonly solid: readonly OwnerReference[];
  readonly gone: readonly OwnerReference[];
  /** In foreground deletion: they wait for their dependents. */
  readonly waiting: readonly OwnerReference[];
}

export class Sweep {
  readonly #cluster: Cluster;
  readonly #graph: OwnerGraph;
  readonly #types: () => ReadonlyMap<string, ResourceType>;
  /** Owners that a live read did not find; a uid never comes back. */
  readonly #absent = new Set<string>();

  constructor(cluster: Cluster, graph: OwnerGraph, types: () => ReadonlyMap<string, ResourceType>) {
    this.#cluster = cluster;
    this.#graph = graph;
    this.#types = types;
  }

  async process(uid: string, enqueue: (uid: string) => void): Promise<void> {
    const node = this.#graph.get(uid);
    if (node === undefined) return;
    if (isOrphaning(node.object)) {
      await this.#orphanDependents(node);
      return;
    }
    if (isDeletingDependents(node.object)) {
      await this.#waitForDependents(node, enqueue);
      return;
    }
    if (node.object.metadata.deletionTimestamp !== undefined) return;
    await this.#judgeOwners(node);
  }

  async #orphanDependents(node: GraphNode): Promise<void> {
    const { uid } = node.object.metadata;
    for (const dependent of this.#graph.dependents(uid)) await this.#dropOwners(dependent, new Set([uid]));
    await this.#removeFinalizer(node, orphan);
  }

  async #waitForDependents(node: GraphNode, enqueue: (uid: string) => void): Promise<void> {
    const { uid } = node.object.metadata;
    const dependents = this.#graph.dependents(uid);
    const blocking = dependents.filter(({ object }) =>
      object.metadata.ownerReferences?.some(
        (reference) => reference.uid === uid && reference.blockOwnerDeletion === true,
      ),
    );
    if (blocking.length === 0) {
      await this.#removeFinalizer(node, foreground);
      return;
    }
    for (const { object } of dependents)
      if (object.metadata.deletionTimestamp === undefined) enqueue(object.metadata.uid);
  }

  async #judgeOwners(node: GraphNode): Promise<void> {
    const { object } = node;
    if ((object.metadata.ownerReferences ?? []).length === 0) return;
    const { solid, gone, waiting } = await this.#owners(node);
    if (solid.length > 0) {
      const dropped = new Set([...gone, ...waiting].map((reference) => reference.uid));
      if (dropped.size > 0) await this.#dropOwners(node, dropped);
      return;
    }
    const dependents = this.#graph.dependents(object.metadata.uid);
    if (waiting.length > 0 && dependents.length > 0) {
      // A circle of owners would wait for itself for ever: what is in deletion already stops blocking.
      for (const dependent of dependents)
        if (isDeletingDependents(dependent.object)) await this.#unblock(dependent, object.metadata.uid);
      await this.#delete(node, 'Foreground');
      return;
    }
    await this.#delete(node, policyOf(object));
  }

  async #owners({ object, type }: GraphNode): Promise<Owners> {
    const solid: OwnerReference[] = [];
    const gone: OwnerReference[] = [];
    const waiting: OwnerReference[] = [];
    for (const reference of object.metadata.ownerReferences ?? []) {
      const owner = await this.#find(reference, type.namespaced ? object.metadata.namespace : undefined);
      if (owner === 'absent') gone.push(reference);
      else if (owner !== 'unknown' && isDeletingDependents(owner)) waiting.push(reference);
      else solid.push(reference);
    }
    return { solid, gone, waiting };
  }

  async #find(
    { apiVersion, kind, name, uid }: OwnerReference,
    namespace: string | undefined,
  ): Promise<KubernetesObject | 'absent' | 'unknown'> {
    const known = this.#graph.get(uid);
    // A reference from another namespace names an object that this dependent cannot have as its owner.
    if (known !== undefined) {
      const isReachable = !known.type.namespaced || known.object.metadata.namespace === namespace;
      if (isReachable) return known.object;
    }
    const type = resourceOf(this.#types(), apiVersion, kind);
    if (type === undefined || (type.namespaced && namespace === undefined)) return 'unknown';
    const id = [type.group, type.resource, namespace, name, uid].join('/');
    if (this.#absent.has(id)) return 'absent';
    const key: ObjectKey = type.namespaced ? { namespace, name } : { name };
    try {
      const live = await this.#cluster.get(type, key);
      if (live.metadata.uid === uid) return live;
    } catch (error) {
      if (!isPintleError(error, 'NOT_FOUND')) throw error;
    }
    if (this.#absent.size >= maxAbsent) this.#absent.clear();
    this.#absent.add(id);
    return 'absent';
  }

  async #dropOwners(node: GraphNode, uids: ReadonlySet<string>): Promise<void> {
    const references = (node.object.metadata.ownerReferences ?? []).filter((reference) => !uids.has(reference.uid));
    await this.#patch(node, { ownerReferences: references });
  }

  async #unblock(node: GraphNode, owner: string): Promise<void> {
    const references = (node.object.metadata.ownerReferences ?? []).map((reference) =>
      reference.uid === owner ? { ...reference, blockOwnerDeletion: false } : reference,
    );
    await this.#patch(node, { ownerReferences: references });
  }

  async #removeFinalizer(node: GraphNode, finalizer: string): Promise<void> {
    const finalizers = (node.object.metadata.finalizers ?? []).filter((name) => name !== finalizer);
    await this.#patch(node, { finalizers });
  }

  /** With uid and resourceVersion: a list is replaced as a whole, so nobody's change in between may be lost. */
  async #patch({ type, object }: GraphNode, metadata: object): Promise<void> {
    const { uid, resourceVersion } = object.metadata;
    const body = { metadata: { uid, resourceVersion, ...metadata } };
    await ignoreGone(this.#cluster.patch(type, keyOfNode(type, object), { kind: 'merge', body }));
  }

  async #delete({ type, object }: GraphNode, propagationPolicy: DeleteOptions['propagationPolicy']): Promise<void> {
    const { uid, resourceVersion } = object.metadata;
    // With the resourceVersion too: whoever gave the object a new owner in the meantime has saved it.
    const options = { propagationPolicy, preconditions: { uid, resourceVersion } };
    await ignoreGone(this.#cluster.delete(type, keyOfNode(type, object), options));
  }
}

function keyOfNode(type: ResourceType, { metadata }: KubernetesObject): ObjectKey {
  return type.namespaced ? { namespace: metadata.namespace, name: metadata.name } : { name: metadata.name };
}

function policyOf({ metadata }: KubernetesObject): DeleteOptions['propagationPolicy'] {
  if (metadata.finalizers?.includes(orphan) === true) return 'Orphan';
  return metadata.finalizers?.includes(foreground) === true ? 'Foreground' : 'Background';
}

async function ignoreGone(work: Promise<unknown>): Promise<void> {
  try {
    await work;
  } catch (error) {
    if (!isPintleError(error, 'NOT_FOUND')) throw error;
  }
}
