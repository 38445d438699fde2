/** Who owns whom, by uid, over all resources; owners that were never seen are only known from what depends on them. */
import type { KubernetesObject, ResourceType } from '../../../kernel/contract/index.ts';

export interface GraphNode {
  readonly type: ResourceType;
  readonly object: KubernetesObject;
}

export class OwnerGraph {
  readonly #nodes = new Map<string, GraphNode>();
  readonly #dependents = new Map<string, Set<string>>();

  get(uid: string): GraphNode | undefined {
    return this.#nodes.get(uid);
  }

  set(type: ResourceType, object: KubernetesObject): void {
    const { uid } = object.metadata;
    const before = this.#nodes.get(uid);
    if (before !== undefined) this.#unlink(before.object);
    this.#nodes.set(uid, { type, object });
    for (const { uid: owner } of object.metadata.ownerReferences ?? []) {
      const dependents = this.#dependents.get(owner);
      if (dependents === undefined) this.#dependents.set(owner, new Set([uid]));
      else dependents.add(uid);
    }
  }

  remove(uid: string): void {
    const before = this.#nodes.get(uid);
    if (before === undefined) return;
    this.#unlink(before.object);
    this.#nodes.delete(uid);
  }

  dependents(uid: string): readonly GraphNode[] {
    return [...(this.#dependents.get(uid) ?? [])].flatMap((dependent) => this.#nodes.get(dependent) ?? []);
  }

  *uids(): Iterable<string> {
    yield* this.#nodes.keys();
  }

  #unlink(object: KubernetesObject): void {
    for (const { uid: owner } of object.metadata.ownerReferences ?? []) {
      const dependents = this.#dependents.get(owner);
      dependents?.delete(object.metadata.uid);
      if (dependents?.size === 0) this.#dependents.delete(owner);
    }
  }
}
