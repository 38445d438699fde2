/** Keeps status.hard and status.used of ResourceQuotas: what they allow, and what the objects of their namespace use of it. */
import {
  isPintleError,
  type Clock,
  type Cluster,
  type KubernetesObject,
  type Logger,
} from '../../../kernel/contract/index.ts';
import type { ResourceQuota } from '../../../kernel/contract/kubernetes.ts';
import { informersFor, type Informer } from '../../../kernel/machinery/informer.ts';
import { equalJson } from '../../../kernel/machinery/json-value.ts';
import { quotaCovers } from '../../../kernel/machinery/quota/scopes.ts';
import { quotaResource, quotaText, resourceOfQuotaName, usageOf } from '../../../kernel/machinery/quota/usage.ts';
import { runReconciler } from '../../../kernel/machinery/reconciler.ts';
import { builtInResources, resources, type BuiltInResource } from '../../../kernel/machinery/resources.ts';
import type { WorkQueue } from '../../../kernel/machinery/work-queue.ts';

export interface QuotaOptions {
  readonly cluster: Cluster;
  readonly concurrency: number;
  /** How long changes are gathered before a status is written: a roll-out makes many. */
  readonly gatherMs: number;
  readonly log: Logger;
  readonly clock: Clock;
}

/** Countable resources by the name that count/… has for them; the first version of each. */
const countable = new Map<string, BuiltInResource>();
for (const type of builtInResources) {
  const name = quotaResource(type.group, type.resource);
  if (type.stored && type.namespaced && !countable.has(name)) countable.set(name, type);
}

export class QuotaController {
  readonly #options: QuotaOptions;
  readonly #quotas: Informer<ResourceQuota>;
  /** Of the resources that some quota counts, by name. */
  readonly #counted = new Map<string, Informer<KubernetesObject>>();

  constructor(options: QuotaOptions) {
    this.#options = options;
    this.#quotas = informersFor(options.cluster, options.log).get(resources.resourceQuotas);
  }

  async run(signal: AbortSignal): Promise<void> {
    const { concurrency, log, clock } = this.#options;
    try {
      await runReconciler(
        {
          name: 'resource-quota',
          concurrency,
          log,
          clock,
          informers: [this.#quotas],
          watch: (queue) => void this.#quotas.onChange(({ key }) => queue.add(key)),
          reconcile: (key, queue) => this.#reconcile(key, queue, signal),
        },
        signal,
      );
    } finally {
      for (const informer of this.#counted.values()) informer.close();
    }
  }

  #informer(resource: string, queue: WorkQueue<string>): Informer<KubernetesObject> | undefined {
    const known = this.#counted.get(resource);
    const type = countable.get(resource);
    if (known !== undefined || type === undefined) return known;
    const informer = informersFor(this.#options.cluster, this.#options.log).get(type);
    this.#counted.set(resource, informer);
    informer.addIndex('namespace', ({ metadata }) => [metadata.namespace ?? '']);
    informer.onChange(({ object, previous }) => {
      const { namespace } = (object ?? previous)?.metadata ?? {};
      for (const quota of this.#quotas.list())
        if (quota.metadata.namespace === namespace)
          queue.addAfter(`${namespace}/${quota.metadata.name}`, this.#options.gatherMs);
    });
    return informer;
  }

  async #reconcile(key: string, queue: WorkQueue<string>, signal: AbortSignal): Promise<void> {
    const quota = this.#quotas.get(key);
    if (quota === undefined || quota.metadata.deletionTimestamp !== undefined) return;
    const hard = quota.spec?.hard ?? {};
    const totals: Record<string, number> = {};
    for (const resource of new Set(Object.keys(hard).map(resourceOfQuotaName))) {
      const informer = this.#informer(resource, queue);
      if (informer === undefined) continue;
      await informer.synced(signal);
      for (const object of informer.byIndex('namespace', quota.metadata.namespace)) {
        if (!quotaCovers(quota, resource, object)) continue;
        const usage = usageOf(resource, object);
        for (const name in usage) totals[name] = (totals[name] ?? 0) + usage[name]!;
      }
    }
    const used = Object.fromEntries(Object.keys(hard).map((name) => [name, quotaText(name, totals[name] ?? 0)]));
    const status = { hard: { ...hard }, used };
    if (equalJson(status, { hard: quota.status?.hard, used: quota.status?.used })) return;
    try {
      await this.#options.cluster.update(resources.resourceQuotas, { ...quota, status }, { subresource: 'status' });
    } catch (error) {
      if (!isPintleError(error, 'NOT_FOUND', 'CONFLICT')) throw error;
    }
  }
}
