/** The ReplicaSet of the Deployment's current template: found and brought up to date, or created. */
import { isPintleError, type NewObject } from '../../../kernel/contract/index.ts';
import type { Deployment, ReplicaSet } from '../../../kernel/contract/kubernetes.ts';
import { controllerOf, findCondition, ownerReference } from '../../../kernel/machinery/metadata.ts';
import { resources } from '../../../kernel/machinery/resources.ts';
import { progressDeadlineMs } from './deployment-status.ts';
import { scaleAnnotations, type Rollout } from './rollout.ts';
import { annotations, newSetReplicas, revisionOf } from './rollout-math.ts';
import { hashLabel, isSameTemplate, templateHash } from './template-hash.ts';

/** A Deployment's annotations that are its own and not its ReplicaSets'. */
const notCopied: readonly string[] = Object.values(annotations);

/** Brings revision, annotations and minReadySeconds up to date; creates the set when asked to and missing. */
export async function ensureNewSet(rollout: Rollout, mayCreate: boolean): Promise<void> {
  const revision = Math.max(0, ...rollout.oldSets.map(revisionOf)) + 1;
  const existing = rollout.newSet;
  if (existing !== undefined) {
    await bringUpToDate(rollout, existing, revision);
    noteProgress(rollout, 'FoundNewReplicaSet', `Found new replica set "${existing.metadata.name}"`, false);
  } else if (mayCreate) await create(rollout, revision);
  else return;
  await rollout.writeRevision();
}

function noteProgress(rollout: Rollout, reason: string, message: string, always: boolean): void {
  if (progressDeadlineMs(rollout.deployment) === undefined) return;
  const known = findCondition(rollout.deployment.status?.conditions, 'Progressing');
  if (always || known === undefined) rollout.note('Progressing', 'True', reason, message);
}

function setAnnotations(
  deployment: Deployment,
  known: Readonly<Record<string, string>>,
  revision: number,
): Record<string, string> {
  const copied = Object.entries(deployment.metadata.annotations ?? {}).filter(([key]) => !notCopied.includes(key));
  const result: Record<string, string> = { ...known, ...Object.fromEntries(copied) };
  const before = known[annotations.revision];
  // A roll-back takes an old set up again: it gets the newest number and remembers the ones that it had.
  if (before !== undefined && Number(before) >= revision) return result;
  result[annotations.revision] = String(revision);
  if (before !== undefined) {
    const history = known[annotations.revisionHistory];
    result[annotations.revisionHistory] = history === undefined ? before : `${history},${before}`;
  }
  return result;
}

async function bringUpToDate(rollout: Rollout, set: ReplicaSet, revision: number): Promise<void> {
  const { deployment } = rollout;
  const known = set.metadata.annotations ?? {};
  const wanted = setAnnotations(deployment, known, revision);
  const minReadySeconds = deployment.spec.minReadySeconds ?? 0;
  const isSame =
    Object.keys(wanted).length === Object.keys(known).length &&
    Object.entries(wanted).every(([key, value]) => known[key] === value) &&
    (set.spec.minReadySeconds ?? 0) === minReadySeconds;
  if (isSame) return;
  await rollout.writeSet({
    ...set,
    metadata: { ...set.metadata, annotations: wanted },
    spec: { ...set.spec, minReadySeconds },
  });
}

async function create(rollout: Rollout, revision: number): Promise<void> {
  const { cluster, record } = rollout.options;
  const { deployment } = rollout;
  const wanted = newReplicaSet(rollout, revision);
  const name = wanted.metadata.name ?? '';
  try {
    rollout.addSet(await cluster.create(resources.replicaSets, wanted));
    noteProgress(rollout, 'NewReplicaSetCreated', `Created new replica set "${name}"`, true);
    return;
  } catch (error) {
    if (!isPintleError(error, 'ALREADY_EXISTS')) {
      const message = `Failed to create new replica set "${name}": ${error instanceof Error ? error.message : String(error)}`;
      if (progressDeadlineMs(deployment) !== undefined) {
        rollout.note('Progressing', 'False', 'ReplicaSetCreateError', message);
        await writeStatus(rollout);
      }
      record(deployment, 'Warning', 'ReplicaSetCreateError', message);
      throw error;
    }
  }
  // Either our own set that the cache has not shown yet, or another template with the same hash.
  const { namespace } = deployment.metadata;
  const existing = await cluster.get(resources.replicaSets, { namespace, name });
  if (
    controllerOf(existing)?.uid === deployment.metadata.uid &&
    isSameTemplate(existing.spec.template, deployment.spec.template)
  ) {
    rollout.addSet(existing);
    return;
  }
  const collisionCount = (deployment.status?.collisionCount ?? 0) + 1;
  rollout.deployment = { ...deployment, status: { ...deployment.status, collisionCount } };
  await writeStatus(rollout);
  throw new Error(`ReplicaSet "${name}" exists with another template; collisionCount is ${collisionCount} now.`);
}

async function writeStatus(rollout: Rollout): Promise<void> {
  const { cluster, writtenDeployment } = rollout.options;
  writtenDeployment(await cluster.update(resources.deployments, rollout.deployment, { subresource: 'status' }));
}

function newReplicaSet(rollout: Rollout, revision: number): NewObject<ReplicaSet> {
  const { deployment } = rollout;
  const { template, selector, minReadySeconds = 0 } = deployment.spec;
  const hash = templateHash(template, deployment.status?.collisionCount);
  const labels = { ...template.metadata?.labels, [hashLabel]: hash };
  return {
    metadata: {
      name: `${deployment.metadata.name}-${hash}`,
      namespace: deployment.metadata.namespace,
      labels,
      annotations: { ...setAnnotations(deployment, {}, revision), ...scaleAnnotations(deployment) },
      ownerReferences: [ownerReference(deployment)],
    },
    spec: {
      replicas: newSetReplicas(deployment, rollout.sets, 0),
      minReadySeconds,
      selector: { ...selector, matchLabels: { ...selector.matchLabels, [hashLabel]: hash } },
      template: { ...template, metadata: { ...template.metadata, labels } },
    },
  };
}
