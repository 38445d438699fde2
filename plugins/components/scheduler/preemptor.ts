/**
 * Makes room for pods that matter more: asks which pods must go, sends them away, and keeps their place for the one that
 * waits. A kept place counts on its node like a pod, for everybody but its owner; whoever matters more may take it away.
 */
import { isPintleError, type Clock, type Cluster, type Logger } from '../../../kernel/contract/index.ts';
import type { Pod, PodDisruptionBudget } from '../../../kernel/contract/kubernetes.ts';
import { apiTime } from '../../../kernel/machinery/clock.ts';
import type { EventRecorder } from '../../../kernel/machinery/event-recorder.ts';
import { splitKey } from '../../../kernel/machinery/metadata.ts';
import { resources } from '../../../kernel/machinery/resources.ts';
import { planPreemption, priorityOf, type PreemptionPlan } from '../../../kernel/machinery/scheduling/preemption.ts';
import { countedReasons, type ClassView } from './class-view.ts';
import type { NodeCache } from './node-cache.ts';

export interface PreemptorOptions {
  readonly cluster: Cluster;
  readonly cache: NodeCache;
  readonly budgets: () => readonly PodDisruptionBudget[];
  readonly record: EventRecorder;
  readonly clock: Clock;
  readonly log: Logger;
  /** The reporting scheduler's name, for conditions. */
  readonly name: string;
}

interface Nomination {
  readonly pod: Pod;
  readonly nodeName: string;
  /** Of the node when its owner last looked. */
  generation: number;
}

export interface LiftedPlace {
  readonly nodeName: string;
  putBack(): void;
}

/** No pod has this key: names have no NUL. */
const placeKey = (key: string) => `\0nominated\0${key}`;
const keyOf = ({ metadata }: Pod) => `${metadata.namespace}/${metadata.name}`;

export class Preemptor {
  readonly counts = { attempts: 0, victims: 0 };
  readonly #options: PreemptorOptions;
  readonly #nominations = new Map<string, Nomination>();
  readonly #making = new Set<string>();
  readonly #inFlight = new Set<Promise<void>>();

  constructor(options: PreemptorOptions) {
    this.#options = options;
  }

  /** A place that was kept before this process started. */
  recall(key: string, pod: Pod): void {
    const nodeName = pod.status?.nominatedNodeName;
    if (nodeName && !this.#nominations.has(key) && this.#options.cache.nodes.has(nodeName))
      this.#keep(key, pod, nodeName);
  }

  /** Gives up the place: its owner has a node, or is gone. */
  forget(key: string): void {
    if (this.#nominations.delete(key)) this.#options.cache.removePod(placeKey(key));
  }

  /** Pods whose kept place has seen a change since they were last tried. */
  *concerned(): Iterable<string> {
    for (const [key, { nodeName, generation }] of this.#nominations)
      if (this.#options.cache.nodes.get(nodeName)?.generation !== generation) yield key;
  }

  /** Lets the pod look at the cluster without its own kept place. */
  lift(key: string): LiftedPlace | undefined {
    const nomination = this.#nominations.get(key);
    if (nomination === undefined) return undefined;
    this.forget(key);
    const { pod, nodeName } = nomination;
    return { nodeName, putBack: () => this.#keep(key, pod, nodeName) };
  }

  /**
   * For a pod that fits nowhere, its own place lifted: makes room, or says why not, in kube-scheduler's words.
   */
  makeRoom(key: string, pod: Pod, view: ClassView, lifted: LiftedPlace | undefined): string {
    if (pod.spec.preemptionPolicy === 'Never') return ' preemption: not eligible due to preemptionPolicy=Never.';
    const { cache, budgets } = this.#options;
    if (lifted !== undefined && this.#isRoomBeingMade(key, pod, lifted.nodeName)) {
      lifted.putBack();
      return ' preemption: not eligible due to a terminating pod on the nominated node.';
    }
    const priority = priorityOf(pod);
    const answer =
      cache.lowestPriority < priority
        ? planPreemption(view.podClass, view.judge, cache, { priority, budgets: budgets() })
        : { reasons: view.helplessness() };
    if (answer.plan === undefined) {
      if (pod.status?.nominatedNodeName) this.#run(() => this.#nominate(pod, ''));
      const { size } = cache.nodes;
      return size === 0 ? '' : ` preemption: 0/${size} nodes are available: ${countedReasons(answer.reasons)}.`;
    }
    this.counts.attempts++;
    const { plan } = answer;
    for (const victim of plan.victims) this.forget(keyOf(victim));
    this.#keep(key, pod, plan.nodeName);
    this.#making.add(key);
    this.#run(() => this.#carryOut(pod, plan).finally(() => this.#making.delete(key)));
    return '';
  }

  async idle(): Promise<void> {
    while (this.#inFlight.size > 0) await Promise.all(this.#inFlight);
  }

  #keep(key: string, pod: Pod, nodeName: string): void {
    const { cache } = this.#options;
    cache.setPod(placeKey(key), pod, nodeName);
    this.#nominations.set(key, { pod, nodeName, generation: cache.nodes.get(nodeName)?.generation ?? 0 });
  }

  /** True while less important pods of the nominated node are on their way out. */
  #isRoomBeingMade(key: string, pod: Pod, nodeName: string): boolean {
    if (this.#making.has(key)) return true;
    const node = this.#options.cache.nodes.get(nodeName);
    for (const other of node?.pods.values() ?? [])
      if (other.metadata.deletionTimestamp !== undefined && priorityOf(other) < priorityOf(pod)) return true;
    return false;
  }

  #run(work: () => Promise<void>): void {
    const running = work()
      .catch((error: unknown) => {
        if (!isPintleError(error, 'NOT_FOUND', 'CONFLICT'))
          this.#options.log.warn('making room for a pod failed, it will be tried again', { error: String(error) });
      })
      .finally(() => this.#inFlight.delete(running));
    this.#inFlight.add(running);
  }

  async #carryOut(pod: Pod, { nodeName, victims }: PreemptionPlan): Promise<void> {
    const { cache } = this.#options;
    await this.#nominate(pod, nodeName);
    for (const victim of victims) {
      // Only the kept place of a pod that has not got there: it waits on.
      if (!victim.spec.nodeName && !cache.isPlaced(keyOf(victim))) await this.#nominate(victim, '');
      else if (victim.metadata.deletionTimestamp === undefined) await this.#send(victim, pod, nodeName);
    }
  }

  async #nominate(pod: Pod, nodeName: string): Promise<void> {
    const body = { metadata: { uid: pod.metadata.uid }, status: { nominatedNodeName: nodeName || null } };
    await this.#options.cluster.patch(
      resources.pods,
      splitKey(keyOf(pod)),
      { kind: 'merge', body },
      { subresource: 'status' },
    );
  }

  async #send(victim: Pod, preemptor: Pod, nodeName: string): Promise<void> {
    const { cluster, record, clock, name } = this.#options;
    const key = splitKey(keyOf(victim));
    const { uid } = victim.metadata;
    const condition = {
      type: 'DisruptionTarget',
      status: 'True',
      reason: 'PreemptionByScheduler',
      message: `${name}: preempting to accommodate a higher priority pod`,
      lastTransitionTime: apiTime(clock.now()),
    };
    try {
      const body = { metadata: { uid }, status: { conditions: [condition] } };
      await cluster.patch(resources.pods, key, { kind: 'strategic', body }, { subresource: 'status' });
      await cluster.delete(resources.pods, key, { preconditions: { uid } });
    } catch (error) {
      // Gone already: so much the better.
      if (isPintleError(error, 'NOT_FOUND', 'CONFLICT')) return;
      throw error;
    }
    this.counts.victims++;
    record(victim, 'Normal', 'Preempted', `Preempted by pod ${preemptor.metadata.uid} on node ${nodeName}`);
  }
}
