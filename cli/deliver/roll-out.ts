/** Waits for a Deployment to be what its spec says, and finds the reason when it will not be. */
import type { Cluster } from '../../kernel/contract/index.ts';
import type { Deployment, Pod } from '../../kernel/contract/kubernetes.ts';
import { findCondition } from '../../kernel/machinery/metadata.ts';
import { resources } from '../../kernel/machinery/resources.ts';
import { deliveryAnnotation, isRevisionOf, jobLabel, revisionOf, type Job } from './job-objects.ts';

export interface RollOut {
  readonly deployment: Deployment;
  /** Undefined: it stands. Otherwise what keeps it from it, in words. */
  readonly failure: string | undefined;
  /** Another delivery of this job has taken over: nothing here is to be undone. */
  readonly isSuperseded: boolean;
  /** The pod to read the log of. */
  readonly failedPod: string | undefined;
}

/** Waiting for these goes on for ever, whatever the deadline says. */
const hopeless = new Set([
  'ImagePullBackOff',
  'ErrImageNeverPull',
  'InvalidImageName',
  'CreateContainerConfigError',
  'CreateContainerError',
  'RunContainerError',
  'CrashLoopBackOff',
]);
/** A container may have to wait for something outside: it fails the delivery when it has failed so often. */
const crashes = 2;
const pollMs = 200;

export async function rolledOut(
  cluster: Cluster,
  job: Job,
  options: { readonly delivery: string; readonly timeoutSeconds: number; onProgress(line: string): void },
): Promise<RollOut> {
  // The Deployment's own deadline counts from its last progress; this one ends what progresses for ever.
  const until = performance.now() + options.timeoutSeconds * 3000;
  let shown = '';
  for (;;) {
    const deployment = await cluster.get(resources.deployments, { namespace: job.namespace, name: job.name });
    const outcome = (failure?: string, more: Partial<RollOut> = {}): RollOut => ({
      deployment,
      failure,
      isSuperseded: false,
      failedPod: undefined,
      ...more,
    });
    if (deployment.metadata.annotations?.[deliveryAnnotation] !== options.delivery)
      return outcome('another delivery of this job has begun meanwhile', { isSuperseded: true });
    const { status } = deployment;
    const wanted = deployment.spec.replicas ?? 1;
    if ((status?.observedGeneration ?? 0) >= (deployment.metadata.generation ?? 0)) {
      const updated = status?.updatedReplicas ?? 0;
      const available = status?.availableReplicas ?? 0;
      if (updated === wanted && available === wanted && (status?.replicas ?? 0) === wanted) return outcome();
      const line = `${updated} of ${wanted} updated, ${available} available`;
      if (line !== shown) options.onProgress((shown = line));
      const pods = await podsOf(cluster, deployment);
      const failed = failedPod(pods);
      if (failed) return outcome(failed.failure, { failedPod: failed.pod });
      const progressing = findCondition(status?.conditions, 'Progressing');
      if (progressing?.reason === 'ProgressDeadlineExceeded')
        return outcome(`no progress within ${options.timeoutSeconds} s: ${whyPending(pods) ?? line}`);
    }
    if (performance.now() > until) return outcome(`not done within ${options.timeoutSeconds * 3} s: ${shown}`);
    await new Promise((resolve) => setTimeout(resolve, pollMs));
  }
}

/** Pods of the newest revision. */
async function podsOf(cluster: Cluster, deployment: Deployment): Promise<readonly Pod[]> {
  const { namespace, name } = deployment.metadata;
  const scope = { namespace, labelSelector: `${jobLabel}=${name}` };
  const [sets, pods] = await Promise.all([
    cluster.list(resources.replicaSets, scope),
    cluster.list(resources.pods, scope),
  ]);
  const newest = sets.items.find(
    (each) => isRevisionOf(each, deployment) && revisionOf(each) === revisionOf(deployment),
  );
  const hash = newest?.metadata.labels?.['pod-template-hash'];
  return hash === undefined ? [] : pods.items.filter((pod) => pod.metadata.labels?.['pod-template-hash'] === hash);
}

function failedPod(pods: readonly Pod[]): { readonly pod: string; readonly failure: string } | undefined {
  for (const pod of pods)
    for (const container of pod.status?.containerStatuses ?? []) {
      const waiting = container.state?.waiting;
      if (waiting?.reason === undefined || !hopeless.has(waiting.reason)) continue;
      if (waiting.reason === 'CrashLoopBackOff' && container.restartCount < crashes) continue;
      const last = container.lastState?.terminated;
      const exit = last === undefined ? '' : `, last exit code ${last.exitCode}`;
      const failure = `pod ${pod.metadata.name}: ${waiting.reason}${exit}: ${waiting.message ?? 'no message'}`;
      return { pod: pod.metadata.name, failure };
    }
  return undefined;
}

function whyPending(pods: readonly Pod[]): string | undefined {
  for (const pod of pods) {
    const unmet = pod.status?.conditions?.find((each) => each.status !== 'True' && each.message !== undefined);
    if (unmet) return `pod ${pod.metadata.name}: ${unmet.message}`;
  }
  return undefined;
}
