/** Names, owners and conditions: what every controller asks of an object's metadata and status. */
import type { KubernetesObject, ObjectKey } from '../contract/index.ts';
import type { Condition, OwnerReference } from '../contract/kubernetes.ts';

/** "namespace/name", or "name" for a cluster-scoped object. */
export function keyOf(object: { readonly metadata: { readonly namespace?: string; readonly name: string } }): string {
  const { namespace, name } = object.metadata;
  return namespace ? `${namespace}/${name}` : name;
}

export function splitKey(key: string): ObjectKey {
  const slash = key.indexOf('/');
  return slash < 0 ? { name: key } : { namespace: key.slice(0, slash), name: key.slice(slash + 1) };
}

/** The owner that manages this object; there is at most one. */
export function controllerOf(object: KubernetesObject): OwnerReference | undefined {
  return object.metadata.ownerReferences?.find((reference) => reference.controller === true);
}

export interface OwnerReferenceOptions {
  /** Default true: the owner is the managing controller. */
  readonly controller?: boolean;
  /** Default true: foreground deletion of the owner waits for this object. */
  readonly blockOwnerDeletion?: boolean;
}

export function ownerReference(owner: KubernetesObject, options: OwnerReferenceOptions = {}): OwnerReference {
  return {
    apiVersion: owner.apiVersion,
    kind: owner.kind,
    name: owner.metadata.name,
    uid: owner.metadata.uid,
    controller: options.controller ?? true,
    blockOwnerDeletion: options.blockOwnerDeletion ?? true,
  };
}

/** What all kinds of conditions have in common. */
export type AnyCondition = Pick<Condition, 'type' | 'status'> & {
  lastTransitionTime?: string;
  reason?: string;
  message?: string;
};

export function findCondition<C extends AnyCondition>(
  conditions: readonly C[] | undefined,
  type: string,
): C | undefined {
  return conditions?.find((condition) => condition.type === type);
}

/**
 * A new list with this condition in it. lastTransitionTime moves only when the status changes; a condition that says
 * the same as before leaves the given list as it is, so that `===` tells whether there is anything to write.
 */
export function setCondition<C extends AnyCondition>(
  conditions: readonly C[] | undefined,
  condition: C,
  now: string = new Date().toISOString().replace(/\.\d+Z$/, 'Z'),
): readonly C[] {
  const before = findCondition(conditions, condition.type);
  if (before) {
    const moved = before.status !== condition.status;
    const next: C = {
      ...before,
      ...condition,
      lastTransitionTime: moved ? (condition.lastTransitionTime ?? now) : (before.lastTransitionTime ?? now),
    };
    const same = Object.keys(next).every((key) => next[key as keyof C] === before[key as keyof C]);
    return same ? conditions! : conditions!.map((other) => (other === before ? next : other));
  }
  return [...(conditions ?? []), { ...condition, lastTransitionTime: condition.lastTransitionTime ?? now }];
}
