/**
 * A namespace that is being deleted loses its content, pods first, and then its finalizer `kubernetes`. What there is to
 * delete is asked of discovery each time, so that custom resources are found too. Content that is held by finalizers or a
 * grace period is looked at again until it is gone; the namespace's conditions say what is left.
 */
import { isPintleError, type Clock, type Cluster, type Logger } from '../../../kernel/contract/index.ts';
import type { Namespace } from '../../../kernel/contract/kubernetes.ts';
import { backoffDelay } from '../../../kernel/machinery/backoff.ts';
import { informersFor, type Informer } from '../../../kernel/machinery/informer.ts';
import { runReconciler } from '../../../kernel/machinery/reconciler.ts';
import { resources } from '../../../kernel/machinery/resources.ts';
import type { WorkQueue } from '../../../kernel/machinery/work-queue.ts';
import { deleteContent, type Remaining } from './delete-content.ts';
import { deletionConditions } from './deletion-conditions.ts';

export interface NamespaceControllerOptions {
  readonly cluster: Cluster;
  readonly concurrency: number;
  readonly log: Logger;
  readonly clock: Clock;
}

const finalizer = 'kubernetes';

export class NamespaceController {
  readonly #options: NamespaceControllerOptions;
  readonly #namespaces: Informer<Namespace>;
  readonly #attempts = new Map<string, number>();

  constructor(options: NamespaceControllerOptions) {
    this.#options = options;
    this.#namespaces = informersFor(options.cluster, options.log).get(resources.namespaces);
  }

  run(signal: AbortSignal): Promise<void> {
    return runReconciler(
      {
        ...this.#options,
        name: 'namespace',
        informers: [this.#namespaces],
        watch: (queue) => {
          this.#namespaces.onChange(({ key, object }) => {
            if (object?.metadata.deletionTimestamp !== undefined) queue.add(key);
          });
        },
        reconcile: (name, queue, working) => this.#reconcile(name, queue, working),
      },
      signal,
    );
  }

  async #reconcile(name: string, queue: WorkQueue<string>, signal: AbortSignal): Promise<void> {
    const namespace = this.#namespaces.get(name);
    if (namespace?.metadata.deletionTimestamp === undefined) {
      this.#attempts.delete(name);
      return;
    }
    if (namespace.spec.finalizers?.includes(finalizer) !== true) return;
    const remaining = await deleteContent(this.#options.cluster, name, signal);
    await this.#report(namespace, remaining);
    if (remaining.length > 0) {
      const attempts = (this.#attempts.get(name) ?? 0) + 1;
      this.#attempts.set(name, attempts);
      queue.addAfter(name, backoffDelay(attempts, { minMs: 50, maxMs: 5000 }));
      return;
    }
    this.#attempts.delete(name);
    await this.#finalize(namespace);
  }

  async #report(namespace: Namespace, remaining: readonly Remaining[]): Promise<void> {
    const { cluster, clock } = this.#options;
    const conditions = deletionConditions(namespace, remaining, clock.now());
    if (conditions === undefined) return;
    const { name, uid } = namespace.metadata;
    const body = { metadata: { uid }, status: { conditions } };
    await ignoreGone(cluster.patch(resources.namespaces, { name }, { kind: 'merge', body }, { subresource: 'status' }));
  }

  async #finalize(namespace: Namespace): Promise<void> {
    const { name, uid } = namespace.metadata;
    const { cluster } = this.#options;
    const current = await ignoreGone(cluster.get(resources.namespaces, { name }));
    if (current?.metadata.uid !== uid) return;
    const finalizers = (current.spec.finalizers ?? []).filter((other) => other !== finalizer);
    const freed = { ...current, spec: { ...current.spec, finalizers } };
    await ignoreGone(cluster.update(resources.namespaces, freed, { subresource: 'finalize' }));
  }
}

async function ignoreGone<T>(work: Promise<T>): Promise<T | undefined> {
  try {
    return await work;
  } catch (error) {
    if (isPintleError(error, 'NOT_FOUND')) return undefined;
    throw error;
  }
}
