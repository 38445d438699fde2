/** The volume claims of a StatefulSet's pods: made before the pod, kept or deleted with it as the set's policy says. */
import { isPintleError, type Cluster } from '../../../kernel/contract/index.ts';
import type { OwnerReference, PersistentVolumeClaim, Pod, StatefulSet } from '../../../kernel/contract/kubernetes.ts';
import type { EventRecorder } from '../../../kernel/machinery/event-recorder.ts';
import type { Informer } from '../../../kernel/machinery/informer.ts';
import { ownerReference, splitKey } from '../../../kernel/machinery/metadata.ts';
import { resources } from '../../../kernel/machinery/resources.ts';
import { claimName, newClaim, podName } from './pod-identity.ts';

export interface ClaimsOptions {
  readonly cluster: Cluster;
  readonly record: EventRecorder;
  readonly claims: Informer<PersistentVolumeClaim>;
  readonly written: (claim: PersistentVolumeClaim) => void;
}

/** Rejects while a claim of that name is on its way out: the pod must not get a volume that is about to vanish. */
export async function createClaims(options: ClaimsOptions, set: StatefulSet, ordinal: number): Promise<void> {
  const { cluster, record, claims, written } = options;
  const pod = podName(set, ordinal);
  for (const template of set.spec.volumeClaimTemplates ?? []) {
    const name = claimName(template, set, ordinal);
    const known = claims.get(`${set.metadata.namespace}/${name}`);
    if (known !== undefined) {
      if (known.metadata.deletionTimestamp !== undefined) throw new Error(`pvc ${name} is being deleted`);
      if (isOwnedByFormerPod(known, pod)) throw new Error(`pvc ${name} is stale: it goes with the pod that had it`);
      continue;
    }
    try {
      const wanted = newClaim(set, template, ordinal);
      const owners = owned(set, undefined, false);
      const metadata = owners.length === 0 ? wanted.metadata : { ...wanted.metadata, ownerReferences: owners };
      written(await cluster.create(resources.persistentVolumeClaims, { ...wanted, metadata }));
      const message = `create Claim ${name} Pod ${pod} in StatefulSet ${set.metadata.name} success`;
      record(set, 'Normal', 'SuccessfulCreate', message);
    } catch (error) {
      if (isPintleError(error, 'ALREADY_EXISTS')) continue;
      const text = error instanceof Error ? error.message : String(error);
      const message = `create Claim ${name} for Pod ${pod} in StatefulSet ${set.metadata.name} failed error: ${text}`;
      record(set, 'Warning', 'FailedCreate', message);
      throw error;
    }
  }
}

/** The claims belong to the set, to the pod that goes, or to nobody, so that the garbage collector does the rest. */
export async function keepClaimOwners(
  { cluster, claims, written }: ClaimsOptions,
  set: StatefulSet,
  ordinal: number,
  pod: Pod,
  isCondemned: boolean,
): Promise<void> {
  for (const template of set.spec.volumeClaimTemplates ?? []) {
    const key = `${set.metadata.namespace}/${claimName(template, set, ordinal)}`;
    const claim = claims.get(key);
    if (claim === undefined || claim.metadata.deletionTimestamp !== undefined) continue;
    const before = claim.metadata.ownerReferences ?? [];
    const wanted = owned(set, pod, isCondemned);
    const others = before.filter(({ uid }) => uid !== set.metadata.uid && uid !== pod.metadata.uid);
    const isSame =
      before.length === others.length + wanted.length &&
      wanted.every(({ uid }) => before.some((reference) => reference.uid === uid));
    if (isSame) continue;
    const { uid, resourceVersion } = claim.metadata;
    const body = { metadata: { uid, resourceVersion, ownerReferences: [...others, ...wanted] } };
    try {
      written(await cluster.patch(resources.persistentVolumeClaims, splitKey(key), { kind: 'merge', body }));
    } catch (error) {
      if (!isPintleError(error, 'NOT_FOUND')) throw error;
    }
  }
}

function owned(set: StatefulSet, pod: Pod | undefined, isCondemned: boolean): OwnerReference[] {
  const { whenDeleted, whenScaled } = set.spec.persistentVolumeClaimRetentionPolicy ?? {};
  const loose = { controller: false, blockOwnerDeletion: false };
  if (isCondemned && whenScaled === 'Delete' && pod !== undefined) return [ownerReference(pod, loose)];
  return whenDeleted === 'Delete' ? [ownerReference(set, loose)] : [];
}

function isOwnedByFormerPod({ metadata }: PersistentVolumeClaim, pod: string): boolean {
  return metadata.ownerReferences?.some(({ kind, name }) => kind === 'Pod' && name === pod) === true;
}
