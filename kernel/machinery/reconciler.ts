/**
 * The frame of a controller: informers that tell which keys to look at, and a queue that looks at them. A reconcile gets
 * nothing but a key, and works from the difference between what is and what should be.
 */
import type { Clock, KubernetesObject, Logger } from '../contract/index.ts';
import type { BackoffOptions } from './backoff.ts';
import type { Informer } from './informer.ts';
import { createWorkQueue, type WorkQueue } from './work-queue.ts';

export interface ReconcilerOptions {
  readonly name: string;
  /** Closed at the end. */
  readonly informers: readonly Informer<KubernetesObject>[];
  /** Adds the listeners that fill the queue. Called before the informers have synced. */
  readonly watch: (queue: WorkQueue<string>) => void;
  /** Called only when all informers have synced. */
  readonly reconcile: (key: string, queue: WorkQueue<string>, signal: AbortSignal) => Promise<void>;
  readonly concurrency?: number | undefined;
  readonly backoff?: BackoffOptions | undefined;
  readonly log: Logger;
  readonly clock: Clock;
}

/** Resolves when the signal aborts and the work in flight has ended. */
export async function runReconciler(options: ReconcilerOptions, signal: AbortSignal): Promise<void> {
  const { name, informers, watch, reconcile, concurrency = 4, backoff, log, clock } = options;
  const queue: WorkQueue<string> = createWorkQueue<string>({
    process: (key, working) => reconcile(key, queue, working),
    name,
    concurrency,
    backoff,
    log,
    clock,
  });
  try {
    watch(queue);
    for (const informer of informers) await informer.synced(signal);
    await queue.run(signal);
  } catch (error) {
    if (!signal.aborted) throw error;
  } finally {
    for (const informer of informers) informer.close();
  }
}
