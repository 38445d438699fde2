/** Keeps the rules of ClusterRoles with an aggregationRule equal to the union of the rules of those that it selects. */
import { isPintleError, type Clock, type Cluster, type Logger } from '../../../kernel/contract/index.ts';
import type { ClusterRole, PolicyRule } from '../../../kernel/contract/kubernetes.ts';
import { informersFor, type Informer } from '../../../kernel/machinery/informer.ts';
import { equalJson } from '../../../kernel/machinery/json-value.ts';
import { runReconciler } from '../../../kernel/machinery/reconciler.ts';
import { resources } from '../../../kernel/machinery/resources.ts';
import { labelSelector } from '../../../kernel/machinery/selectors.ts';

export interface AggregationOptions {
  readonly cluster: Cluster;
  readonly concurrency: number;
  readonly log: Logger;
  readonly clock: Clock;
}

/** In the order of the roles' names, each rule once. */
function gatheredRules(role: ClusterRole, all: readonly ClusterRole[]): readonly PolicyRule[] {
  const selectors = (role.aggregationRule?.clusterRoleSelectors ?? []).map(labelSelector);
  const chosen = all
    .filter((other) => other.metadata.name !== role.metadata.name)
    .filter((other) => selectors.some((selector) => selector.matches(other.metadata.labels ?? {})))
    .toSorted((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1));
  const rules: PolicyRule[] = [];
  for (const rule of chosen.flatMap((other) => other.rules ?? []))
    if (!rules.some((known) => equalJson(known, rule))) rules.push(rule);
  return rules;
}

export class AggregationController {
  readonly #options: AggregationOptions;
  readonly #roles: Informer<ClusterRole>;

  constructor(options: AggregationOptions) {
    this.#options = options;
    this.#roles = informersFor(options.cluster, options.log).get(resources.clusterRoles);
  }

  run(signal: AbortSignal): Promise<void> {
    const { concurrency, log, clock } = this.#options;
    return runReconciler(
      {
        name: 'cluster-role-aggregation',
        concurrency,
        log,
        clock,
        informers: [this.#roles],
        watch: (queue) =>
          void this.#roles.onChange(() => {
            for (const { metadata, aggregationRule } of this.#roles.list())
              if (aggregationRule !== undefined) queue.add(metadata.name);
          }),
        reconcile: (name) => this.#reconcile(name),
      },
      signal,
    );
  }

  async #reconcile(name: string): Promise<void> {
    const role = this.#roles.get(name);
    if (role?.aggregationRule === undefined) return;
    const rules = gatheredRules(role, this.#roles.list());
    if (equalJson(rules, role.rules ?? [])) return;
    try {
      await this.#options.cluster.update(resources.clusterRoles, { ...role, rules: [...rules] });
    } catch (error) {
      if (!isPintleError(error, 'NOT_FOUND', 'CONFLICT')) throw error;
    }
  }
}
