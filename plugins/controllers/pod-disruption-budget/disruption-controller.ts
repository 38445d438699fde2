/** Watches PodDisruptionBudgets, pods and the workloads that say how many pods there should be. */
import {
  isPintleError,
  type Clock,
  type Cluster,
  type KubernetesObject,
  type Logger,
} from '../../../kernel/contract/index.ts';
import type { Pod, PodDisruptionBudget } from '../../../kernel/contract/kubernetes.ts';
import type { EventRecorder } from '../../../kernel/machinery/event-recorder.ts';
import { Expectations } from '../../../kernel/machinery/expectations.ts';
import { informersFor, type Informer } from '../../../kernel/machinery/informer.ts';
import { keyOf } from '../../../kernel/machinery/metadata.ts';
import { Pace } from '../../../kernel/machinery/pace.ts';
import { runReconciler } from '../../../kernel/machinery/reconciler.ts';
import { resources } from '../../../kernel/machinery/resources.ts';
import { labelSelector } from '../../../kernel/machinery/selectors.ts';
import type { WorkQueue } from '../../../kernel/machinery/work-queue.ts';
import { disruption, isSameStatus, type Disruption } from './disruption-status.ts';
import { expectedScale, type ScaleSources } from './expected-scale.ts';

export interface DisruptionControllerOptions {
  readonly cluster: Cluster;
  readonly concurrency: number;
  readonly evictionTimeoutMs: number;
  readonly record: EventRecorder;
  readonly log: Logger;
  readonly clock: Clock;
}

const untold = JSON.stringify([undefined, []]);

interface Workload extends KubernetesObject {
  readonly spec: { readonly replicas?: number };
}

export class DisruptionController {
  readonly #options: DisruptionControllerOptions;
  readonly #budgets: Informer<PodDisruptionBudget>;
  readonly #pods: Informer<Pod>;
  readonly #sources: ScaleSources;
  readonly #expectations: Expectations;
  readonly #pace: Pace;
  /** Key → why its scale cannot be told, as its events have said. */
  readonly #told = new Map<string, string>();

  constructor(options: DisruptionControllerOptions) {
    const informers = informersFor(options.cluster, options.log);
    this.#options = options;
    this.#budgets = informers.get(resources.podDisruptionBudgets);
    this.#pods = informers.get(resources.pods);
    this.#sources = {
      replicaSets: informers.get(resources.replicaSets),
      deployments: informers.get(resources.deployments),
      statefulSets: informers.get(resources.statefulSets),
      replicationControllers: informers.get(resources.replicationControllers),
    };
    this.#expectations = new Expectations(options.clock);
    this.#pace = new Pace(options.clock);
  }

  run(signal: AbortSignal): Promise<void> {
    return runReconciler(
      {
        ...this.#options,
        name: 'poddisruptionbudgets',
        informers: [this.#budgets, this.#pods, ...this.#workloads()],
        watch: (queue) => this.#watch(queue),
        reconcile: (key, queue) => this.#reconcile(key, queue),
      },
      signal,
    );
  }

  #workloads(): readonly Informer<Workload>[] {
    return Object.values(this.#sources) as unknown as readonly Informer<Workload>[];
  }

  #watch(queue: WorkQueue<string>): void {
    this.#pods.addIndex('namespace', (pod) => [pod.metadata.namespace]);
    this.#budgets.addIndex('namespace', (budget) => [budget.metadata.namespace]);
    this.#budgets.onChange(({ key, object, previous }) => {
      if (object !== undefined && previous === undefined) this.#expectations.forget(key);
      queue.add(key);
    });
    this.#pods.onChange(({ object, previous }) => {
      for (const pod of [object, previous]) if (pod !== undefined) this.#enqueueBudgets(pod, queue);
    });
    for (const workloads of this.#workloads())
      workloads.onChange(({ object, previous }) => {
        if (object?.spec.replicas === previous?.spec.replicas) return;
        const { namespace = '' } = (object ?? previous)?.metadata ?? {};
        for (const budget of this.#budgets.byIndex('namespace', namespace)) queue.add(keyOf(budget));
      });
  }

  #enqueueBudgets({ metadata }: Pod, queue: WorkQueue<string>): void {
    for (const budget of this.#budgets.byIndex('namespace', metadata.namespace))
      if (labelSelector(budget.spec.selector).matches(metadata.labels)) queue.add(keyOf(budget));
  }

  async #reconcile(key: string, queue: WorkQueue<string>): Promise<void> {
    const budget = this.#budgets.get(key);
    if (budget === undefined) {
      this.#expectations.forget(key);
      this.#told.delete(key);
      return;
    }
    if (!this.#expectations.areMet(key)) {
      queue.addAfter(key, 1000);
      return;
    }
    if (!this.#pace.mayWork(key, queue)) return;
    const { clock, evictionTimeoutMs } = this.#options;
    const selector = labelSelector(budget.spec.selector);
    const pods = this.#pods
      .byIndex('namespace', budget.metadata.namespace)
      .filter(({ metadata }) => selector.matches(metadata.labels));
    this.#pace.worked(key, pods.length);
    const scale = () => expectedScale(pods, this.#sources);
    const result = disruption({ budget, pods, scale, evictionTimeoutMs, now: clock.now() });
    if (result.nextInMs !== undefined) queue.addAfter(key, result.nextInMs + 10);
    const isNews = !isSameStatus(budget.status, result.status);
    const why = JSON.stringify([result.fault, result.unmanaged.map(({ metadata }) => metadata.name)]);
    // Pods that count for nothing change nothing in the status.
    if (isNews || (this.#told.get(key) ?? untold) !== why) this.#tell(budget, pods, result);
    this.#told.set(key, why);
    if (isNews) {
      await this.#writeStatus(key, { ...budget, status: result.status });
    }
  }

  #tell(budget: PodDisruptionBudget, pods: readonly Pod[], { overdue, unmanaged, fault }: Disruption): void {
    const { record } = this.#options;
    const name = keyOf(budget);
    if (pods.length === 0) record(budget, 'Normal', 'NoPods', 'No matching pods found');
    if (fault !== undefined)
      record(
        budget,
        'Warning',
        'CalculateExpectedPodCountFailed',
        `Failed to calculate the number of expected pods: ${fault}`,
      );
    if (unmanaged.length > 0) {
      const names = unmanaged.map(({ metadata }) => metadata.name).join(', ');
      const message =
        `Pods selected by this PodDisruptionBudget were found to be unmanaged (${names}). As a result, the status of the ` +
        'PDB cannot be calculated correctly. To account for these pods please set ".spec.minAvailable" field of the PDB ' +
        'to an integer value.';
      record(budget, 'Warning', 'UnmanagedPods', message);
    }
    for (const pod of overdue)
      record(pod, 'Warning', 'NotDeleted', `Pod was expected by PDB ${name} to be deleted but it wasn't`);
  }

  async #writeStatus(key: string, budget: PodDisruptionBudget): Promise<void> {
    try {
      const { cluster } = this.#options;
      const written = await cluster.update(resources.podDisruptionBudgets, budget, { subresource: 'status' });
      this.#expectations.written(key, this.#budgets, written);
    } catch (error) {
      if (!isPintleError(error, 'NOT_FOUND')) throw error;
    }
  }
}
