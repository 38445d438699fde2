/**
 * What the scheduler knows of nodes and of the pods on them, assumed ones included. Every change of a node gives it a new
 * generation and one entry in the change log, from which each pod class learns what it must judge again.
 */
import type { ClusterState, NodeState, Resources } from '../../../kernel/contract/index.ts';
import type { Node, Pod } from '../../../kernel/contract/kubernetes.ts';
import { equalJson } from '../../../kernel/machinery/json-value.ts';
import { Repelling } from './repelling.ts';
import {
  addAmounts,
  amounts,
  hostPortKey,
  podHostPorts,
  podRequests,
  subtractAmounts,
} from '../../../kernel/machinery/scheduling/pod-requests.ts';

interface PlacedPod {
  readonly nodeName: string;
  readonly requests: Resources;
  readonly hostPorts: readonly string[];
  readonly priority: number;
}

interface NodeEntry extends NodeState {
  node: Node;
  generation: number;
  allocatable: Resources;
  readonly requested: Record<string, number>;
  readonly pods: Map<string, Pod>;
  hostPorts: Set<string>;
  /** False while only pods name it. */
  exists: boolean;
}

export class NodeCache implements ClusterState {
  readonly nodes = new Map<string, NodeState>();
  readonly #entries = new Map<string, NodeEntry>();
  #namespaces: ReadonlyMap<string, Readonly<Record<string, string>>> = new Map();
  #revision = 0;
  readonly #repelling = new Repelling();
  /** How many pods have which priority: few are different. */
  readonly #priorities = new Map<number, number>();
  readonly #placed = new Map<string, PlacedPod>();
  #log: string[] = [];
  #logStart = 0;
  #generation = 0;

  get revision(): number {
    return this.#revision;
  }

  get namespaces(): ReadonlyMap<string, Readonly<Record<string, string>>> {
    return this.#namespaces;
  }

  setNamespace(name: string, labels: Readonly<Record<string, string>> | undefined): void {
    if (labels !== undefined && equalJson(labels, this.#namespaces.get(name))) return;
    const changed = new Map(this.#namespaces);
    if (labels === undefined) changed.delete(name);
    else changed.set(name, labels);
    this.#namespaces = changed;
    this.#revision++;
  }

  /** Of all pods that are placed; Infinity without any. */
  get lowestPriority(): number {
    let lowest = Infinity;
    for (const priority of this.#priorities.keys()) lowest = Math.min(lowest, priority);
    return lowest;
  }

  isPlaced(key: string): boolean {
    return this.#placed.has(key);
  }

  #countPriority(priority: number, change: number): void {
    const count = (this.#priorities.get(priority) ?? 0) + change;
    if (count === 0) this.#priorities.delete(priority);
    else this.#priorities.set(priority, count);
  }

  /** True when a pod that is placed may keep this one away by its anti-affinity. */
  repels(pod: Pod): boolean {
    return this.#repelling.concerns(pod, this.#namespaces);
  }

  /** Position behind the last change. */
  get position(): number {
    return this.#logStart + this.#log.length;
  }

  /** Names of the nodes that changed since `position`, repeats included; undefined when that is too long ago to tell. */
  changesSince(position: number): readonly string[] | undefined {
    return position < this.#logStart ? undefined : this.#log.slice(position - this.#logStart);
  }

  setNode(node: Node): void {
    const { name } = node.metadata;
    const entry = this.#entry(name);
    const isSame = entry.exists && isSameNode(entry.node, node);
    entry.node = node;
    if (isSame) return;
    entry.allocatable = amounts(node.status?.allocatable ?? node.status?.capacity);
    entry.exists = true;
    this.nodes.set(name, entry);
    this.#changed(entry);
  }

  removeNode(name: string): void {
    const entry = this.#entries.get(name);
    if (entry === undefined || !entry.exists) return;
    entry.exists = false;
    this.nodes.delete(name);
    this.#changed(entry);
    if (entry.pods.size === 0) this.#entries.delete(name);
  }

  /** Puts the pod onto the node that it names, away from any other. */
  setPod(key: string, pod: Pod, nodeName: string): void {
    const before = this.#placed.get(key);
    if (before !== undefined) {
      const pods = this.#entry(before.nodeName).pods;
      const known = pods.get(key);
      if (before.nodeName === nodeName && known !== undefined && isSamePod(known, pod)) {
        pods.set(key, pod);
        return;
      }
      this.removePod(key);
    }
    const placed = {
      nodeName,
      requests: podRequests(pod),
      hostPorts: podHostPorts(pod).map(hostPortKey),
      priority: pod.spec.priority ?? 0,
    };
    this.#countPriority(placed.priority, 1);
    this.#placed.set(key, placed);
    const entry = this.#entry(nodeName);
    addAmounts(entry.requested, placed.requests);
    for (const port of placed.hostPorts) entry.hostPorts.add(port);
    entry.pods.set(key, pod);
    this.#repelling.add(key, pod);
    this.#changed(entry);
  }

  /** True when the pod was on a node. */
  removePod(key: string): boolean {
    const placed = this.#placed.get(key);
    if (placed === undefined) return false;
    this.#placed.delete(key);
    this.#countPriority(placed.priority, -1);
    const entry = this.#entry(placed.nodeName);
    entry.pods.delete(key);
    this.#repelling.remove(key);
    subtractAmounts(entry.requested, placed.requests);
    if (placed.hostPorts.length > 0)
      // Pods that were bound by hand may share a port, so the set is made anew.
      entry.hostPorts = new Set([...entry.pods.keys()].flatMap((other) => this.#placed.get(other)?.hostPorts ?? []));
    this.#changed(entry);
    if (!entry.exists && entry.pods.size === 0) this.#entries.delete(placed.nodeName);
    return true;
  }

  #entry(name: string): NodeEntry {
    let entry = this.#entries.get(name);
    if (entry === undefined) {
      entry = {
        name,
        node: undefined as unknown as Node,
        generation: 0,
        allocatable: {},
        requested: {},
        pods: new Map(),
        hostPorts: new Set(),
        exists: false,
      };
      this.#entries.set(name, entry);
    }
    return entry;
  }

  #changed(entry: NodeEntry): void {
    entry.generation = ++this.#generation;
    this.#revision++;
    this.#log.push(entry.name);
    const limit = 1024 + 4 * this.nodes.size;
    if (this.#log.length <= limit) return;
    // Half is kept, so that trimming is rare and a class that is used often need not start over.
    const dropped = this.#log.length >> 1;
    this.#log = this.#log.slice(dropped);
    this.#logStart += dropped;
  }
}

/** Whether a policy could tell them apart: not by heartbeats, of which there is one a node every few seconds. */
function isSameNode(a: Node, b: Node): boolean {
  const visible = ({ metadata, spec, status = {} }: Node) => [
    metadata.uid,
    metadata.labels,
    metadata.annotations,
    spec,
    status.allocatable,
    status.capacity,
    status.images?.length,
    status.conditions?.map((condition) => [condition.type, condition.status]),
  ];
  return equalJson(visible(a), visible(b));
}

/** Whether a policy could tell them apart: not by status. */
function isSamePod(a: Pod, b: Pod): boolean {
  const visible = ({ metadata, spec }: Pod) => [
    metadata.uid,
    metadata.labels,
    metadata.annotations,
    { ...spec, nodeName: '' },
  ];
  return equalJson(visible(a), visible(b));
}
