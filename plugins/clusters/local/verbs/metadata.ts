/** metadata as the server writes it: what is the server's own is never taken from the client. */
import type { KubernetesObject } from '../../../../kernel/contract/index.ts';
import type { ObjectMeta } from '../../../../kernel/contract/kubernetes.ts';
import { conflict } from '../api-errors.ts';
import type { Resource } from '../catalog.ts';

type Draft = { -readonly [K in keyof ObjectMeta]: ObjectMeta[K] };

function isFilled(value: object | undefined | null): boolean {
  return value !== undefined && value !== null && Object.keys(value).length > 0;
}

/** The fields that clients own, empty ones left out. */
function copyOwned(target: Draft, source: Partial<ObjectMeta>): void {
  if (isFilled(source.labels)) target.labels = source.labels!;
  if (isFilled(source.annotations)) target.annotations = source.annotations!;
  if (isFilled(source.ownerReferences)) target.ownerReferences = source.ownerReferences!;
  if (isFilled(source.finalizers)) target.finalizers = [...new Set(source.finalizers)];
}

export function newMeta(
  source: Partial<ObjectMeta>,
  identity: {
    name: string;
    namespace: string | undefined;
    uid: string;
    timestamp: string;
    generation: number | undefined;
  },
): ObjectMeta {
  const meta = { name: identity.name } as Draft;
  if (source.generateName) meta.generateName = source.generateName;
  if (identity.namespace !== undefined) meta.namespace = identity.namespace;
  meta.uid = identity.uid;
  meta.resourceVersion = '';
  if (identity.generation !== undefined) meta.generation = identity.generation;
  meta.creationTimestamp = identity.timestamp;
  copyOwned(meta, source);
  return meta;
}

/** The current object's identity with the draft's labels, annotations, owners and finalizers. */
export function changedMeta(resource: Resource, draft: Partial<ObjectMeta>, current: KubernetesObject): ObjectMeta {
  const now = current.metadata;
  if (draft.uid && draft.uid !== now.uid) {
    throw conflict(
      resource.served,
      now.name,
      `Precondition failed: UID in precondition: ${draft.uid}, UID in object meta: ${now.uid}`,
    );
  }
  const meta = serverMeta(now);
  copyOwned(meta, draft);
  return meta;
}

/** The fields that only the server sets; who owns which field, the caller says anew. */
export function serverMeta(now: ObjectMeta): ObjectMeta {
  const meta = { name: now.name } as Draft;
  if (now.generateName !== undefined) meta.generateName = now.generateName;
  if (now.namespace !== undefined) meta.namespace = now.namespace;
  meta.uid = now.uid;
  meta.resourceVersion = now.resourceVersion;
  if (now.generation !== undefined) meta.generation = now.generation;
  meta.creationTimestamp = now.creationTimestamp;
  if (now.deletionTimestamp !== undefined) meta.deletionTimestamp = now.deletionTimestamp;
  if (now.deletionGracePeriodSeconds !== undefined) meta.deletionGracePeriodSeconds = now.deletionGracePeriodSeconds;
  if (now.managedFields !== undefined) meta.managedFields = now.managedFields;
  return meta;
}
