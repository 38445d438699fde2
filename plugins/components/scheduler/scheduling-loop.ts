/**
 * The scheduling loop: watches pods and nodes, picks a node for one pod after the other, and binds. Picking is
 * synchronous; a picked pod counts on its node at once ("assumed"), and the binding is written in the background, up to
 * `bindConcurrency` at a time. A binding that fails is forgotten and the pod tried again. All state comes from the two
 * informers, so a restart loses nothing.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import {
  isPintleError,
  type Clock,
  type Cluster,
  type Logger,
  type ResourceType,
  type SchedulerPolicy,
} from '../../../kernel/contract/index.ts';
import type { Binding, Pod, PodDisruptionBudget } from '../../../kernel/contract/kubernetes.ts';
import { Histogram } from '../../../kernel/machinery/metrics/histogram.ts';
import type { EventRecorder } from '../../../kernel/machinery/event-recorder.ts';
import { informersFor, type Change, type Informer } from '../../../kernel/machinery/informer.ts';
import { splitKey } from '../../../kernel/machinery/metadata.ts';
import { resources } from '../../../kernel/machinery/resources.ts';
import { classOf } from '../../../kernel/machinery/scheduling/pod-class.ts';
import { stableText } from '../../../kernel/machinery/stable-text.ts';
import { claimsOfPod } from '../../../kernel/machinery/volumes/claims.ts';
import { bindVolumes } from './bind-volumes.ts';
import { ClaimCache } from './claim-cache.ts';
import type { ClassView } from './class-view.ts';
import { ClassViews } from './class-views.ts';
import { NodeCache } from './node-cache.ts';
import { PendingPods, type PendingPod } from './pending-pods.ts';
import { Preemptor } from './preemptor.ts';
import { UnschedulableConditions } from './unschedulable-conditions.ts';
import { assign, type Assignment, type VolumeNeeds } from './volume-needs.ts';

/** The loop lets other work of the process run after this long. */
const sliceMs = 8;

/** One for all: an error with a stack for each turn of the loop would cost more than the turn. */
const woken = new DOMException('something has changed', 'AbortError');

const bindings = { ...resources.pods, kind: 'Binding' } as ResourceType<never> as ResourceType<Binding>;

export interface SchedulingLoopOptions {
  readonly cluster: Cluster;
  /** spec.schedulerName → policy. Pods of other names are left alone. */
  readonly profiles: ReadonlyMap<string, SchedulerPolicy>;
  readonly bindConcurrency: number;
  readonly record: EventRecorder;
  readonly clock: Clock;
  readonly log: Logger;
  readonly random: () => number;
}

export class SchedulingLoop {
  readonly counts = { scheduled: 0, unschedulable: 0, error: 0 };
  /** From a pod's turn to its node, or to none: the judgement alone. From 10 µs, as most are that short. */
  readonly attemptSeconds = new Histogram(Array.from({ length: 21 }, (_, index) => 0.000_01 * 2 ** index));
  /** How long bindings take to be written. */
  readonly bindingSeconds = new Histogram();
  readonly #options: SchedulingLoopOptions;
  readonly #cache = new NodeCache();
  readonly #pending = new PendingPods();
  readonly #conditions: UnschedulableConditions;
  readonly #views: ClassViews;
  readonly #preemptor: Preemptor;
  /** Pods whose binding is being written, or has been and not yet been seen by the informer: key → uid. */
  readonly #assumed = new Map<string, string>();
  /** Keys of pending pods with claims: what fits them changes with volumes, too. */
  readonly #withClaims = new Set<string>();
  readonly #volumesInFlight = new Set<Promise<void>>();
  #claims: ClaimCache | undefined;
  #haveVolumesChanged = false;
  #bindsInFlight = 0;
  #mayHelp = false;
  #wake: () => void = () => undefined;
  #pods: Informer<Pod> | undefined;
  #budgets: Informer<PodDisruptionBudget> | undefined;
  #isSynced = false;

  constructor(options: SchedulingLoopOptions) {
    this.#options = options;
    this.#conditions = new UnschedulableConditions(options);
    this.#views = new ClassViews(this.#cache, options.random);
    const budgets = () => this.#budgets?.list() ?? [];
    this.#preemptor = new Preemptor({ ...options, cache: this.#cache, budgets, name: 'default-scheduler' });
  }

  get isSynced(): boolean {
    return this.#isSynced;
  }

  get preemptionCounts(): Preemptor['counts'] {
    return this.#preemptor.counts;
  }

  pendingCounts(): ReturnType<PendingPods['counts']> {
    return this.#pending.counts();
  }

  async run(signal: AbortSignal): Promise<void> {
    const { cluster, log } = this.#options;
    const informers = informersFor(cluster, log);
    const nodes = informers.get(resources.nodes);
    const pods = informers.get(resources.pods);
    this.#pods = pods;
    const namespaces = informers.get(resources.namespaces);
    const budgets = informers.get(resources.podDisruptionBudgets);
    this.#budgets = budgets;
    const claims = new ClaimCache(cluster, this.#cache, log);
    this.#claims = claims;
    const ended = new AbortController();
    const running = AbortSignal.any([signal, ended.signal]);
    const conditions = this.#conditions.run(pods, (key) => this.#pending.get(key) !== undefined, running);
    const wake = () => this.#wake();
    signal.addEventListener('abort', wake);
    try {
      nodes.onChange(({ key, object }) => {
        if (object === undefined) this.#cache.removeNode(key);
        else this.#cache.setNode(object);
        this.#helped();
      });
      namespaces.onChange(({ key, object }) => this.#cache.setNamespace(key, object && (object.metadata.labels ?? {})));
      claims.onChange(() => this.#volumesChanged());
      pods.onChange((change) => this.#onPod(change));
      for (const informer of [nodes, namespaces, budgets]) await informer.synced(signal);
      await pods.synced(signal);
      await claims.synced(signal);
      this.#isSynced = true;
      await this.#loop(running);
    } catch (error) {
      if (!signal.aborted) throw error;
    } finally {
      signal.removeEventListener('abort', wake);
      for (const informer of [nodes, pods, namespaces, budgets]) informer.close();
      claims.close();
      this.#isSynced = false;
      ended.abort(new Error('the scheduling loop has ended'));
      await conditions;
      await Promise.all(this.#volumesInFlight);
      await this.#preemptor.idle();
      while (this.#bindsInFlight > 0) await this.#changed();
    }
  }

  #onPod({ key, object: pod }: Change<Pod>): void {
    const isOver = pod === undefined || pod.status?.phase === 'Succeeded' || pod.status?.phase === 'Failed';
    if (isOver) {
      this.#assumed.delete(key);
      this.#drop(key);
      this.#preemptor.forget(key);
      if (this.#cache.removePod(key)) {
        this.#helped();
        this.#claims?.changed();
      }
      return;
    }
    const { nodeName, schedulerName = 'default-scheduler', schedulingGates = [] } = pod.spec;
    if (nodeName !== undefined && nodeName !== '') {
      this.#assumed.delete(key);
      this.#drop(key);
      this.#preemptor.forget(key);
      const before = this.#cache.position;
      this.#cache.setPod(key, pod, nodeName);
      if (this.#cache.position !== before) this.#helped();
      return;
    }
    const policy = this.#options.profiles.get(schedulerName);
    if (policy === undefined || pod.metadata.deletionTimestamp !== undefined || schedulingGates.length > 0) {
      this.#drop(key);
      this.#preemptor.forget(key);
      return;
    }
    if (this.#assumed.get(key) === pod.metadata.uid) return;
    this.#preemptor.recall(key, pod);
    this.#enqueue(key, pod, schedulerName, policy);
  }

  /** A pod that waits no more may have been the one that was woken for its class: another gets the chance. */
  #drop(key: string): void {
    this.#withClaims.delete(key);
    if (this.#pending.get(key) === undefined) return;
    this.#pending.remove(key);
    this.#helped();
  }

  #enqueue(key: string, pod: Pod, profile: string, policy: SchedulerPolicy): void {
    try {
      const podClass = classOf(pod, policy);
      const volumes = this.#volumesOf(key, pod);
      const classId = classIdOf(profile, podClass.key, volumes);
      this.#views.ensure(classId, podClass, policy, volumes);
      this.#pending.put(key, pod, classId);
      this.#wake();
    } catch (error) {
      this.#options.record(pod, 'Warning', 'FailedScheduling', `The pod cannot be judged: ${String(error)}`);
    }
  }

  #volumesOf(key: string, pod: Pod): VolumeNeeds | undefined {
    if (claimsOfPod(pod).length === 0) return undefined;
    this.#withClaims.add(key);
    return this.#claims?.needsOf(pod);
  }

  #volumesChanged(): void {
    this.#haveVolumesChanged = true;
    this.#wake();
  }

  /** A pod whose claims fare otherwise now is of another class, and is tried again. */
  #reclassify(): void {
    this.#haveVolumesChanged = false;
    for (const key of this.#withClaims) {
      const pending = this.#pending.get(key);
      if (pending === undefined) this.#withClaims.delete(key);
      else this.#onPod({ key, object: pending.pod });
    }
  }

  async #loop(signal: AbortSignal): Promise<void> {
    const { clock, bindConcurrency } = this.#options;
    let sliceStart = performance.now();
    while (!signal.aborted) {
      if (this.#bindsInFlight >= bindConcurrency) {
        await this.#changed();
        sliceStart = performance.now();
        continue;
      }
      if (this.#haveVolumesChanged) this.#reclassify();
      if (this.#mayHelp) this.#wakeParked();
      const next = this.#pending.take(clock.now());
      if (next === undefined) {
        await this.#changed(this.#pending.nextRetryAt());
        sliceStart = performance.now();
        continue;
      }
      const began = performance.now();
      this.#place(next, signal);
      this.attemptSeconds.observe((performance.now() - began) / 1000);
      if (performance.now() - sliceStart > sliceMs) {
        await nextTurn();
        sliceStart = performance.now();
      }
    }
  }

  /** Resolves when something happened, or at this time. */
  async #changed(until?: number): Promise<void> {
    const timer = new AbortController();
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
      if (until === undefined) return;
      const { clock } = this.#options;
      clock.sleep(Math.max(0, until - clock.now()), timer.signal).then(resolve, () => undefined);
    });
    timer.abort(woken);
  }

  #helped(): void {
    this.#mayHelp = true;
    this.#wake();
  }

  /** Asks each class with parked pods about the nodes that changed, and wakes one pod of each that fits somewhere now. */
  #wakeParked(): void {
    this.#mayHelp = false;
    const now = this.#options.clock.now();
    for (const key of this.#preemptor.concerned()) this.#pending.wakePod(key);
    for (const classId of this.#pending.parkedClasses()) {
      const view = this.#views.get(classId);
      if (view === undefined) this.#pending.wake(classId, now);
      else if (this.#mayFit(view)) this.#pending.wake(classId, now);
    }
  }

  #mayFit(view: ClassView): boolean {
    try {
      return view.podClass.local ? view.choose() !== undefined : view.isOutdated;
    } catch {
      // The pod itself reports what the policy throws.
      return true;
    }
  }

  #place(pending: PendingPod, signal: AbortSignal): void {
    const { record, clock, log } = this.#options;
    const { key, pod } = pending;
    let nodeName: string | undefined;
    let view: ClassView;
    let assignments: readonly Assignment[] = [];
    const place = this.#preemptor.lift(key);
    try {
      const volumes = this.#volumesOf(key, pod);
      if (volumes !== undefined && this.#hasOtherClass(pending, volumes)) {
        place?.putBack();
        return;
      }
      view = this.#views.forPod(pending.classId, pod, this.#policyOf(pod), volumes);
      nodeName = view.choose();
      const node = nodeName === undefined ? undefined : this.#cache.nodes.get(nodeName)?.node;
      if (volumes !== undefined && node !== undefined) assignments = assign(volumes, node) ?? [];
    } catch (error) {
      place?.putBack();
      this.#views.delete(pending.classId);
      this.counts.error++;
      const message = error instanceof Error ? error.message : String(error);
      log.error('a scheduling policy failed', { pod: key, error: message });
      record(pod, 'Warning', 'FailedScheduling', message);
      this.#conditions.report(key, 'SchedulerError', message);
      this.#pending.retry(pending, clock.now());
      return;
    }
    if (nodeName === undefined) {
      this.counts.unschedulable++;
      const message = view.failure() + this.#preemptor.makeRoom(key, pod, view, place);
      this.#pending.park(pending, clock.now());
      record(pod, 'Warning', 'FailedScheduling', message);
      this.#conditions.report(key, 'Unschedulable', message);
      return;
    }
    this.#assumed.set(key, pod.metadata.uid);
    this.#pending.remove(key);
    this.#cache.setPod(key, pod, nodeName);
    // One of a class was placed: another of that class may fit as well.
    this.#mayHelp = true;
    if (assignments.length === 0) {
      this.#startBinding(pending, nodeName, signal);
      return;
    }
    const binding = this.#bindVolumes(pending, nodeName, assignments, signal).finally(() => {
      this.#volumesInFlight.delete(binding);
    });
    this.#volumesInFlight.add(binding);
  }

  #startBinding(pending: PendingPod, nodeName: string, signal: AbortSignal): void {
    this.#bindsInFlight++;
    void this.#bind(pending, nodeName, signal).finally(() => {
      this.#bindsInFlight--;
      this.#wake();
    });
  }

  /** Puts the pod back into the queue when it has become one of another class since it was queued. */
  #hasOtherClass(pending: PendingPod, volumes: VolumeNeeds): boolean {
    const { key, pod } = pending;
    const { schedulerName: profile = 'default-scheduler' } = pod.spec;
    const policy = this.#options.profiles.get(profile) as SchedulerPolicy;
    if (classIdOf(profile, classOf(pod, policy).key, volumes) === pending.classId) return false;
    this.#pending.remove(key);
    this.#enqueue(key, pod, profile, policy);
    return true;
  }

  async #bindVolumes(
    pending: PendingPod,
    nodeName: string,
    assignments: readonly Assignment[],
    signal: AbortSignal,
  ): Promise<void> {
    const { cluster, clock } = this.#options;
    const { key, pod } = pending;
    const { uid } = pod.metadata;
    const cache = this.#claims!;
    const { node } = this.#cache.nodes.get(nodeName)!;
    cache.assume(assignments, nodeName);
    this.#volumesChanged();
    const isWanted = () => this.#assumed.get(key) === uid;
    try {
      await bindVolumes({ cluster, clock, cache, node, isWanted }, assignments, signal);
      if (isWanted()) this.#startBinding(pending, nodeName, signal);
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      this.#bindingFailed(
        pending,
        error,
        `running PreBind plugin "VolumeBinding": binding volumes: ${message}`,
        signal,
      );
    } finally {
      cache.forget(assignments);
      this.#volumesChanged();
    }
  }

  async #bind(pending: PendingPod, nodeName: string, signal: AbortSignal): Promise<void> {
    const { cluster, record } = this.#options;
    const { key, pod } = pending;
    const { uid, name, namespace } = pod.metadata;
    const began = performance.now();
    try {
      const binding = {
        metadata: { name, namespace, uid },
        target: { apiVersion: 'v1', kind: 'Node', name: nodeName },
      };
      await cluster.create(bindings, binding, { subresource: 'binding', parent: splitKey(key) });
      this.counts.scheduled++;
      this.bindingSeconds.observe((performance.now() - began) / 1000);
      record(pod, 'Normal', 'Scheduled', `Successfully assigned ${key} to ${nodeName}`);
    } catch (error) {
      if (isPintleError(error, 'NOT_FOUND')) this.#forget(key, uid);
      else {
        const message = error instanceof Error ? error.message : String(error);
        this.#bindingFailed(pending, error, `Binding to ${nodeName} failed: ${message}`, signal);
      }
    }
  }

  /** Takes back that the pod is on its node; false when that was taken back before. */
  #forget(key: string, uid: string): boolean {
    if (this.#assumed.get(key) !== uid) return false;
    this.#assumed.delete(key);
    this.#cache.removePod(key);
    this.#helped();
    return true;
  }

  #bindingFailed(pending: PendingPod, error: unknown, message: string, signal: AbortSignal): void {
    const { record, log, clock } = this.#options;
    const { key, pod } = pending;
    const { uid } = pod.metadata;
    if (!this.#forget(key, uid) || signal.aborted) return;
    this.counts.error++;
    log.warn('a binding failed, the pod will be tried again', { pod: key, error: message });
    if (!isPintleError(error, 'CONFLICT')) record(pod, 'Warning', 'FailedScheduling', message);
    const current = this.#pods?.get(key);
    if (current?.metadata.uid !== uid || current.metadata.deletionTimestamp !== undefined) return;
    this.#pending.put(key, current, pending.classId);
    if (claimsOfPod(current).length > 0) this.#withClaims.add(key);
    const again = this.#pending.get(key);
    if (again === undefined) return;
    again.attempts = pending.attempts;
    again.move++;
    this.#pending.retry(again, clock.now());
  }

  #policyOf(pod: Pod): SchedulerPolicy {
    return this.#options.profiles.get(pod.spec.schedulerName ?? 'default-scheduler') as SchedulerPolicy;
  }
}

/** Pods whose claims ask the same of a node are of one class, whatever the claims are called. */
function classIdOf(profile: string, key: string, volumes: VolumeNeeds | undefined): string {
  if (volumes === undefined) return `${profile}\0${key}`;
  const unbound = volumes.unbound.map((claim) => ({ ...claim, key: '' }));
  return `${profile}\0${key}\0${stableText({ ...volumes, unbound })}`;
}
