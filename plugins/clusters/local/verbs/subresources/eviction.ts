/** pods/eviction: a deletion that asks the pod's PodDisruptionBudget first. */
import { PintleError } from '../../../../../kernel/contract/index.ts';
import type { DeleteOptions, KubernetesObject, ObjectKey, WriteOptions } from '../../../../../kernel/contract/index.ts';
import type { Eviction, Pod, PodDisruptionBudget } from '../../../../../kernel/contract/kubernetes.ts';
import { findCondition } from '../../../../../kernel/machinery/metadata.ts';
import { resources } from '../../../../../kernel/machinery/resources.ts';
import { labelSelector } from '../../../../../kernel/machinery/selectors.ts';
import { badRequest, forbidden, notFound } from '../../api-errors.ts';
import { timestamp } from '../../engine.ts';
import type { Engine, Stored } from '../../engine.ts';
import { bodyOf } from '../../shape.ts';
import type { Shaped } from '../../shape.ts';
import { copyJson } from '../../state/frozen-json.ts';
import { change } from '../change.ts';
import { remove } from '../remove.ts';

const evictionType = { group: 'policy', apiVersion: 'policy/v1', kind: 'Eviction', schemaType: 'policy/v1.Eviction' };

function tooMany(budget: PodDisruptionBudget, message: string, retryAfterSeconds: number): PintleError {
  return new PintleError('TOO_MANY_REQUESTS', "Cannot evict pod as it would violate the pod's disruption budget.", {
    details: {
      retryAfterSeconds,
      name: budget.metadata.name,
      causes: [{ reason: 'DisruptionBudget', message, field: '' }],
    },
  });
}

function isReady(pod: Pod): boolean {
  return findCondition(pod.status?.conditions, 'Ready')?.status === 'True';
}

/** Pods that serve nobody go without asking. */
function needsNoBudget(pod: Pod): boolean {
  const phase = pod.status?.phase;
  return (
    pod.metadata.deletionTimestamp !== undefined || phase === 'Succeeded' || phase === 'Failed' || phase === 'Pending'
  );
}

function budgetOf(engine: Engine, pod: Pod): PodDisruptionBudget | undefined {
  const { storage } = engine.stored(resources.podDisruptionBudgets, 'list');
  const found: PodDisruptionBudget[] = [];
  const prefix = `${pod.metadata.namespace}/`;
  storage.collection.tree.scan(prefix, (key, object) => {
    if (!key.startsWith(prefix)) return false;
    const budget = object as PodDisruptionBudget;
    if (labelSelector(budget.spec.selector).matches(pod.metadata.labels)) found.push(budget);
    return true;
  });
  if (found.length > 1) {
    throw new PintleError(
      'INTERNAL',
      'This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.',
    );
  }
  return found[0];
}

/** Takes one disruption from the budget, or throws that there is none left. */
async function takeDisruption(engine: Engine, budgetKey: string, pod: Pod, options: WriteOptions): Promise<void> {
  const budgets = engine.stored(resources.podDisruptionBudgets, 'update');
  const edit = (shown: KubernetesObject): Shaped => {
    const budget = copyJson(shown) as PodDisruptionBudget;
    const { name, generation = 0 } = budget.metadata;
    const status = budget.status ?? {};
    if ((status.observedGeneration ?? 0) < generation) {
      throw tooMany(budget, `The disruption budget ${name} is still being processed by the server.`, 10);
    }
    const allowed = status.disruptionsAllowed ?? 0;
    if (allowed < 0) throw forbidden(budgets.served, name, 'pdb disruptions allowed is negative');
    if (Object.keys(status.disruptedPods ?? {}).length > 2_000) {
      throw forbidden(
        budgets.served,
        name,
        'DisruptedPods map too big - too many evictions not confirmed by PDB controller',
      );
    }
    if (allowed === 0) {
      throw tooMany(
        budget,
        `The disruption budget ${name} needs ${status.desiredHealthy ?? 0} healthy pods and has ${status.currentHealthy ?? 0} currently`,
        0,
      );
    }
    budget.status = {
      ...status,
      disruptionsAllowed: allowed - 1,
      disruptedPods: { ...status.disruptedPods, [pod.metadata.name]: timestamp(engine.clock.now()) },
    };
    return { object: budget, causes: [] };
  };
  await change(engine, budgets, budgetKey, edit, { ...options, subresource: 'status' });
}

/** Whether an unready pod may go without taking a disruption. */
function skipsBudget(budget: PodDisruptionBudget, pod: Pod): boolean {
  if (isReady(pod)) return false;
  if (budget.spec.unhealthyPodEvictionPolicy === 'AlwaysAllow') return true;
  const { currentHealthy = 0, desiredHealthy = 0 } = budget.status ?? {};
  return desiredHealthy > 0 && currentHealthy >= desiredHealthy;
}

export async function evict(
  engine: Engine,
  pods: Stored,
  parent: ObjectKey,
  body: KubernetesObject,
  options: WriteOptions,
): Promise<KubernetesObject> {
  const eviction = bodyOf<Eviction>(evictionType, body, options);
  if (eviction.metadata?.name && eviction.metadata.name !== parent.name) {
    throw badRequest(`name in URL does not match name in Eviction object: expected ${parent.name}`);
  }
  const asked = eviction.deleteOptions ?? {};
  const { uid, resourceVersion } = asked.preconditions ?? {};
  const deleteOptions: DeleteOptions = {
    ...options,
    subresource: undefined,
    dryRun: options.dryRun || (asked.dryRun?.length ?? 0) > 0,
    gracePeriodSeconds: asked.gracePeriodSeconds,
    propagationPolicy: asked.propagationPolicy as DeleteOptions['propagationPolicy'],
    ...((uid || resourceVersion) && {
      preconditions: { ...(uid && { uid }), ...(resourceVersion && { resourceVersion }) },
    }),
  };
  const key = engine.key(pods, parent);
  const pod = pods.storage.collection.get(key) as Pod | undefined;
  if (!pod) throw notFound(pods.served, parent.name);
  if (!needsNoBudget(pod)) {
    const budget = budgetOf(engine, pod);
    if (budget && !skipsBudget(budget, pod)) {
      const budgetKey = `${budget.metadata.namespace}/${budget.metadata.name}`;
      await takeDisruption(engine, budgetKey, pod, { ...options, dryRun: deleteOptions.dryRun });
    }
  }
  await remove(engine, pods, key, deleteOptions);
  return eviction;
}
