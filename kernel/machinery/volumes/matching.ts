/** Which PersistentVolume a claim may have: what the binder and the scheduler must agree on. */
import type { Node, PersistentVolume, PersistentVolumeClaim } from '../../contract/kubernetes.ts';
import { matchesNodeTerm } from '../scheduling/node-selection.ts';
import { labelSelector } from '../selectors.ts';
import { capacityBytes, classNameOf, requestedBytes } from './claims.ts';

/** True when the volume names this claim; one without a uid in it was reserved by hand. */
export function isReservedFor({ spec }: PersistentVolume, claim: PersistentVolumeClaim): boolean {
  const { claimRef } = spec;
  if (claimRef === undefined) return false;
  const { namespace, name, uid } = claim.metadata;
  return claimRef.namespace === namespace && claimRef.name === name && (!claimRef.uid || claimRef.uid === uid);
}

/** Why a volume that the claim names itself cannot be its own, or undefined. */
export function misfit(claim: PersistentVolumeClaim, volume: PersistentVolume): string | undefined {
  if (capacityBytes(volume) < requestedBytes(claim)) return 'requested PV is too small';
  if ((classNameOf(claim) ?? '') !== (classNameOf(volume) ?? '')) return 'storageClassName does not match';
  if ((claim.spec.volumeMode ?? 'Filesystem') !== (volume.spec.volumeMode ?? 'Filesystem'))
    return 'incompatible volumeMode';
  if (!hasAccessModes(claim, volume)) return 'incompatible accessMode';
  return undefined;
}

function hasAccessModes(claim: PersistentVolumeClaim, volume: PersistentVolume): boolean {
  return (claim.spec.accessModes ?? []).every((mode) => volume.spec.accessModes?.includes(mode));
}

/** Volumes that nobody has and that fit, the smallest first; one that is reserved for the claim is the only one. */
export function matchingVolumes(
  claim: PersistentVolumeClaim,
  volumes: readonly PersistentVolume[],
): readonly PersistentVolume[] {
  const reserved = volumes.find(
    (volume) => isReservedFor(volume, claim) && volume.metadata.deletionTimestamp === undefined,
  );
  if (reserved !== undefined) return misfit(claim, reserved) === undefined ? [reserved] : [];
  const selector = claim.spec.selector && labelSelector(claim.spec.selector);
  return volumes
    .filter(
      (volume) =>
        volume.spec.claimRef === undefined &&
        volume.metadata.deletionTimestamp === undefined &&
        volume.status?.phase === 'Available' &&
        misfit(claim, volume) === undefined &&
        (selector === undefined || selector.matches(volume.metadata.labels)),
    )
    .toSorted((a, b) => capacityBytes(a) - capacityBytes(b) || (a.metadata.name < b.metadata.name ? -1 : 1));
}

/** True when the volume can be used on this node. */
export function isUsableOn({ spec }: PersistentVolume, node: Node): boolean {
  const required = spec.nodeAffinity?.required;
  return required === undefined || required.nodeSelectorTerms.some((term) => matchesNodeTerm(term, node));
}
