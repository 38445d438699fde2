/** Deletes what a namespace holds and tells what is left of it. */
import {
  isPintleError,
  type Cluster,
  type KubernetesObject,
  type ResourceType,
} from '../../../kernel/contract/index.ts';
import { builtInResources } from '../../../kernel/machinery/resources.ts';

export interface Remaining {
  /** "pods", "deployments.apps" */
  readonly resource: string;
  readonly count: number;
  /** Finalizer → how many objects it holds. */
  readonly finalizers: ReadonlyMap<string, number>;
  /** Why deleting failed, when it did. */
  readonly failure?: string | undefined;
}

/**
 * Pods first, and the rest when they are gone: a pod may need its Secrets, and the policies that protect it, until it
 * has ended.
 */
export async function deleteContent(
  cluster: Cluster,
  namespace: string,
  signal: AbortSignal,
): Promise<readonly Remaining[]> {
  const types = namespacedTypes(cluster);
  const isPods = (type: ResourceType) => type.group === '' && type.resource === 'pods';
  const remaining: Remaining[] = [];
  for (const type of types.filter(isPods)) remaining.push(...(await deleteAll(cluster, type, namespace)));
  if (remaining.length > 0) return remaining;
  for (const type of types.filter((other) => !isPods(other))) {
    if (signal.aborted) throw signal.reason;
    remaining.push(...(await deleteAll(cluster, type, namespace)));
  }
  return remaining;
}

/** One version of each: the same objects under another version are gone with the first. */
function namespacedTypes(cluster: Cluster): readonly ResourceType[] {
  const served = cluster.server?.resources().filter(({ verbs }) => verbs.includes('delete') && verbs.includes('list'));
  const all: readonly ResourceType[] = served ?? builtInResources.filter((type) => type.stored);
  const types = new Map<string, ResourceType>();
  for (const type of all) {
    const id = `${type.group}/${type.resource}`;
    if (type.namespaced && !types.has(id)) types.set(id, type);
  }
  return [...types.values()];
}

async function deleteAll(cluster: Cluster, type: ResourceType, namespace: string): Promise<readonly Remaining[]> {
  const resource = type.group === '' ? type.resource : `${type.resource}.${type.group}`;
  try {
    const { items } = await cluster.list(type, { namespace });
    if (items.length === 0) return [];
    if (items.some((object) => object.metadata.deletionTimestamp === undefined))
      await cluster.deleteCollection(type, { namespace, propagationPolicy: 'Background' });
    const left = await cluster.list(type, { namespace });
    return left.items.length === 0 ? [] : [{ resource, count: left.items.length, finalizers: holders(left.items) }];
  } catch (error) {
    // A resource that was withdrawn since discovery holds nothing any more.
    if (isPintleError(error, 'NOT_FOUND', 'METHOD_NOT_ALLOWED')) return [];
    const failure = error instanceof Error ? error.message : String(error);
    return [{ resource, count: 0, finalizers: new Map(), failure }];
  }
}

function holders(objects: readonly KubernetesObject[]): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  for (const { metadata } of objects)
    for (const name of metadata.finalizers ?? []) counts.set(name, (counts.get(name) ?? 0) + 1);
  return counts;
}
