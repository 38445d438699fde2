/**
 * Kind `scheduler`: a placement policy. The loop (component `scheduler`) owns queue, cache, binding and events; a policy
 * only judges, by pure functions over (pod class, node state).
 *
 * A *pod class* is all that the policy may look at of a pod; pods with the same `key` are interchangeable. The loop
 * caches verdicts and scores by (class, node, node.generation) and asks again only about nodes that changed, so 5,000
 * nodes do not cost 5,000 evaluations a pod. A class with `local: false` depends on other nodes too (inter-pod affinity,
 * topology spread): its verdicts are not cached, and `cluster` is given.
 *
 * Guarantees: `filter` and `score` are synchronous, pure and total: same arguments, same answer, no I/O, no clock, no
 * random, arguments unchanged. A verdict is a value; throwing is a bug that fails this one pod.
 * Several policies run side by side, each under its profile name; a pod chooses by spec.schedulerName.
 * Units: cpu in millicores, memory, ephemeral-storage and hugepages in bytes, everything else in pieces.
 * Capabilities: `inter-pod` (judges classes with local: false).
 */
import type { Node, Pod } from './kubernetes.ts';

export type SchedulerCapability = 'inter-pod';

/** Resource name → amount, in the units above: { cpu: 250, memory: 134217728, pods: 1 } */
export type Resources = Readonly<Record<string, number>>;

export interface PodClass {
  readonly key: string;
  readonly local: boolean;
  /** A representative: its spec, labels and namespace are those of every pod of the class. */
  readonly pod: Pod;
  readonly requests: Resources;
  readonly hostPorts: readonly { readonly ip: string; readonly protocol: string; readonly port: number }[];
}

export interface NodeState {
  readonly name: string;
  readonly node: Node;
  /** Changes whenever anything in this state changes. */
  readonly generation: number;
  readonly allocatable: Resources;
  /** Sum of the requests of the pods on the node, assumed ones included. `pods` counts them. */
  readonly requested: Resources;
  readonly pods: ReadonlyMap<string, Pod>;
  /** "protocol/ip/port" in use. */
  readonly hostPorts: ReadonlySet<string>;
}

export interface ClusterState {
  readonly nodes: ReadonlyMap<string, NodeState>;
  /** Changes whenever any node's state, or the namespaces, change: what was worked out for one revision holds for it. */
  readonly revision?: number | undefined;
  /** Labels of each namespace, for affinity terms that choose namespaces by them. A new map whenever one changes. */
  readonly namespaces?: ReadonlyMap<string, Readonly<Record<string, string>>> | undefined;
}

export type Verdict =
  | { readonly fits: true }
  | {
      readonly fits: false;
      /** As kube-scheduler words them; counted in "0/3 nodes are available: 2 Insufficient cpu, ...". */
      readonly reasons: readonly string[];
      /** True when evicting lower-priority pods could make it fit. */
      readonly resolvable: boolean;
    };

export interface SchedulerPolicy {
  /** Default: everything of spec, labels and namespace that matters to scheduling. */
  classify?(pod: Pod): { readonly key: string; readonly local: boolean };
  filter(pod: PodClass, node: NodeState, cluster: ClusterState): Verdict;
  /** 0 (worst) to 100 (best), only for nodes that fit. */
  score(pod: PodClass, node: NodeState, cluster: ClusterState): number;
}
