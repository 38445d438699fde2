/**
 * metrics.k8s.io/v1beta1: NodeMetrics and PodMetrics, computed when they are read. Labels are those of the Node and the
 * Pod, so that selectors find what they find there.
 */
import type {
  ContainerUsage,
  KubernetesObject,
  ListOptions,
  NodeUsage,
  ObjectKey,
  ObjectList,
  PodUsage,
  ResourceType,
} from '../../../../kernel/contract/index.ts';
import type { Node, NodeMetrics, Pod, PodMetrics } from '../../../../kernel/contract/kubernetes.ts';
import { canonicalQuantity } from '../../../../kernel/machinery/quantity.ts';
import { resources } from '../../../../kernel/machinery/resources.ts';
import { notFound } from '../api-errors.ts';
import type { Resource } from '../catalog.ts';
import { timestamp, type Engine } from '../engine.ts';
import type { NodeConnections } from '../node-connections.ts';
import { select } from '../selection.ts';
import { NodeUsages } from './node-usages.ts';

export class ResourceMetrics {
  readonly #engine: Engine;
  readonly #usages: NodeUsages;

  constructor(engine: Engine, nodes: NodeConnections) {
    this.#engine = engine;
    this.#usages = new NodeUsages(nodes, engine.clock, engine.log);
  }

  /** The resource, when it is one of these. */
  find(type: Pick<ResourceType, 'group' | 'version' | 'resource'>): Resource | undefined {
    return type.group === resources.podMetrics.group ? this.#engine.catalog.resource(type) : undefined;
  }

  async get(resource: Resource, key: ObjectKey): Promise<NodeMetrics | PodMetrics> {
    this.#engine.key(resource, key);
    const fieldSelector = `metadata.name=${key.name}`;
    const { items } = await this.list(resource, { namespace: key.namespace, fieldSelector });
    const [found] = items;
    if (found === undefined) throw notFound(resource.served, key.name);
    return found;
  }

  async list(resource: Resource, options: ListOptions): Promise<ObjectList<NodeMetrics | PodMetrics>> {
    await this.#engine.state.fresh();
    const items = resource.served.namespaced
      ? await this.#pods(resource, options)
      : await this.#nodes(resource, options);
    return { items, resourceVersion: String(this.#engine.state.revision) };
  }

  async #nodes(resource: Resource, options: ListOptions): Promise<readonly NodeMetrics[]> {
    const nodes = this.#selected<Node>(resources.nodes, resource, options);
    const usages = await this.#usages.of(nodes.map((node) => node.metadata.name));
    return nodes.flatMap((node) => {
      const usage = usages.get(node.metadata.name);
      // One sample says nothing about CPU yet.
      if (usage === undefined || usage.windowMs === 0) return [];
      return [this.#nodeMetrics(node, usage)];
    });
  }

  async #pods(resource: Resource, options: ListOptions): Promise<readonly PodMetrics[]> {
    const pods = this.#selected<Pod>(resources.pods, resource, options).filter(
      (pod) => pod.spec.nodeName !== undefined && pod.status?.phase === 'Running',
    );
    const usages = await this.#usages.of([...new Set(pods.map((pod) => pod.spec.nodeName!))]);
    const byUid = new Map<string, PodUsage>();
    for (const usage of usages.values()) for (const pod of usage.pods) byUid.set(pod.uid, pod);
    return pods.flatMap((pod) => {
      const usage = byUid.get(pod.metadata.uid);
      // Without one container's figure the pod's sum would be wrong: it is missing until all are known.
      if (usage === undefined || usage.containers.length === 0 || usage.unsampled.length > 0) return [];
      return [this.#podMetrics(pod, usage)];
    });
  }

  #selected<T extends KubernetesObject>(of: ResourceType<T>, resource: Resource, options: ListOptions): readonly T[] {
    const selection = select(resource, options);
    const objects: T[] = [];
    this.#engine.stored(of, 'list').storage.collection.tree.scan(selection.prefix, (key, object) => {
      if (!key.startsWith(selection.prefix)) return false;
      if (selection.matches(object)) objects.push(object as T);
      return true;
    });
    return objects;
  }

  #nodeMetrics(node: Node, usage: NodeUsage): NodeMetrics {
    return {
      apiVersion: 'metrics.k8s.io/v1beta1',
      kind: 'NodeMetrics',
      metadata: this.#metadata(node) as NodeMetrics['metadata'],
      timestamp: timestamp(usage.timeMs),
      window: windowText(usage.windowMs),
      usage: resourceList(usage.cpu.nanoCores, usage.memory.workingSetBytes),
    };
  }

  #podMetrics(pod: Pod, usage: PodUsage): PodMetrics {
    const first = usage.containers.reduce((oldest, each) => (each.timeMs < oldest.timeMs ? each : oldest));
    return {
      apiVersion: 'metrics.k8s.io/v1beta1',
      kind: 'PodMetrics',
      metadata: this.#metadata(pod) as PodMetrics['metadata'],
      timestamp: timestamp(first.timeMs),
      window: windowText(first.windowMs),
      containers: usage.containers.map(({ name, cpu, memory }: ContainerUsage) => ({
        name,
        usage: resourceList(cpu.nanoCores, memory.workingSetBytes),
      })),
    };
  }

  #metadata({ metadata }: Node | Pod): object {
    const { name, namespace, labels } = metadata;
    return {
      name,
      ...(namespace !== undefined && { namespace }),
      creationTimestamp: timestamp(this.#engine.clock.now()),
      ...(labels && { labels }),
    };
  }
}

function resourceList(nanoCores: number, bytes: number): Record<string, string> {
  return {
    cpu: canonicalQuantity(`${Math.round(nanoCores)}n`),
    memory: canonicalQuantity(`${Math.floor(bytes / 1024)}Ki`),
  };
}

/** As Go prints a span below a minute; a longer one is read the same way. */
function windowText(ms: number): string {
  return `${ms / 1000}s`;
}
