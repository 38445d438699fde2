/**
 * Claiming of dependents by label selector and managing owner reference: an owner adopts matching objects that nobody
 * manages, and releases its own that match no more. Writes carry the dependent's uid, and before the first adoption the
 * owner is read live, so that a deleted owner adopts nothing.
 */
import { isPintleError, type Cluster, type KubernetesObject, type ResourceType } from '../contract/index.ts';
import { controllerOf, keyOf, ownerReference, splitKey } from './metadata.ts';
import type { Selector } from './selectors.ts';

export interface Claim<Owner extends KubernetesObject, T extends KubernetesObject> {
  readonly cluster: Cluster;
  readonly ownerType: ResourceType<Owner>;
  readonly owner: Owner;
  readonly type: ResourceType<T>;
  readonly selector: Selector;
  /** Objects of the owner's namespace: its own and those that nobody manages. */
  readonly candidates: readonly T[];
  /** Dependents that may be adopted. Default: all that are not being deleted. */
  readonly mayAdopt?: (object: T) => boolean;
  /** Called with the result of each write. */
  readonly written?: (object: T) => void;
}

/** The dependents that are the owner's now. */
export async function claim<Owner extends KubernetesObject, T extends KubernetesObject>(
  options: Claim<Owner, T>,
): Promise<readonly T[]> {
  const { owner, selector, candidates, mayAdopt = () => true } = options;
  const isGoing = owner.metadata.deletionTimestamp !== undefined;
  const claimed: T[] = [];
  let mayStillAdopt: boolean | undefined = isGoing ? false : undefined;
  for (const object of candidates) {
    const manager = controllerOf(object);
    const matches = selector.matches(object.metadata.labels);
    if (manager !== undefined) {
      if (manager.uid !== owner.metadata.uid) continue;
      if (matches) claimed.push(object);
      else if (!isGoing) await release(options, object);
      continue;
    }
    if (!matches || object.metadata.deletionTimestamp !== undefined || !mayAdopt(object)) continue;
    mayStillAdopt ??= await isOwnerAlive(options);
    if (!mayStillAdopt) continue;
    const adopted = await adopt(options, object);
    if (adopted !== undefined) claimed.push(adopted);
  }
  return claimed;
}

async function isOwnerAlive<Owner extends KubernetesObject, T extends KubernetesObject>({
  cluster,
  ownerType,
  owner,
}: Claim<Owner, T>): Promise<boolean> {
  try {
    const { metadata } = await cluster.get(ownerType, splitKey(keyOf(owner)));
    return metadata.uid === owner.metadata.uid && metadata.deletionTimestamp === undefined;
  } catch (error) {
    if (isPintleError(error, 'NOT_FOUND')) return false;
    throw error;
  }
}

function adopt<Owner extends KubernetesObject, T extends KubernetesObject>(
  options: Claim<Owner, T>,
  object: T,
): Promise<T | undefined> {
  const references = [...(object.metadata.ownerReferences ?? []), ownerReference(options.owner)];
  return writeReferences(options, object, references);
}

async function release<Owner extends KubernetesObject, T extends KubernetesObject>(
  options: Claim<Owner, T>,
  object: T,
): Promise<void> {
  const { uid } = options.owner.metadata;
  const references = (object.metadata.ownerReferences ?? []).filter((reference) => reference.uid !== uid);
  await writeReferences(options, object, references);
}

/** Undefined when the object is gone. Compares the resourceVersion: two owners cannot adopt one object. */
async function writeReferences<Owner extends KubernetesObject, T extends KubernetesObject>(
  { cluster, type, written }: Claim<Owner, T>,
  object: T,
  ownerReferences: readonly unknown[],
): Promise<T | undefined> {
  const { uid, resourceVersion } = object.metadata;
  const body = { metadata: { uid, resourceVersion, ownerReferences } };
  try {
    const result = await cluster.patch(type, splitKey(keyOf(object)), { kind: 'merge', body });
    written?.(result);
    return result;
  } catch (error) {
    if (isPintleError(error, 'NOT_FOUND')) return undefined;
    throw error;
  }
}

/** Index values under which a dependent is found: by its managing owner, or as one of its namespace that nobody manages. */
export function ownerIndex(object: KubernetesObject): readonly string[] {
  const manager = controllerOf(object);
  return [manager === undefined ? unmanaged(object.metadata.namespace) : manager.uid];
}

export function unmanaged(namespace: string | undefined): string {
  return `unmanaged/${namespace ?? ''}`;
}
