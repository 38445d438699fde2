/** How many pods a Job should have now, and for which indexes: what to create and delete for that. */
import type { Job, Pod } from '../../../kernel/contract/kubernetes.ts';
import { isPodTerminal } from '../../../kernel/machinery/pod-status.ts';
import { byDeletionOrder } from '../../../kernel/machinery/replicas/scale-down-order.ts';
import { indexHistory, indexOf, type IndexHistory } from './job-pod.ts';
import { isIndexed, replacesOnlyFailed, type Tally } from './job-tally.ts';
import { judgeFailure } from './pod-failure-policy.ts';

export interface PodPlan {
  /** One entry a pod; undefined in a Job without indexes. */
  readonly create: readonly (number | undefined)[];
  readonly remove: readonly Pod[];
}

export function podPlan(job: Job, pods: readonly Pod[], counted: Tally, now: number): PodPlan {
  const { parallelism = 1, completions } = job.spec;
  const surplus = isIndexed(job) ? uselessPods(job, counted) : [];
  const active = counted.active.filter((pod) => !surplus.includes(pod));
  const wanted = wantedActive(job, counted, active.length);
  if (active.length > wanted) {
    const order = byDeletionOrder(active, active, now);
    return { create: [], remove: [...surplus, ...order.slice(0, active.length - wanted)] };
  }
  const leaving = replacesOnlyFailed(job) ? counted.terminating : 0;
  const room = Math.max(0, Math.min(wanted, parallelism) - active.length - leaving);
  if (!isIndexed(job)) return { create: Array.from({ length: room }, () => undefined), remove: surplus };
  const isTaken = takenIndexes(job, pods, active);
  const create: number[] = [];
  for (let index = 0; index < (completions ?? 0) && create.length < room; index++)
    if (!counted.completedIndexes.has(index) && counted.failedIndexes?.has(index) !== true && !isTaken.has(index))
      create.push(index);
  return { create, remove: surplus };
}

function wantedActive(job: Job, counted: Tally, active: number): number {
  const { parallelism = 1, completions } = job.spec;
  // Without a number of completions the first success says that the work is done: nobody joins any more.
  if (completions === undefined) return counted.succeeded > 0 ? Math.min(active, parallelism) : parallelism;
  const open = completions - counted.succeeded - (counted.failedIndexes?.size ?? 0);
  return Math.max(0, Math.min(open, parallelism));
}

/** Two pods of one index, or a pod whose index has succeeded, failed for good, or is out of range. */
function uselessPods(job: Job, counted: Tally): readonly Pod[] {
  const seen = new Set<number>();
  return counted.active
    .toSorted((a, b) => ((a.metadata.creationTimestamp ?? '') < (b.metadata.creationTimestamp ?? '') ? -1 : 1))
    .filter((pod) => {
      const index = indexOf(pod);
      if (index === undefined || index >= (job.spec.completions ?? 0) || seen.has(index)) return true;
      seen.add(index);
      return counted.completedIndexes.has(index) || counted.failedIndexes?.has(index) === true;
    });
}

function takenIndexes(job: Job, pods: readonly Pod[], active: readonly Pod[]): ReadonlySet<number> {
  const leaving = pods.filter((pod) => pod.metadata.deletionTimestamp !== undefined && !isPodTerminal(pod));
  const holding = replacesOnlyFailed(job) ? [...active, ...leaving] : active;
  return new Set(holding.map(indexOf).filter((index) => index !== undefined));
}

/** What the next pod of this index inherits, and of whom. */
export function heritage(
  job: Job,
  index: number,
  pods: readonly Pod[],
): { readonly history: IndexHistory; readonly from: Pod | undefined } | undefined {
  if (job.spec.backoffLimitPerIndex === undefined) return undefined;
  const [from] = pods.filter((pod) => indexOf(pod) === index).toSorted((a, b) => attempts(b) - attempts(a));
  if (from === undefined) return { history: { failures: 0, ignored: 0 }, from };
  const { failures, ignored } = indexHistory(from);
  const isIgnored = judgeFailure(job, from).action === 'Ignore';
  return { history: isIgnored ? { failures, ignored: ignored + 1 } : { failures: failures + 1, ignored }, from };
}

function attempts(pod: Pod): number {
  const { failures, ignored } = indexHistory(pod);
  return failures + ignored;
}
