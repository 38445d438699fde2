/** Writes the Endpoints object of every Service with a selector, under the Service's name. */
import type { Clock, Cluster, Logger } from '../../../kernel/contract/index.ts';
import type { Endpoints, EndpointSubset, Service } from '../../../kernel/contract/kubernetes.ts';
import { informersFor, type Informer } from '../../../kernel/machinery/informer.ts';
import { equalJson } from '../../../kernel/machinery/json-value.ts';
import { runReconciler } from '../../../kernel/machinery/reconciler.ts';
import { resources } from '../../../kernel/machinery/resources.ts';
import { hasEndpoints, podsOf } from '../../../kernel/machinery/service-endpoints.ts';
import { endpointLabels, ServicePods } from '../../../kernel/machinery/service-pods.ts';
import type { WorkQueue } from '../../../kernel/machinery/work-queue.ts';
import { wantedSubsets } from './wanted-subsets.ts';

const managedByLabel = 'endpoints.kubernetes.io/managed-by';
const managedBy = 'endpoint-controller';
const overCapacity = 'endpoints.kubernetes.io/over-capacity';

export interface EndpointsControllerOptions {
  readonly cluster: Cluster;
  readonly concurrency: number;
  readonly log: Logger;
  readonly clock: Clock;
}

export class EndpointsController {
  readonly #options: EndpointsControllerOptions;
  readonly #behind: ServicePods;
  readonly #endpoints: Informer<Endpoints>;

  constructor(options: EndpointsControllerOptions) {
    this.#options = options;
    this.#behind = new ServicePods(options);
    this.#endpoints = informersFor(options.cluster, options.log).get(resources.endpoints);
  }

  run(signal: AbortSignal): Promise<void> {
    return runReconciler(
      {
        ...this.#options,
        name: 'endpoints',
        informers: [this.#behind.services, this.#behind.pods, this.#endpoints],
        watch: (queue) => this.#watch(queue),
        reconcile: (key, queue) => this.#reconcile(key, queue),
      },
      signal,
    );
  }

  #watch(queue: WorkQueue<string>): void {
    this.#behind.watch(queue);
    this.#endpoints.onChange(({ key }) => queue.add(key));
  }

  async #reconcile(key: string, queue: WorkQueue<string>): Promise<void> {
    if (!this.#behind.isDue(key, queue)) return;
    const service = this.#behind.services.get(key);
    const existing = this.#endpoints.get(key);
    if (service === undefined || service.metadata.deletionTimestamp !== undefined) {
      this.#behind.expectations.forget(key);
      // Endpoints that somebody wrote by hand stay.
      if (existing?.metadata.labels?.[managedByLabel] === managedBy)
        await this.#behind.delete(resources.endpoints, existing);
      return;
    }
    if (!hasEndpoints(service)) return;
    const pods = podsOf(service, this.#behind.pods);
    this.#behind.pace.worked(key, pods.length);
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
    const labels = endpointLabels(service, { [managedByLabel]: managedBy });
    const annotations = { ...existing?.metadata.annotations };
    if (isTruncated) annotations[overCapacity] = 'truncated';
    else delete annotations[overCapacity];
    if (existing === undefined) {
      const created = await cluster.create(resources.endpoints, {
        metadata: { namespace, name, labels, annotations },
        subsets: [...subsets],
      });
      this.#behind.expectations.written(key, this.#endpoints, created);
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
    this.#behind.expectations.written(key, this.#endpoints, written);
  }
}
