/** Watches CronJobs and their Jobs, and sleeps until the next one is due. */
import { isPintleError, type Clock, type Cluster, type Logger } from '../../../kernel/contract/index.ts';
import type { CronJob, CronJobStatus, Job } from '../../../kernel/contract/kubernetes.ts';
import { ownerIndex } from '../../../kernel/machinery/adoption.ts';
import { apiTime } from '../../../kernel/machinery/clock.ts';
import type { EventRecorder } from '../../../kernel/machinery/event-recorder.ts';
import { Expectations } from '../../../kernel/machinery/expectations.ts';
import { informersFor, type Informer } from '../../../kernel/machinery/informer.ts';
import { controllerOf, keyOf, splitKey } from '../../../kernel/machinery/metadata.ts';
import { isTerminatingNamespace } from '../../../kernel/machinery/namespace-state.ts';
import { runReconciler } from '../../../kernel/machinery/reconciler.ts';
import { resources } from '../../../kernel/machinery/resources.ts';
import { stableText } from '../../../kernel/machinery/stable-text.ts';
import type { WorkQueue } from '../../../kernel/machinery/work-queue.ts';
import { outdatedJobs, referenceTo, takeStock } from './job-results.ts';
import { dueTime, parseSchedule, type Schedule } from './schedule.ts';
import { jobName, scheduledJob } from './scheduled-job.ts';

export interface CronJobControllerOptions {
  readonly cluster: Cluster;
  readonly concurrency: number;
  readonly record: EventRecorder;
  readonly log: Logger;
  readonly clock: Clock;
}

/** Timers are a little early now and then; a Job is due only when its second has begun. */
const marginMs = 100;
/** setTimeout holds 24 days. */
const longestSleepMs = 20 * 86_400_000;

export class CronJobController {
  readonly #options: CronJobControllerOptions;
  readonly #cronJobs: Informer<CronJob>;
  readonly #jobs: Informer<Job>;
  readonly #expectations: Expectations;

  constructor(options: CronJobControllerOptions) {
    const informers = informersFor(options.cluster, options.log);
    this.#options = options;
    this.#cronJobs = informers.get(resources.cronJobs);
    this.#jobs = informers.get(resources.jobs);
    this.#expectations = new Expectations(options.clock);
  }

  run(signal: AbortSignal): Promise<void> {
    return runReconciler(
      {
        ...this.#options,
        name: 'cronjobs',
        informers: [this.#cronJobs, this.#jobs],
        watch: (queue) => this.#watch(queue),
        reconcile: (key, queue) => this.#reconcile(key, queue),
      },
      signal,
    );
  }

  #watch(queue: WorkQueue<string>): void {
    this.#jobs.addIndex('owner', ownerIndex);
    this.#cronJobs.onChange(({ key, object, previous }) => {
      if (object !== undefined && previous === undefined) this.#expectations.forget(key);
      queue.add(key);
    });
    this.#jobs.onChange(({ object, previous }) => {
      for (const job of [object, previous]) {
        const manager = job === undefined ? undefined : controllerOf(job);
        if (manager?.kind === 'CronJob') queue.add(`${job?.metadata.namespace}/${manager.name}`);
      }
    });
  }

  async #reconcile(key: string, queue: WorkQueue<string>): Promise<void> {
    const cronJob = this.#cronJobs.get(key);
    if (cronJob === undefined) {
      this.#expectations.forget(key);
      return;
    }
    if (!this.#expectations.areMet(key)) {
      queue.addAfter(key, 1000);
      return;
    }
    const { record } = this.#options;
    const jobs = this.#jobs.byIndex('owner', cronJob.metadata.uid);
    const { status, news } = takeStock(cronJob, jobs);
    for (const { type, reason, message } of news) record(cronJob, type, reason, message);
    let after: CronJobStatus = status;
    try {
      if (cronJob.metadata.deletionTimestamp === undefined)
        after = await this.#schedule(key, cronJob, jobs, status, queue);
    } finally {
      if (stableText(after) !== stableText(cronJob.status ?? {})) await this.#writeStatus(key, cronJob, after);
    }
    for (const job of outdatedJobs(cronJob, jobs)) await this.#delete(key, cronJob, job);
  }

  async #schedule(
    key: string,
    cronJob: CronJob,
    jobs: readonly Job[],
    status: CronJobStatus,
    queue: WorkQueue<string>,
  ): Promise<CronJobStatus> {
    const { spec } = cronJob;
    if (spec.suspend === true) return status;
    const { record, clock } = this.#options;
    let schedule: Schedule;
    try {
      schedule = await parseSchedule(spec.schedule, spec.timeZone);
    } catch (error) {
      // Nothing to retry: the next change of the object brings it back.
      record(cronJob, 'Warning', 'UnparseableSchedule', `unparseable schedule: ${spec.schedule} : ${String(error)}`);
      return status;
    }
    const now = clock.now();
    const next = schedule.next(now);
    if (next !== undefined) queue.addAfter(key, Math.min(next - now + marginMs, longestSleepMs));
    const since = Date.parse(status.lastScheduleTime ?? cronJob.metadata.creationTimestamp ?? apiTime(now));
    const deadlineMs = spec.startingDeadlineSeconds === undefined ? Infinity : spec.startingDeadlineSeconds * 1000;
    const { at, isTooMany } = dueTime(schedule, Math.max(since, now - deadlineMs - 1), now);
    if (isTooMany) {
      const message = 'too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew';
      record(cronJob, 'Warning', 'TooManyMissedTimes', message);
    }
    if (at === undefined) {
      const missed = deadlineMs === Infinity ? undefined : dueTime(schedule, since, now).at;
      if (missed !== undefined)
        record(cronJob, 'Warning', 'MissSchedule', `Missed scheduled time to start a job: ${apiTime(missed)}`);
      return status;
    }
    if (status.active?.some(({ name }) => name === jobName(cronJob, at)) === true) return status;
    let active = status.active ?? [];
    if (spec.concurrencyPolicy === 'Forbid' && active.length > 0) {
      const message = 'Not starting job because prior execution is running and concurrency policy is Forbid';
      record(cronJob, 'Normal', 'JobAlreadyActive', message);
      return status;
    }
    if (spec.concurrencyPolicy === 'Replace') {
      for (const { uid } of active) {
        const job = jobs.find(({ metadata }) => metadata.uid === uid);
        if (job !== undefined) await this.#delete(key, cronJob, job);
      }
      active = [];
    }
    const job = await this.#create(key, cronJob, at);
    if (job === undefined) return status;
    return { ...status, active: [...active, referenceTo(job)], lastScheduleTime: apiTime(at) };
  }

  async #create(key: string, cronJob: CronJob, at: number): Promise<Job | undefined> {
    const { cluster, record } = this.#options;
    const wanted = scheduledJob(cronJob, at);
    try {
      const job = await cluster.create(resources.jobs, wanted);
      this.#expectations.written(key, this.#jobs, job);
      record(cronJob, 'Normal', 'SuccessfulCreate', `Created job ${job.metadata.name}`);
      return job;
    } catch (error) {
      if (isTerminatingNamespace(error)) return undefined;
      if (isPintleError(error, 'ALREADY_EXISTS')) {
        const { namespace } = cronJob.metadata;
        const existing = await cluster.get(resources.jobs, { namespace, name: jobName(cronJob, at) });
        // Created just before the status could be written.
        if (controllerOf(existing)?.uid === cronJob.metadata.uid) return existing;
      }
      const message = error instanceof Error ? error.message : String(error);
      record(cronJob, 'Warning', 'FailedCreate', `Error creating job: ${message}`);
      throw error;
    }
  }

  async #delete(key: string, cronJob: CronJob, job: Job): Promise<void> {
    const { cluster, record } = this.#options;
    const { uid, name } = job.metadata;
    try {
      const options = { propagationPolicy: 'Background', preconditions: { uid } } as const;
      await cluster.delete(resources.jobs, splitKey(keyOf(job)), options);
      record(cronJob, 'Normal', 'SuccessfulDelete', `Deleted job ${name}`);
    } catch (error) {
      if (!isPintleError(error, 'NOT_FOUND')) {
        record(cronJob, 'Warning', 'FailedDelete', `Deleted job: ${String(error)}`);
        throw error;
      }
    }
    this.#expectations.deleted(key, this.#jobs, job);
  }

  async #writeStatus(key: string, cronJob: CronJob, status: CronJobStatus): Promise<void> {
    try {
      const written = await this.#options.cluster.update(
        resources.cronJobs,
        { ...cronJob, status },
        { subresource: 'status' },
      );
      this.#expectations.written(key, this.#cronJobs, written);
    } catch (error) {
      if (!isPintleError(error, 'NOT_FOUND')) throw error;
    }
  }
}
