/** Deletes CertificateSigningRequests that nobody waits for any more. */
import { isPintleError, type Clock, type Cluster, type Logger } from '../../../kernel/contract/index.ts';
import type { CertificateSigningRequest } from '../../../kernel/contract/kubernetes.ts';
import { informersFor, type Informer } from '../../../kernel/machinery/informer.ts';
import { runReconciler } from '../../../kernel/machinery/reconciler.ts';
import { resources } from '../../../kernel/machinery/resources.ts';
import type { WorkQueue } from '../../../kernel/machinery/work-queue.ts';
import { expiry, type Lifetimes } from './expiry.ts';

export interface CleanerOptions extends Lifetimes {
  readonly cluster: Cluster;
  readonly log: Logger;
  readonly clock: Clock;
}

export class CleanerController {
  readonly #options: CleanerOptions;
  readonly #requests: Informer<CertificateSigningRequest>;

  constructor(options: CleanerOptions) {
    this.#options = options;
    this.#requests = informersFor(options.cluster, options.log).get(resources.certificateSigningRequests);
  }

  run(signal: AbortSignal): Promise<void> {
    const { log, clock } = this.#options;
    return runReconciler(
      {
        name: 'certificate-cleaner',
        concurrency: 1,
        log,
        clock,
        informers: [this.#requests],
        watch: (queue) => void this.#requests.onChange(({ object }) => object && queue.add(object.metadata.name)),
        reconcile: (name, queue) => this.#reconcile(name, queue),
      },
      signal,
    );
  }

  async #reconcile(name: string, queue: WorkQueue<string>): Promise<void> {
    const request = this.#requests.get(name);
    if (!request) return;
    const leftMs = expiry(request, this.#options) - this.#options.clock.now();
    if (leftMs > 0) {
      if (leftMs < Infinity) queue.addAfter(name, leftMs);
      return;
    }
    const { uid, resourceVersion } = request.metadata;
    const preconditions = { ...(uid && { uid }), ...(resourceVersion && { resourceVersion }) };
    try {
      await this.#options.cluster.delete(resources.certificateSigningRequests, { name }, { preconditions });
    } catch (error) {
      // Gone, or changed, which comes as a change.
      if (!isPintleError(error, 'NOT_FOUND', 'CONFLICT')) throw error;
    }
  }
}
