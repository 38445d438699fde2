/** Writes the EndpointSlices of every Service with a selector; slices of other makers are left alone. */
import { isPintleError, type Clock, type Cluster, type Logger } from '../../../kernel/contract/index.ts';
import type { Endpoint, EndpointSlice, Node, Service } from '../../../kernel/contract/kubernetes.ts';
import type { EventRecorder } from '../../../kernel/machinery/event-recorder.ts';
import { informersFor, type Informer } from '../../../kernel/machinery/informer.ts';
import { equalJson } from '../../../kernel/machinery/json-value.ts';
import { ownerReference } from '../../../kernel/machinery/metadata.ts';
import { runReconciler } from '../../../kernel/machinery/reconciler.ts';
import { resources } from '../../../kernel/machinery/resources.ts';
import { hasEndpoints, podsOf } from '../../../kernel/machinery/service-endpoints.ts';
import { endpointLabels, ServicePods } from '../../../kernel/machinery/service-pods.ts';
import type { WorkQueue } from '../../../kernel/machinery/work-queue.ts';
import { lastChange, triggerAnnotations } from './trigger-time.ts';
import { planSlices } from './plan-slices.ts';
import { groupKey, wantedGroups, type EndpointGroup } from './wanted-endpoints.ts';

const serviceNameLabel = 'kubernetes.io/service-name';
const managedByLabel = 'endpointslice.kubernetes.io/managed-by';
const managedBy = 'endpointslice-controller.k8s.io';
const zoneLabel = 'topology.kubernetes.io/zone';

export interface EndpointSliceControllerOptions {
  readonly cluster: Cluster;
  readonly concurrency: number;
  readonly maxEndpointsPerSlice: number;
  readonly record: EventRecorder;
  readonly log: Logger;
  readonly clock: Clock;
}

export class EndpointSliceController {
  readonly #options: EndpointSliceControllerOptions;
  readonly #behind: ServicePods;
  readonly #nodes: Informer<Node>;
  readonly #slices: Informer<EndpointSlice>;

  /** When the pods or the Service changed last that are looked at now. */
  readonly #changedAt = new Map<string, string>();

  constructor(options: EndpointSliceControllerOptions) {
    const informers = informersFor(options.cluster, options.log);
    this.#options = options;
    this.#behind = new ServicePods(options);
    this.#nodes = informers.get(resources.nodes);
    this.#slices = informers.get(resources.endpointSlices);
  }

  run(signal: AbortSignal): Promise<void> {
    return runReconciler(
      {
        ...this.#options,
        name: 'endpoint-slice',
        informers: [this.#behind.services, this.#behind.pods, this.#nodes, this.#slices],
        watch: (queue) => this.#watch(queue),
        reconcile: (key, queue) => this.#reconcile(key, queue),
      },
      signal,
    );
  }

  #watch(queue: WorkQueue<string>): void {
    const { pods } = this.#behind;
    pods.addIndex('node', (pod) => (pod.spec.nodeName === undefined ? [] : [pod.spec.nodeName]));
    this.#slices.addIndex('service', (slice) => {
      const { namespace, labels = {} } = slice.metadata;
      const isOurs = labels[managedByLabel] === managedBy && labels[serviceNameLabel] !== undefined;
      return isOurs ? [`${namespace}/${labels[serviceNameLabel]}`] : [];
    });
    this.#behind.watch(queue);
    this.#slices.onChange(({ object, previous }) => {
      for (const slice of [object, previous]) {
        const name = slice?.metadata.labels?.[serviceNameLabel];
        if (slice !== undefined && name !== undefined) queue.add(`${slice.metadata.namespace}/${name}`);
      }
    });
    this.#nodes.onChange(({ key, object, previous }) => {
      if (object?.metadata.labels?.[zoneLabel] === previous?.metadata.labels?.[zoneLabel]) return;
      for (const pod of pods.byIndex('node', key)) this.#behind.enqueueServicesOf(pod, queue);
    });
  }

  async #reconcile(key: string, queue: WorkQueue<string>): Promise<void> {
    if (!this.#behind.isDue(key, queue)) return;
    const service = this.#behind.services.get(key);
    const slices = this.#slices.byIndex('service', key);
    if (service === undefined || service.metadata.deletionTimestamp !== undefined) {
      this.#behind.expectations.forget(key);
      this.#changedAt.delete(key);
      for (const slice of slices) await this.#delete(key, slice);
      return;
    }
    if (!hasEndpoints(service)) {
      if (service.spec.type === 'ExternalName') for (const slice of slices) await this.#delete(key, slice);
      return;
    }
    try {
      await this.#sync(key, service, slices);
    } catch (error) {
      if (!isPintleError(error, 'CONFLICT'))
        this.#options.record(service, 'Warning', 'FailedToUpdateEndpointSlices', String(error));
      throw error;
    }
  }

  async #sync(key: string, service: Service, slices: readonly EndpointSlice[]): Promise<void> {
    const pods = podsOf(service, this.#behind.pods);
    this.#behind.pace.worked(key, pods.length);
    const groups = wantedGroups(service, pods, (name) => this.#nodes.get(name));
    const existing = new Map<string, EndpointSlice[]>();
    for (const slice of slices) {
      const id = groupKey(slice.addressType, slice.ports ?? []);
      const known = existing.get(id);
      if (known === undefined) existing.set(id, [slice]);
      else known.push(slice);
    }
    const labels = sliceLabels(service);
    this.#changedAt.set(key, lastChange(service, pods));
    const missing: { readonly group: EndpointGroup; readonly endpoints: readonly Endpoint[] }[] = [];
    const doomed: EndpointSlice[] = [];
    for (const [id, group] of groups) {
      const known = existing.get(id) ?? [];
      const plan = planSlices(group, known, this.#options.maxEndpointsPerSlice);
      for (const endpoints of plan.create) missing.push({ group, endpoints });
      for (const { slice, endpoints } of plan.update) await this.#update(key, slice, labels, endpoints);
      const isPlanned = (slice: EndpointSlice) =>
        plan.remove.includes(slice) || plan.update.some((update) => update.slice === slice);
      for (const slice of known.filter((one) => !isPlanned(one)))
        if (!equalJson(slice.metadata.labels, labels)) await this.#update(key, slice, labels, slice.endpoints ?? []);
      doomed.push(...plan.remove);
    }
    for (const [id, rest] of existing) if (!groups.has(id)) doomed.push(...rest);
    // A slice that would go is used for one that is missing: one write instead of two, and no moment without endpoints.
    for (const { group, endpoints } of missing) {
      const at = doomed.findIndex((slice) => slice.addressType === group.addressType);
      const [recycled] = at < 0 ? [] : doomed.splice(at, 1);
      if (recycled === undefined) await this.#create(key, service, group, labels, endpoints);
      else await this.#update(key, { ...recycled, ports: [...group.ports] }, labels, endpoints);
    }
    for (const slice of doomed) await this.#delete(key, slice);
  }

  async #create(
    key: string,
    service: Service,
    { addressType, ports }: EndpointGroup,
    labels: Readonly<Record<string, string>>,
    endpoints: readonly Endpoint[],
  ): Promise<void> {
    const { name, namespace } = service.metadata;
    const slice = await this.#options.cluster.create(resources.endpointSlices, {
      metadata: {
        generateName: `${name}-`,
        namespace,
        labels: { ...labels },
        annotations: triggerAnnotations(undefined, this.#changedAt.get(key)),
        ownerReferences: [ownerReference(service)],
      },
      addressType,
      ports: [...ports],
      endpoints: [...endpoints],
    });
    this.#behind.expectations.written(key, this.#slices, slice);
  }

  async #update(
    key: string,
    slice: EndpointSlice,
    labels: Readonly<Record<string, string>>,
    endpoints: readonly Endpoint[],
  ): Promise<void> {
    const written = await this.#options.cluster.update(resources.endpointSlices, {
      ...slice,
      metadata: {
        ...slice.metadata,
        labels: { ...labels },
        annotations: triggerAnnotations(slice.metadata.annotations, this.#changedAt.get(key)),
      },
      endpoints: [...endpoints],
    });
    this.#behind.expectations.written(key, this.#slices, written);
  }

  async #delete(key: string, slice: EndpointSlice): Promise<void> {
    await this.#behind.delete(resources.endpointSlices, slice);
    this.#behind.expectations.deleted(key, this.#slices, slice);
  }
}

const sliceLabels = (service: Service): Readonly<Record<string, string>> =>
  endpointLabels(service, { [serviceNameLabel]: service.metadata.name, [managedByLabel]: managedBy });
