/** Writes the Endpoints object of every Service with a selector, under the Service's name. */
import { isPintleError, type Clock, type Cluster, type Logger } from '../../../kernel/contract/index.ts';
import type { Endpoints, EndpointSubset, Pod, Service } from '../../../kernel/contract/kubernetes.ts';
import { Expectations } from '../../../kernel/machinery/expectations.ts';
import { informersFor, type Informer } from '../../../kernel/machinery/informer.ts';
import { equalJson } from '../../../kernel/machinery/json-value.ts';
import { keyOf, splitKey } from '../../../kernel/machinery/metadata.ts';
import { Pace } from '../../../kernel/machinery/pace.ts';
import { runReconciler } from '../../../kernel/machinery/reconciler.ts';
import { resources } from '../../../kernel/machinery/resources.ts';
import {
  hasEndpoints,
  isHeadless,
  labelIndex,
  podsOf,
  selectorIndex,
  servicesOf,
} from '../../../kernel/machinery/service-endpoints.ts';
import type { WorkQueue } from '../../../kernel/machinery/work-queue.ts';
import { wantedSubsets } from './wanted-subsets.ts';

const managedByLabel = 'endpoints.kubernetes.io/managed-by';
const managedBy = 'endpoint-controller';
const headlessLabel = 'service.kubernetes.io/headless';
const overCapacity = 'endpoints.kubernetes.io/over-capacity';

export interface EndpointsControllerOptions {
  readonly cluster: Cluster;
  readonly concurrency: number;
  readonly log: Logger;
  readonly clock: Clock;
}

export class EndpointsController {
  readonly #options: EndpointsControllerOptions;
  readonly #services: Informer<Service>;
  readonly #pods: Informer<Pod>;
  readonly #endpoints: Informer<Endpoints>;
  readonly #expectations: Expectations;
  readonly #pace: Pace;

  constructor(options: EndpointsControllerOptions) {
    const informers = informersFor(options.cluster, options.log);
    this.#options = options;
    this.#services = informers.get(resources.services);
    this.#pods = informers.get(resources.pods);
    this.#endpoints = informers.get(resources.endpoints);
    this.#expectations = new Expectations(options.clock);
    this.#pace = new Pace(options.clock);
  }

  run(signal: AbortSignal): Promise<void> {
    return runReconciler(
      {
        ...this.#options,
        name: 'endpoints',
        informers: [this.#services, this.#pods, this.#endpoints],
        watch: (queue) => this.#watch(queue),
        reconcile: (key, queue) => this.#reconcile(key, queue),
      },
      signal,
    );
  }

  #watch(queue: WorkQueue<string>): void {
    this.#services.addIndex('selector', selectorIndex);
    this.#pods.addIndex('label', labelIndex);
    this.#services.onChange(({ key }) => queue.add(key));
    this.#endpoints.onChange(({ key }) => queue.add(key));
    this.#pods.onChange(({ object, previous }) => {
      for (const pod of [object, previous])
        if (pod !== undefined) for (const service of servicesOf(pod, this.#services)) queue.add(keyOf(service));
    });
  }

  async #reconcile(key: string, queue: WorkQueue<string>): Promise<void> {
    if (!this.#pace.mayWork(key, queue)) return;
    if (!this.#expectations.areMet(key)) {
      queue.addAfter(key, 1000);
      return;
    }
    const service = this.#services.get(key);
    const existing = this.#endpoints.get(key);
    if (service === undefined || service.metadata.deletionTimestamp !== undefined) {
      this.#expectations.forget(key);
      // Endpoints that somebody wrote by hand stay.
      if (existing?.metadata.labels?.[managedByLabel] === managedBy) await this.#delete(key, existing);
      return;
    }
    if (!hasEndpoints(service)) return;
    const pods = podsOf(service, this.#pods);
    this.#pace.worked(key, pods.length);
    const { subsets, isTruncated } = wantedSubsets(service, pods);
    await this.#write(key, service, existing, subsets, isTruncated);
  }

  async #write(
    key: string,
    service: Service,
    existing: Endpoints | undefined,
    subsets: readonly EndpointSubset[],
    isTruncated: boolean,
  ): Promise<void> {
    const { cluster } = this.#options;
    const { namespace, name } = service.metadata;
    const own: Record<string, string> = { ...service.metadata.labels };
    delete own[headlessLabel];
    const labels = { ...own, [managedByLabel]: managedBy, ...(isHeadless(service) ? { [headlessLabel]: '' } : {}) };
    const annotations = { ...existing?.metadata.annotations };
    if (isTruncated) annotations[overCapacity] = 'truncated';
    else delete annotations[overCapacity];
    if (existing === undefined) {
      const created = await cluster.create(resources.endpoints, {
        metadata: { namespace, name, labels, annotations },
        subsets: [...subsets],
      });
      this.#expectations.written(key, this.#endpoints, created);
      return;
    }
    const state = (metadata: Endpoints['metadata'], list: readonly EndpointSubset[] | undefined) => [
      metadata.labels ?? {},
      metadata.annotations ?? {},
      list ?? [],
    ];
    const wanted = { ...existing.metadata, labels, annotations };
    if (equalJson(state(existing.metadata, existing.subsets), state(wanted, subsets))) return;
    const written = await cluster.update(resources.endpoints, { ...existing, metadata: wanted, subsets: [...subsets] });
    this.#expectations.written(key, this.#endpoints, written);
  }

  async #delete(key: string, endpoints: Endpoints): Promise<void> {
    try {
      const preconditions = { uid: endpoints.metadata.uid };
      await this.#options.cluster.delete(resources.endpoints, splitKey(key), { preconditions });
    } catch (error) {
      if (!isPintleError(error, 'NOT_FOUND', 'CONFLICT')) throw error;
    }
  }
}
