/**
 * One pass over one Deployment: what it needs to read and write, and the steps that all strategies share. Every pass
 * starts from what is there; nothing is remembered between passes.
 */
import { isPintleError, type Clock, type Cluster } from '../../../kernel/contract/index.ts';
import type { Deployment, DeploymentCondition, Pod, ReplicaSet } from '../../../kernel/contract/kubernetes.ts';
import type { EventRecorder } from '../../../kernel/machinery/event-recorder.ts';
import { keyOf, splitKey } from '../../../kernel/machinery/metadata.ts';
import { resources } from '../../../kernel/machinery/resources.ts';
import { withCondition } from './deployment-status.ts';
import { annotations, maxSurge, oldestFirst, revisionOf, wantedReplicas } from './rollout-math.ts';
import { isSameTemplate } from './template-hash.ts';

export interface RolloutOptions {
  readonly cluster: Cluster;
  readonly record: EventRecorder;
  readonly clock: Clock;
  readonly deployment: Deployment;
  /** The Deployment's own ReplicaSets. */
  readonly sets: readonly ReplicaSet[];
  readonly podsOf: (set: ReplicaSet) => readonly Pod[];
  readonly writtenSet: (set: ReplicaSet) => void;
  readonly writtenDeployment: (deployment: Deployment) => void;
}

export class Rollout {
  readonly options: RolloutOptions;
  /** As last read or written, with the conditions that this pass adds. */
  deployment: Deployment;
  sets: readonly ReplicaSet[];

  constructor(options: RolloutOptions) {
    this.options = options;
    this.deployment = options.deployment;
    this.sets = options.sets.toSorted(oldestFirst);
  }

  /** The ReplicaSet of the current template. Of several the oldest, so that everyone picks the same. */
  get newSet(): ReplicaSet | undefined {
    return this.sets.find((set) => isSameTemplate(set.spec.template, this.deployment.spec.template));
  }

  get oldSets(): readonly ReplicaSet[] {
    const { newSet } = this;
    return this.sets.filter((set) => set !== newSet);
  }

  note(type: string, status: string, reason: string, message: string): void {
    const { status: before = {} } = this.deployment;
    const conditions: readonly DeploymentCondition[] = withCondition(
      before.conditions ?? [],
      { type, status, reason, message },
      this.options.clock.now(),
    );
    this.deployment = { ...this.deployment, status: { ...before, conditions: [...conditions] } };
  }

  /** Sets the size, and the annotations by which a later pass shares out a change of scale. True when it wrote. */
  async scale(set: ReplicaSet, size: number): Promise<boolean> {
    const before = set.spec.replicas ?? 1;
    const shares = scaleAnnotations(this.deployment);
    const known = set.metadata.annotations ?? {};
    const isCurrent = Object.entries(shares).every(([key, value]) => known[key] === value);
    if (before === size && isCurrent) return false;
    await this.writeSet({
      ...set,
      metadata: { ...set.metadata, annotations: { ...known, ...shares } },
      spec: { ...set.spec, replicas: size },
    });
    if (before !== size) this.#recordScaling(set, before, size);
    return before !== size;
  }

  async writeSet(set: ReplicaSet): Promise<void> {
    const written = await this.options.cluster.update(resources.replicaSets, set);
    this.options.writtenSet(written);
    this.sets = this.sets.map((other) => (other.metadata.uid === written.metadata.uid ? written : other));
  }

  addSet(set: ReplicaSet): void {
    this.options.writtenSet(set);
    this.sets = [...this.sets, set].toSorted(oldestFirst);
    this.#recordScaling(set, 0, set.spec.replicas ?? 1);
  }

  /** The Deployment carries the revision of its current template. */
  async writeRevision(): Promise<void> {
    const revision = this.newSet?.metadata.annotations?.[annotations.revision];
    const known = this.deployment.metadata.annotations ?? {};
    if (revision === undefined || known[annotations.revision] === revision) return;
    const { status } = this.deployment;
    const written = await this.options.cluster.update(resources.deployments, {
      ...this.deployment,
      metadata: { ...this.deployment.metadata, annotations: { ...known, [annotations.revision]: revision } },
    });
    this.options.writtenDeployment(written);
    this.deployment = { ...written, ...(status === undefined ? {} : { status }) };
  }

  /** Keeps revisionHistoryLimit ReplicaSets that are down to nothing, the latest ones, to roll back to. */
  async deleteOldRevisions(): Promise<void> {
    const limit = this.deployment.spec.revisionHistoryLimit ?? 10;
    const alive = this.oldSets
      .filter((set) => set.metadata.deletionTimestamp === undefined)
      .toSorted((a, b) => revisionOf(a) - revisionOf(b));
    for (const set of alive.slice(0, Math.max(0, alive.length - limit))) {
      const { status, metadata } = set;
      const isDown = (set.spec.replicas ?? 1) === 0 && (status?.replicas ?? 0) === 0;
      if (!isDown || (metadata.generation ?? 0) > (status?.observedGeneration ?? 0)) continue;
      try {
        const preconditions = { uid: metadata.uid };
        await this.options.cluster.delete(resources.replicaSets, splitKey(keyOf(set)), { preconditions });
      } catch (error) {
        if (!isPintleError(error, 'NOT_FOUND', 'CONFLICT')) throw error;
      }
    }
  }

  #recordScaling(set: ReplicaSet, before: number, size: number): void {
    if (before === size) return;
    const direction = size > before ? 'up' : 'down';
    const message = `Scaled ${direction} replica set ${set.metadata.name} from ${before} to ${size}`;
    this.options.record(this.deployment, 'Normal', 'ScalingReplicaSet', message);
  }
}

export function scaleAnnotations(deployment: Deployment): Readonly<Record<string, string>> {
  const wanted = wantedReplicas(deployment);
  return {
    [annotations.desiredReplicas]: String(wanted),
    [annotations.maxReplicas]: String(wanted + maxSurge(deployment)),
  };
}
