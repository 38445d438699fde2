/** What claims, their classes and the pods that use them say. */
import type { PersistentVolume, PersistentVolumeClaim, Pod, StorageClass, Volume } from '../../contract/kubernetes.ts';
import { byteCount } from '../quantity.ts';
import * as names from './names.ts';

/** The class by name; '' for a claim that wants none; undefined for one that leaves it to the default. */
export function classNameOf({ metadata, spec }: PersistentVolumeClaim | PersistentVolume): string | undefined {
  return metadata.annotations?.[names.betaStorageClass] ?? spec.storageClassName;
}

export function requestedBytes({ spec }: PersistentVolumeClaim): number {
  const asked = spec.resources?.requests?.['storage'];
  return asked === undefined ? 0 : byteCount(asked);
}

export function capacityBytes({ spec }: PersistentVolume): number {
  const has = spec.capacity?.['storage'];
  return has === undefined ? 0 : byteCount(has);
}

/** Bytes as people write them: 1073741824 is "1Gi". */
export function sizeText(bytes: number): string {
  for (const [power, unit] of [...'KMGTP'].map((letter, index) => [index + 1, `${letter}i`] as const).toReversed())
    if (bytes > 0 && bytes % 1024 ** power === 0) return `${bytes / 1024 ** power}${unit}`;
  return String(bytes);
}

export function isDefault({ metadata: { annotations = {} } }: StorageClass): boolean {
  return annotations[names.isDefaultClass] === 'true' || annotations[names.betaIsDefaultClass] === 'true';
}

/** The default class: of several the newest, of equally new ones the first by name. */
export function defaultClass(classes: readonly StorageClass[]): StorageClass | undefined {
  return classes
    .filter(isDefault)
    .toSorted(
      (a, b) =>
        b.metadata.creationTimestamp.localeCompare(a.metadata.creationTimestamp) ||
        (a.metadata.name < b.metadata.name ? -1 : 1),
    )[0];
}

export function waitsForConsumer({ volumeBindingMode }: StorageClass): boolean {
  return volumeBindingMode === 'WaitForFirstConsumer';
}

/** Bound for good, both sides written. */
export function isBound({ metadata, spec }: PersistentVolumeClaim): boolean {
  return Boolean(spec.volumeName) && metadata.annotations?.[names.bindCompleted] !== undefined;
}

export interface PodClaim {
  /** Name of the volume in the pod's spec. */
  readonly volume: string;
  readonly claim: string;
  /** True for a generic ephemeral volume: the claim is made for this pod, and belongs to it. */
  readonly isEphemeral: boolean;
  readonly readOnly: boolean;
}

export function ephemeralClaimName(pod: Pod, volume: Pick<Volume, 'name'>): string {
  return `${pod.metadata.name}-${volume.name}`;
}

const none: readonly PodClaim[] = [];

export function claimsOfPod(pod: Pod): readonly PodClaim[] {
  let found: PodClaim[] | undefined;
  for (const volume of pod.spec.volumes ?? []) {
    if (volume.persistentVolumeClaim) {
      const { claimName, readOnly = false } = volume.persistentVolumeClaim;
      (found ??= []).push({ volume: volume.name, claim: claimName, isEphemeral: false, readOnly });
    } else if (volume.ephemeral) {
      const claim = ephemeralClaimName(pod, volume);
      (found ??= []).push({ volume: volume.name, claim, isEphemeral: true, readOnly: false });
    }
  }
  return found ?? none;
}

/** True when the claim was made for this very pod. */
export function isClaimOfPod(pod: Pod, claim: PersistentVolumeClaim): boolean {
  return claim.metadata.ownerReferences?.some(({ uid, controller }) => controller && uid === pod.metadata.uid) === true;
}
