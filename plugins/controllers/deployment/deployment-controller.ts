/** Watches Deployments, their ReplicaSets and (for Recreate) pods, and makes one pass over a Deployment at a time. */
import { isPintleError, type Clock, type Cluster, type Logger } from '../../../kernel/contract/index.ts';
import type { Deployment, Pod, ReplicaSet } from '../../../kernel/contract/kubernetes.ts';
import { claim, ownerIndex, unmanaged } from '../../../kernel/machinery/adoption.ts';
import type { EventRecorder } from '../../../kernel/machinery/event-recorder.ts';
import { Expectations } from '../../../kernel/machinery/expectations.ts';
import { informersFor, type Informer } from '../../../kernel/machinery/informer.ts';
import { controllerOf, findCondition, keyOf } from '../../../kernel/machinery/metadata.ts';
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
  readonly #deployments: Informer<Deployment>;
  readonly #sets: Informer<ReplicaSet>;
  readonly #pods: Informer<Pod>;
  readonly #expectations: Expectations;

  constructor(options: DeploymentControllerOptions) {
    const informers = informersFor(options.cluster, options.log);
    this.#options = options;
    this.#deployments = informers.get(resources.deployments);
    this.#sets = informers.get(resources.replicaSets);
    this.#pods = informers.get(resources.pods);
    this.#expectations = new Expectations(options.clock);
  }

  run(signal: AbortSignal): Promise<void> {
    return runReconciler(
      {
        ...this.#options,
        name: 'deployment',
        informers: [this.#deployments, this.#sets, this.#pods],
        watch: (queue) => this.#watch(queue),
        reconcile: (key, queue) => this.#reconcile(key, queue),
      },
      signal,
    );
  }

  #watch(queue: WorkQueue<string>): void {
    this.#pods.addIndex('owner', ownerIndex);
    this.#sets.addIndex('owner', ownerIndex);
    this.#sets.addIndex('uid', (set) => [set.metadata.uid]);
    this.#deployments.addIndex('namespace', (deployment) => [deployment.metadata.namespace]);
    this.#deployments.onChange(({ key }) => queue.add(key));
    this.#sets.onChange(({ object, previous }) => {
      for (const set of [object, previous]) if (set !== undefined) this.#enqueueOwners(set, queue);
    });
    this.#pods.onChange(({ object, previous }) => this.#onPod(object ?? previous, queue));
  }

  #enqueueOwners(set: ReplicaSet, queue: WorkQueue<string>): void {
    const manager = controllerOf(set);
    const { namespace, labels } = set.metadata;
    if (manager?.kind === 'Deployment') queue.add(`${namespace}/${manager.name}`);
    if (manager !== undefined) return;
    for (const deployment of this.#deployments.byIndex('namespace', namespace))
      if (labelSelector(deployment.spec.selector).matches(labels)) queue.add(keyOf(deployment));
  }

  /** Recreate waits for the last old pod to be gone. */
  #onPod(pod: Pod | undefined, queue: WorkQueue<string>): void {
    const manager = pod === undefined ? undefined : controllerOf(pod);
    const [set] = manager === undefined ? [] : this.#sets.byIndex('uid', manager.uid);
    const owner = set === undefined ? undefined : controllerOf(set);
    if (pod === undefined || owner?.kind !== 'Deployment') return;
    const key = `${pod.metadata.namespace}/${owner.name}`;
    const deployment = this.#deployments.get(key);
    if (deployment !== undefined && !isRollingUpdate(deployment)) queue.add(key);
  }

  async #reconcile(key: string, queue: WorkQueue<string>): Promise<void> {
    const { cluster, clock, record } = this.#options;
    const deployment = this.#deployments.get(key);
    if (deployment === undefined) {
      this.#expectations.forget(key);
      return;
    }
    if (!this.#expectations.areMet(key)) {
      queue.addAfter(key, 1000);
      return;
    }
    const selector = labelSelector(deployment.spec.selector);
    if (selector.isEverything) {
      record(
        deployment,
        'Warning',
        'SelectingAll',
        'This deployment is selecting all pods. A non-empty selector is required.',
      );
      return;
    }
    const writtenSet = (set: ReplicaSet) => this.#expectations.written(key, this.#sets, set);
    const writtenDeployment = (written: Deployment) => this.#expectations.written(key, this.#deployments, written);
    const sets = await claim({
      cluster,
      ownerType: resources.deployments,
      owner: deployment,
      type: resources.replicaSets,
      selector,
      candidates: [
        ...this.#sets.byIndex('owner', deployment.metadata.uid),
        ...this.#sets.byIndex('owner', unmanaged(deployment.metadata.namespace)),
      ],
      written: writtenSet,
    });
    const podsOf = (set: ReplicaSet) => this.#pods.byIndex('owner', set.metadata.uid);
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
    const { cluster, clock } = this.#options;
    const { deployment, sets, newSet } = rollout;
    const status = deploymentStatus(deployment, sets, newSet, isRollout, clock.now());
    const lookAgainMs = msUntilDeadline(deployment, status, clock.now());
    if (lookAgainMs !== undefined) queue.addAfter(key, lookAgainMs);
    if (isSameStatus(before.status, status)) return;
    try {
      const written = await cluster.update(resources.deployments, { ...deployment, status }, { subresource: 'status' });
      this.#expectations.written(key, this.#deployments, written);
    } catch (error) {
      if (!isPintleError(error, 'NOT_FOUND')) throw error;
    }
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
