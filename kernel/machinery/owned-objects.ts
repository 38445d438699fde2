/**
 * The owners of one kind (Jobs, DaemonSets ...) and the objects that they claim by selector: which changes bring an owner
 * into the queue, whether a pass over it may be made now, and the writes that its next pass must have seen.
 */
import {
  isPintleError,
  type Clock,
  type Cluster,
  type KubernetesObject,
  type Logger,
  type NewObject,
  type ResourceType,
} from '../contract/index.ts';
import type { Pod } from '../contract/kubernetes.ts';
import { claim, ownerIndex, unmanaged } from './adoption.ts';
import type { EventRecorder } from './event-recorder.ts';
import { Expectations } from './expectations.ts';
import { informersFor, type Informer } from './informer.ts';
import { controllerOf, keyOf, splitKey } from './metadata.ts';
import { isTerminatingNamespace } from './namespace-state.ts';
import { Pace } from './pace.ts';
import { resources } from './resources.ts';
import type { Selector } from './selectors.ts';
import type { WorkQueue } from './work-queue.ts';

/** A write that shows in no cache after this time is looked for again. */
const lookAgainMs = 1000;

export interface OwnedObjectsOptions<Owner extends KubernetesObject> {
  readonly cluster: Cluster;
  readonly type: ResourceType<Owner>;
  readonly selectorOf: (owner: Owner) => Selector;
  readonly record: EventRecorder;
  readonly log: Logger;
  readonly clock: Clock;
}

export class OwnedObjects<Owner extends KubernetesObject> {
  readonly owners: Informer<Owner>;
  readonly pods: Informer<Pod>;
  readonly expectations: Expectations;
  readonly pace: Pace;
  readonly #options: OwnedObjectsOptions<Owner>;

  /** Both informers are the caller's to close. */
  constructor(options: OwnedObjectsOptions<Owner>) {
    const informers = informersFor(options.cluster, options.log);
    this.#options = options;
    this.owners = informers.get(options.type);
    this.pods = informers.get(resources.pods);
    this.expectations = new Expectations(options.clock);
    this.pace = new Pace(options.clock);
  }

  /** Indexes owners and dependents, and queues an owner at each change of its own and of what is or may become its. */
  watch<T extends KubernetesObject>(queue: WorkQueue<string>, ...dependents: readonly Informer<T>[]): void {
    this.owners.addIndex('namespace', ({ metadata }) => [metadata.namespace ?? '']);
    this.owners.onChange(({ key, object, previous }) => {
      // Another object than the one of this name before: what was expected of that one never comes.
      if (object !== undefined && previous === undefined) this.expectations.forget(key);
      queue.add(key);
    });
    for (const informer of dependents) {
      informer.addIndex('owner', ownerIndex);
      informer.onChange(({ object, previous }) => {
        for (const dependent of [object, previous]) if (dependent !== undefined) this.#enqueueOwners(dependent, queue);
      });
    }
  }

  /** The owner, when a pass over it may be made now. `gone` is called when there is none of that key any more. */
  due(key: string, queue: WorkQueue<string>, gone?: () => void): Owner | undefined {
    const owner = this.owners.get(key);
    if (owner === undefined) {
      this.expectations.forget(key);
      gone?.();
      return undefined;
    }
    // The event that the expectation waits for brings the key back; the delay is for one that was missed.
    if (!this.expectations.areMet(key)) {
      queue.addAfter(key, lookAgainMs);
      return undefined;
    }
    return this.pace.mayWork(key, queue) ? owner : undefined;
  }

  /** An owner's own objects, and those of its namespace that nobody manages. */
  candidates<T extends KubernetesObject>(informer: Informer<T>, { metadata }: Owner): readonly T[] {
    return [...informer.byIndex('owner', metadata.uid), ...informer.byIndex('owner', unmanaged(metadata.namespace))];
  }

  /** Those that are the owner's from now on. */
  claim<T extends KubernetesObject>(
    key: string,
    owner: Owner,
    type: ResourceType<T>,
    informer: Informer<T>,
    mayAdopt?: (object: T) => boolean,
  ): Promise<readonly T[]> {
    const { cluster, type: ownerType, selectorOf } = this.#options;
    return claim({
      cluster,
      ownerType,
      owner,
      type,
      selector: selectorOf(owner),
      candidates: this.candidates(informer, owner),
      ...(mayAdopt === undefined ? {} : { mayAdopt }),
      written: (object) => this.expectations.written(key, informer, object),
    });
  }

  claimPods(key: string, owner: Owner, mayAdopt?: (pod: Pod) => boolean): Promise<readonly Pod[]> {
    return this.claim(key, owner, resources.pods, this.pods, mayAdopt);
  }

  /** Says so in an event of the owner. False: its namespace is on the way out, where nobody needs to hear of it. */
  async createPod(key: string, owner: Owner, pod: NewObject<Pod>): Promise<boolean> {
    const { cluster, record } = this.#options;
    try {
      const created = await cluster.create(resources.pods, pod);
      this.expectations.written(key, this.pods, created);
      record(owner, 'Normal', 'SuccessfulCreate', `Created pod: ${created.metadata.name}`);
      return true;
    } catch (error) {
      if (isTerminatingNamespace(error)) return false;
      const message = error instanceof Error ? error.message : String(error);
      record(owner, 'Warning', 'FailedCreate', `Error creating: ${message}`);
      throw error;
    }
  }

  /** All are tried; rejects with the first failure. `before` is done with each pod first. */
  async deletePods(
    key: string,
    owner: Owner,
    pods: readonly Pod[],
    before?: (pod: Pod) => Promise<void>,
  ): Promise<void> {
    const results = await Promise.allSettled(
      pods.map(async (pod) => {
        await before?.(pod);
        await this.#deletePod(owner, pod);
        this.expectations.deleted(key, this.pods, pod);
      }),
    );
    for (const result of results) if (result.status === 'rejected') throw result.reason;
  }

  /** False: the owner is gone. */
  async writeStatus(key: string, owner: Owner): Promise<boolean> {
    const { cluster, type } = this.#options;
    try {
      const written = await cluster.update(type, owner, { subresource: 'status' });
      this.expectations.written(key, this.owners, written);
      return true;
    } catch (error) {
      if (isPintleError(error, 'NOT_FOUND')) return false;
      throw error;
    }
  }

  async #deletePod(owner: Owner, pod: Pod): Promise<void> {
    const { cluster, record } = this.#options;
    const { uid, name } = pod.metadata;
    try {
      await cluster.delete(resources.pods, splitKey(keyOf(pod)), { preconditions: { uid } });
      record(owner, 'Normal', 'SuccessfulDelete', `Deleted pod: ${name}`);
    } catch (error) {
      if (isPintleError(error, 'NOT_FOUND')) return;
      record(owner, 'Warning', 'FailedDelete', `Error deleting: ${String(error)}`);
      throw error;
    }
  }

  #enqueueOwners(dependent: KubernetesObject, queue: WorkQueue<string>): void {
    const manager = controllerOf(dependent);
    const { namespace = '', labels } = dependent.metadata;
    const { type, selectorOf } = this.#options;
    if (manager?.kind === type.kind) queue.add(`${namespace}/${manager.name}`);
    if (manager !== undefined) return;
    // Nobody's: whoever selects it may adopt it.
    for (const owner of this.owners.byIndex('namespace', namespace))
      if (selectorOf(owner).matches(labels)) queue.add(keyOf(owner));
  }
}
