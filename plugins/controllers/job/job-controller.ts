/** Watches Jobs and their pods, makes one pass over a Job at a time, and ends Jobs whose time to live is over. */
import { isPintleError, type Clock, type Cluster, type Logger } from '../../../kernel/contract/index.ts';
import type { Job, Pod } from '../../../kernel/contract/kubernetes.ts';
import type { EventRecorder } from '../../../kernel/machinery/event-recorder.ts';
import { controllerOf, findCondition, keyOf, splitKey } from '../../../kernel/machinery/metadata.ts';
import { OwnedObjects } from '../../../kernel/machinery/owned-objects.ts';
import { runReconciler } from '../../../kernel/machinery/reconciler.ts';
import { slowStart } from '../../../kernel/machinery/replicas/slow-start.ts';
import { resources } from '../../../kernel/machinery/resources.ts';
import { labelSelector } from '../../../kernel/machinery/selectors.ts';
import type { WorkQueue } from '../../../kernel/machinery/work-queue.ts';
import { JobBackoff, type JobBackoffOptions } from './job-backoff.ts';
import { ownController, trackingFinalizer } from './job-names.ts';
import { jobPod } from './job-pod.ts';
import { heritage, podPlan, type PodPlan } from './job-pods.ts';
import { isSameStatus, jobStatus } from './job-status.ts';
import { isTracked, tally, type Tally } from './job-tally.ts';
import {
  finishedCondition,
  isSuspended,
  msUntilDeadline,
  spokenVerdict,
  verdict,
  type JobVerdict,
} from './job-verdict.ts';

export interface JobControllerOptions extends JobBackoffOptions {
  readonly cluster: Cluster;
  readonly concurrency: number;
  readonly burst: number;
  readonly record: EventRecorder;
  readonly log: Logger;
  readonly clock: Clock;
}

/** Keys of pods whose Job is gone, in the queue of the Jobs. */
const orphan = 'orphan ';

export class JobController {
  readonly #options: JobControllerOptions;
  readonly #owned: OwnedObjects<Job>;
  readonly #backoff: JobBackoff;

  constructor(options: JobControllerOptions) {
    this.#options = options;
    this.#owned = new OwnedObjects({
      ...options,
      type: resources.jobs,
      selectorOf: (job) => labelSelector(job.spec.selector),
    });
    this.#backoff = new JobBackoff(options);
  }

  run(signal: AbortSignal): Promise<void> {
    return runReconciler(
      {
        ...this.#options,
        name: 'jobs',
        informers: [this.#owned.owners, this.#owned.pods],
        watch: (queue) => this.#watch(queue),
        reconcile: (key, queue) =>
          key.startsWith(orphan) ? this.#releaseOrphan(key.slice(orphan.length), queue) : this.#reconcile(key, queue),
      },
      signal,
    );
  }

  #watch(queue: WorkQueue<string>): void {
    const { owners, pods } = this.#owned;
    this.#owned.watch(queue, pods);
    owners.onChange(({ object, previous }) => {
      if (object !== undefined || previous === undefined) return;
      for (const pod of this.#owned.candidates(pods, previous)) if (isTracked(pod)) queue.add(orphan + keyOf(pod));
    });
    pods.onChange(({ object }) => {
      if (object !== undefined && isTracked(object)) queue.add(orphan + keyOf(object));
    });
  }

  /** Nobody will ever count a pod whose Job is gone: its finalizer must not hold it. */
  async #releaseOrphan(key: string, queue: WorkQueue<string>): Promise<void> {
    const pod = this.#owned.pods.get(key);
    if (pod === undefined || !isTracked(pod)) return;
    const manager = controllerOf(pod);
    if (manager !== undefined) {
      if (manager.kind !== 'Job') return;
      const owner = `${pod.metadata.namespace}/${manager.name}`;
      if (this.#owned.owners.get(owner)?.metadata.uid === manager.uid) return;
      try {
        const live = await this.#options.cluster.get(resources.jobs, splitKey(owner));
        if (live.metadata.uid === manager.uid) {
          queue.add(owner);
          return;
        }
      } catch (error) {
        if (!isPintleError(error, 'NOT_FOUND')) throw error;
      }
    } else if (
      this.#owned.owners
        .byIndex('namespace', pod.metadata.namespace)
        .some((job) => labelSelector(job.spec.selector).matches(pod.metadata.labels))
    )
      return;
    await this.#release(undefined, pod);
  }

  async #reconcile(key: string, queue: WorkQueue<string>): Promise<void> {
    const job = this.#owned.due(key, queue, () => this.#backoff.forget(key));
    if (job === undefined || (job.spec.managedBy ?? ownController) !== ownController) return;
    const pods = await this.#owned.claimPods(key, job);
    this.#owned.pace.worked(key, pods.length);
    if (finishedCondition(job) !== undefined) await this.#tidy(key, job, pods, queue);
    else await this.#pass(key, job, pods, queue);
  }

  async #pass(key: string, job: Job, pods: readonly Pod[], queue: WorkQueue<string>): Promise<void> {
    const { clock } = this.#options;
    const now = clock.now();
    const spoken = spokenVerdict(job);
    const counted = tally(job, pods, spoken !== undefined);
    this.#backoff.note(key, counted.newlyFailed, counted.newlySucceeded);
    const found = spoken ?? verdict(job, counted, now);
    let active = counted.active.length;
    let failure: unknown;
    if (job.metadata.deletionTimestamp === undefined) {
      try {
        active += await this.#manage(key, job, pods, counted, found, queue);
      } catch (error) {
        failure = error;
      }
    }
    const status = jobStatus({ job, counted, active, verdict: found, now });
    const after = { ...job, status };
    if (!isSameStatus(job.status, status) && (await this.#owned.writeStatus(key, after))) this.#tell(job, after);
    await Promise.all(counted.released.map((pod) => this.#release(key, pod)));
    const left = msUntilDeadline({ ...job, status }, now);
    if (left !== undefined && found === undefined) queue.addAfter(key, left + 10);
    if (failure !== undefined) throw failure;
  }

  /** Resolves to by how much the number of active pods has changed. */
  async #manage(
    key: string,
    job: Job,
    pods: readonly Pod[],
    counted: Tally,
    found: JobVerdict | undefined,
    queue: WorkQueue<string>,
  ): Promise<number> {
    if (found?.outcome === 'Failed' || found?.reason === 'SuccessPolicy')
      return -(await this.#remove(key, job, counted.active, false));
    if (found !== undefined || isSuspended(job)) return -(await this.#remove(key, job, counted.active, true));
    const plan = podPlan(job, pods, counted, this.#options.clock.now());
    const removed = await this.#remove(key, job, plan.remove, true);
    return (await this.#create(key, job, pods, plan, queue)) - removed;
  }

  async #create(key: string, job: Job, pods: readonly Pod[], plan: PodPlan, queue: WorkQueue<string>): Promise<number> {
    const { burst } = this.#options;
    const perIndex = job.spec.backoffLimitPerIndex !== undefined;
    const wait = plan.create.length === 0 || perIndex ? 0 : this.#backoff.msToWait(key);
    if (wait > 0) {
      queue.addAfter(key, wait + 10);
      return 0;
    }
    const ready = plan.create
      .map((index) => ({ index, inherited: index === undefined ? undefined : heritage(job, index, pods) }))
      .filter(({ inherited }) => {
        if (inherited?.from === undefined) return true;
        const { failures, ignored } = inherited.history;
        const rest = this.#backoff.msToWaitAfter(inherited.from, failures + ignored);
        if (rest > 0) queue.addAfter(key, rest + 10);
        return rest === 0;
      })
      .slice(0, burst);
    const next = ready.values();
    let created = 0;
    await slowStart(ready.length, async () => {
      const { value } = next.next();
      if (value === undefined) return;
      if (await this.#owned.createPod(key, job, jobPod(job, value.index, value.inherited?.history))) created++;
    });
    if (plan.create.length > burst) queue.add(key);
    return created;
  }

  /** Pods that are not needed any more count as nothing: their finalizer goes first. The others will count as failed. */
  async #remove(key: string, job: Job, pods: readonly Pod[], isForgotten: boolean): Promise<number> {
    const before = isForgotten ? (pod: Pod) => this.#release(key, pod) : undefined;
    await this.#owned.deletePods(key, job, pods, before);
    return pods.length;
  }

  async #release(key: string | undefined, pod: Pod): Promise<void> {
    if (!isTracked(pod)) return;
    const { uid } = pod.metadata;
    const body = { metadata: { uid, '$deleteFromPrimitiveList/finalizers': [trackingFinalizer] } };
    try {
      const written = await this.#options.cluster.patch(resources.pods, splitKey(keyOf(pod)), {
        kind: 'strategic',
        body,
      });
      if (key !== undefined) this.#owned.expectations.written(key, this.#owned.pods, written);
    } catch (error) {
      // Gone, or another pod of that name by now.
      if (!isPintleError(error, 'NOT_FOUND', 'CONFLICT')) throw error;
    }
  }

  #tell(before: Job, job: Job): void {
    const { record } = this.#options;
    const isNew = (type: string, status: string) =>
      findCondition(job.status?.conditions, type)?.status === status &&
      findCondition(before.status?.conditions, type)?.status !== status;
    if (isNew('Suspended', 'True')) record(job, 'Normal', 'Suspended', 'Job suspended');
    if (isNew('Suspended', 'False')) record(job, 'Normal', 'Resumed', 'Job resumed');
    if (isNew('Complete', 'True')) record(job, 'Normal', 'Completed', 'Job completed');
    const failed = findCondition(job.status?.conditions, 'Failed');
    if (isNew('Failed', 'True')) record(job, 'Warning', failed?.reason ?? '', failed?.message ?? '');
  }

  /** A finished Job: its pods are free, and after ttlSecondsAfterFinished it goes, pods and all. */
  async #tidy(key: string, job: Job, pods: readonly Pod[], queue: WorkQueue<string>): Promise<void> {
    const { cluster, clock } = this.#options;
    this.#backoff.forget(key);
    await Promise.all(pods.filter((pod) => isTracked(pod)).map((pod) => this.#release(key, pod)));
    const { ttlSecondsAfterFinished: ttl } = job.spec;
    const finished = finishedCondition(job)?.lastTransitionTime;
    if (ttl === undefined || finished === undefined || job.metadata.deletionTimestamp !== undefined) return;
    const rest = Date.parse(finished) + ttl * 1000 - clock.now();
    if (rest > 0) {
      queue.addAfter(key, rest + 10);
      return;
    }
    const { uid, resourceVersion } = job.metadata;
    const preconditions = { uid, ...(resourceVersion === undefined ? {} : { resourceVersion }) };
    try {
      await cluster.delete(resources.jobs, splitKey(key), { propagationPolicy: 'Foreground', preconditions });
    } catch (error) {
      if (!isPintleError(error, 'NOT_FOUND')) throw error;
    }
  }
}
