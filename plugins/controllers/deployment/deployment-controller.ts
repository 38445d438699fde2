/** Watches Deployments, their ReplicaSets and (for Recreate) pods, and makes one pass over a Deployment at a time. */
import type { Clock, Cluster, Logger } from '../../../kernel/contract/index.ts';
import type { Deployment, Pod, ReplicaSet } from '../../../kernel/contract/kubernetes.ts';
import type { EventRecorder } from '../../../kernel/machinery/event-recorder.ts';
import { ownerIndex } from '../../../kernel/machinery/adoption.ts';
import { informersFor, type Informer } from '../../../kernel/machinery/informer.ts';
import { controllerOf, findCondition } from '../../../kernel/machinery/metadata.ts';
import { OwnedObjects } from '../../../kernel/machinery/owned-objects.ts';
import { runReconciler } from '../../../kernel/machinery/reconciler.ts';
import { resources } from '../../../kernel/machinery/resources.ts';
import { labelSelector } from '../../../kernel/machinery/selectors.ts';
import type { WorkQueue } from '../../../kernel/machinery/work-queue.ts';
import { deploymentStatus, isSameStatus, msUntilDeadline, progressDeadlineMs } from './deployment-status.ts';
import { Rollout } from './rollout.ts';
import { isRollingUpdate } from './rollout-math.ts';
import { isScalingEvent, recreate, rescale, rollingUpdate } from './strategies.ts';

export interface DeploymentControllerOptions {
  readonly cluster: Cluster;
  readonly concurrency: number;
  readonly record: EventRecorder;
  readonly log: Logger;
  readonly clock: Clock;
}

export class DeploymentController {
  readonly #options: DeploymentControllerOptions;
  readonly #owned: OwnedObjects<Deployment>;
  readonly #sets: Informer<ReplicaSet>;

  constructor(options: DeploymentControllerOptions) {
    this.#options = options;
    this.#owned = new OwnedObjects({
      ...options,
      type: resources.deployments,
      selectorOf: (deployment) => labelSelector(deployment.spec.selector),
    });
    this.#sets = informersFor(options.cluster, options.log).get(resources.replicaSets);
  }

  run(signal: AbortSignal): Promise<void> {
    return runReconciler(
      {
        ...this.#options,
        name: 'deployment',
        informers: [this.#owned.owners, this.#sets, this.#owned.pods],
        watch: (queue) => this.#watch(queue),
        reconcile: (key, queue) => this.#reconcile(key, queue),
      },
      signal,
    );
  }

  #watch(queue: WorkQueue<string>): void {
    this.#owned.watch(queue, this.#sets);
    this.#sets.addIndex('uid', (set) => [set.metadata.uid]);
    this.#owned.pods.addIndex('owner', ownerIndex);
    this.#owned.pods.onChange(({ object, previous }) => this.#onPod(object ?? previous, queue));
  }

  /** Recreate waits for the last old pod to be gone. */
  #onPod(pod: Pod | undefined, queue: WorkQueue<string>): void {
    const manager = pod === undefined ? undefined : controllerOf(pod);
    const [set] = manager === undefined ? [] : this.#sets.byIndex('uid', manager.uid);
    const owner = set === undefined ? undefined : controllerOf(set);
    if (pod === undefined || owner?.kind !== 'Deployment') return;
    const key = `${pod.metadata.namespace}/${owner.name}`;
    const deployment = this.#owned.owners.get(key);
    if (deployment !== undefined && !isRollingUpdate(deployment)) queue.add(key);
  }

  async #reconcile(key: string, queue: WorkQueue<string>): Promise<void> {
    const { cluster, clock, record } = this.#options;
    const deployment = this.#owned.due(key, queue);
    if (deployment === undefined) return;
    if (labelSelector(deployment.spec.selector).isEverything) {
      record(
        deployment,
        'Warning',
        'SelectingAll',
        'This deployment is selecting all pods. A non-empty selector is required.',
      );
      return;
    }
    const { expectations } = this.#owned;
    const writtenSet = (set: ReplicaSet) => expectations.written(key, this.#sets, set);
    const writtenDeployment = (written: Deployment) => expectations.written(key, this.#owned.owners, written);
    const sets = await this.#owned.claim(key, deployment, resources.replicaSets, this.#sets);
    const podsOf = (set: ReplicaSet) => this.#owned.pods.byIndex('owner', set.metadata.uid);
    const rollout = new Rollout({ cluster, record, clock, deployment, sets, podsOf, writtenSet, writtenDeployment });
    const isRollout = await this.#pass(rollout);
    await this.#writeStatus(key, deployment, rollout, isRollout, queue);
  }

  /** True when this was a step of a rollout, for which the progress deadline counts. */
  async #pass(rollout: Rollout): Promise<boolean> {
    const { deployment } = rollout;
    if (deployment.metadata.deletionTimestamp !== undefined) return false;
    notePause(rollout);
    if (deployment.spec.paused === true || isScalingEvent(rollout)) {
      await rescale(rollout);
      return false;
    }
    await (isRollingUpdate(deployment) ? rollingUpdate(rollout) : recreate(rollout));
    return true;
  }

  async #writeStatus(
    key: string,
    before: Deployment,
    rollout: Rollout,
    isRollout: boolean,
    queue: WorkQueue<string>,
  ): Promise<void> {
    const { clock } = this.#options;
    const { deployment, sets, newSet } = rollout;
    const status = deploymentStatus(deployment, sets, newSet, isRollout, clock.now());
    const lookAgainMs = msUntilDeadline(deployment, status, clock.now());
    if (lookAgainMs !== undefined) queue.addAfter(key, lookAgainMs);
    if (!isSameStatus(before.status, status)) await this.#owned.writeStatus(key, { ...deployment, status });
  }
}

/** The deadline does not run while a rollout is paused, and starts anew when it is resumed. */
function notePause(rollout: Rollout): void {
  const { deployment } = rollout;
  if (progressDeadlineMs(deployment) === undefined) return;
  const reason = findCondition(deployment.status?.conditions, 'Progressing')?.reason;
  if (reason === 'ProgressDeadlineExceeded') return;
  const isPaused = deployment.spec.paused === true;
  if (isPaused && reason !== 'DeploymentPaused')
    rollout.note('Progressing', 'Unknown', 'DeploymentPaused', 'Deployment is paused');
  else if (!isPaused && reason === 'DeploymentPaused')
    rollout.note('Progressing', 'Unknown', 'DeploymentResumed', 'Deployment is resumed');
}
