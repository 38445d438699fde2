/** Services and the pods that they select, watched for a controller that writes what stands behind each Service. */
import {
  isPintleError,
  type Clock,
  type Cluster,
  type KubernetesObject,
  type Logger,
  type ResourceType,
} from '../contract/index.ts';
import type { Pod, Service } from '../contract/kubernetes.ts';
import { Expectations } from './expectations.ts';
import { informersFor, type Informer } from './informer.ts';
import { keyOf, splitKey } from './metadata.ts';
import { Pace } from './pace.ts';
import { resources } from './resources.ts';
import { isHeadless, labelIndex, selectorIndex, servicesOf } from './service-endpoints.ts';
import type { WorkQueue } from './work-queue.ts';

const headlessLabel = 'service.kubernetes.io/headless';
/** A write that shows in no cache after this time is looked for again. */
const lookAgainMs = 1000;

export interface ServicePodsOptions {
  readonly cluster: Cluster;
  readonly log: Logger;
  readonly clock: Clock;
}

export class ServicePods {
  readonly services: Informer<Service>;
  readonly pods: Informer<Pod>;
  readonly expectations: Expectations;
  readonly pace: Pace;
  readonly #cluster: Cluster;

  /** Both informers are the caller's to close. */
  constructor({ cluster, log, clock }: ServicePodsOptions) {
    const informers = informersFor(cluster, log);
    this.#cluster = cluster;
    this.services = informers.get(resources.services);
    this.pods = informers.get(resources.pods);
    this.expectations = new Expectations(clock);
    this.pace = new Pace(clock);
  }

  /** Queues a Service at each change of its own and of a pod that it selects, or did. */
  watch(queue: WorkQueue<string>): void {
    this.services.addIndex('selector', selectorIndex);
    this.pods.addIndex('label', labelIndex);
    this.services.onChange(({ key }) => queue.add(key));
    this.pods.onChange(({ object, previous }) => {
      for (const pod of [object, previous]) if (pod !== undefined) this.enqueueServicesOf(pod, queue);
    });
  }

  enqueueServicesOf(pod: Pod, queue: WorkQueue<string>): void {
    for (const service of servicesOf(pod, this.services)) queue.add(keyOf(service));
  }

  /** False: not now; the key comes back. */
  isDue(key: string, queue: WorkQueue<string>): boolean {
    if (!this.pace.mayWork(key, queue)) return false;
    if (this.expectations.areMet(key)) return true;
    queue.addAfter(key, lookAgainMs);
    return false;
  }

  /** This very object; one that is gone, or changed by another, is left to the next look. */
  async delete<T extends KubernetesObject>(type: ResourceType<T>, object: T): Promise<void> {
    try {
      await this.#cluster.delete(type, splitKey(keyOf(object)), { preconditions: { uid: object.metadata.uid } });
    } catch (error) {
      if (!isPintleError(error, 'NOT_FOUND', 'CONFLICT')) throw error;
    }
  }
}

/** What stands behind a Service has its labels, and those that say who wrote it. */
export function endpointLabels(service: Service, more: Readonly<Record<string, string>>): Record<string, string> {
  const own: Record<string, string> = { ...service.metadata.labels };
  delete own[headlessLabel];
  return { ...own, ...more, ...(isHeadless(service) ? { [headlessLabel]: '' } : {}) };
}
