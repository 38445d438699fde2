/** Keeps condition PodScheduled=False of the pods that no node fits, and writes it only when it changes. */
import { isPintleError, type Clock, type Cluster, type Logger } from '../../../kernel/contract/index.ts';
import type { Pod } from '../../../kernel/contract/kubernetes.ts';
import { apiTime } from '../../../kernel/machinery/clock.ts';
import type { Informer } from '../../../kernel/machinery/informer.ts';
import { findCondition, splitKey } from '../../../kernel/machinery/metadata.ts';
import { resources } from '../../../kernel/machinery/resources.ts';
import { createWorkQueue, type WorkQueue } from '../../../kernel/machinery/work-queue.ts';

export class UnschedulableConditions {
  readonly #options: { readonly cluster: Cluster; readonly clock: Clock; readonly log: Logger };
  readonly #reports = new Map<string, { readonly reason: string; readonly message: string }>();
  #queue: WorkQueue<string> | undefined;

  constructor(options: { readonly cluster: Cluster; readonly clock: Clock; readonly log: Logger }) {
    this.#options = options;
  }

  report(key: string, reason: string, message: string): void {
    this.#reports.set(key, { reason, message });
    this.#queue?.add(key);
  }

  /** `stillWaits`: a pod that has been placed since must not be marked any more. */
  async run(pods: Informer<Pod>, stillWaits: (key: string) => boolean, signal: AbortSignal): Promise<void> {
    const { clock, log } = this.#options;
    const process = async (key: string) => {
      const report = this.#reports.get(key);
      const pod = pods.get(key);
      if (report !== undefined && pod !== undefined && stillWaits(key)) await this.#write(key, pod, report);
      if (this.#reports.get(key) === report) this.#reports.delete(key);
    };
    this.#queue = createWorkQueue<string>({ process, concurrency: 8, name: 'unschedulable', clock, log });
    for (const key of this.#reports.keys()) this.#queue.add(key);
    await this.#queue.run(signal);
  }

  async #write(key: string, pod: Pod, report: { readonly reason: string; readonly message: string }): Promise<void> {
    const before = findCondition(pod.status?.conditions, 'PodScheduled');
    if (before?.status === 'False' && before.reason === report.reason && before.message === report.message) return;
    const now = apiTime(this.#options.clock.now());
    const lastTransitionTime = before?.status === 'False' ? (before.lastTransitionTime ?? now) : now;
    const condition = { type: 'PodScheduled', status: 'False', ...report, lastTransitionTime };
    // With the resourceVersion, so that this never overwrites what a binding has set in the meantime.
    const { uid, resourceVersion } = pod.metadata;
    const body = { metadata: { uid, resourceVersion }, status: { conditions: [condition] } };
    try {
      await this.#options.cluster.patch(
        resources.pods,
        splitKey(key),
        { kind: 'strategic', body },
        { subresource: 'status' },
      );
    } catch (error) {
      if (!isPintleError(error, 'NOT_FOUND')) throw error;
    }
  }
}
