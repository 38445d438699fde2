/**
 * What a pod class must know of every node, added up over all of them, at the price of the nodes that changed: each node's
 * part is kept by its generation, the sum by the revision of the cluster. Without a revision nothing is kept.
 */
import type { ClusterState, NodeState, PodClass } from '../../contract/index.ts';

/** Classes of which parts are kept for one cluster; the least recently used goes first. */
const maxClasses = 64;

interface Kept<Part, Sum> {
  readonly parts: Map<string, { readonly generation: number; readonly part: Part }>;
  readonly namespaces: ClusterState['namespaces'];
  readonly revision: number;
  readonly sum: Sum;
}

export function summedOverNodes<Part, Sum>(
  part: (pod: PodClass, node: NodeState, cluster: ClusterState) => Part,
  sum: (pod: PodClass, parts: readonly (readonly [NodeState, Part])[]) => Sum,
): (pod: PodClass, cluster: ClusterState) => Sum {
  const clusters = new WeakMap<ClusterState, Map<string, Kept<Part, Sum>>>();

  return (pod, cluster) => {
    const { revision } = cluster;
    if (revision === undefined)
      return sum(
        pod,
        [...cluster.nodes.values()].map((node) => [node, part(pod, node, cluster)] as const),
      );
    let classes = clusters.get(cluster);
    if (classes === undefined) clusters.set(cluster, (classes = new Map()));
    let kept = classes.get(pod.key);
    if (kept?.namespaces !== cluster.namespaces) kept = undefined;
    if (kept?.revision === revision) return kept.sum;
    const parts = kept?.parts ?? new Map<string, { readonly generation: number; readonly part: Part }>();
    const list: (readonly [NodeState, Part])[] = [];
    for (const node of cluster.nodes.values()) {
      let known = parts.get(node.name);
      if (known?.generation !== node.generation)
        parts.set(node.name, (known = { generation: node.generation, part: part(pod, node, cluster) }));
      list.push([node, known.part]);
    }
    if (parts.size > list.length) for (const name of parts.keys()) if (!cluster.nodes.has(name)) parts.delete(name);
    const answer = sum(pod, list);
    classes.delete(pod.key);
    classes.set(pod.key, { parts, namespaces: cluster.namespaces, revision, sum: answer });
    if (classes.size > maxClasses) classes.delete(classes.keys().next().value as string);
    return answer;
  };
}

/** Amounts by topology domain: label key → label value → amount. */
export class Domains {
  readonly #amounts = new Map<string, Map<string, number>>();

  add(node: NodeState, topologyKey: string, amount: number): void {
    const value = domainOf(node, topologyKey);
    if (value === undefined) return;
    let values = this.#amounts.get(topologyKey);
    if (values === undefined) this.#amounts.set(topologyKey, (values = new Map()));
    values.set(value, (values.get(value) ?? 0) + amount);
  }

  of(node: NodeState, topologyKey: string): number {
    const value = domainOf(node, topologyKey);
    return value === undefined ? 0 : (this.#amounts.get(topologyKey)?.get(value) ?? 0);
  }

  values(topologyKey: string): ReadonlyMap<string, number> {
    return this.#amounts.get(topologyKey) ?? new Map();
  }

  get isEmpty(): boolean {
    for (const values of this.#amounts.values()) for (const amount of values.values()) if (amount !== 0) return false;
    return true;
  }
}

export function domainOf({ node }: NodeState, topologyKey: string): string | undefined {
  const labels = node.metadata.labels ?? {};
  return Object.hasOwn(labels, topologyKey) ? labels[topologyKey] : undefined;
}
