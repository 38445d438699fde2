/**
 * The writes of a binding. It is two-sided, and each write compares resourceVersions, so that of two that want one volume
 * one wins: first the volume names the claim, then the claim names the volume; only then is the claim bound for good.
 * Whoever finds a half-done binding completes it.
 */
import type { Clock, Cluster } from '../../../kernel/contract/index.ts';
import type {
  Node,
  PersistentVolume,
  PersistentVolumeClaim,
  StorageClass,
} from '../../../kernel/contract/kubernetes.ts';
import { apiTime } from '../../../kernel/machinery/clock.ts';
import type { EventRecorder } from '../../../kernel/machinery/event-recorder.ts';
import type { Informer } from '../../../kernel/machinery/informer.ts';
import { keyOf, splitKey } from '../../../kernel/machinery/metadata.ts';
import type { Newest } from '../../../kernel/machinery/newest.ts';
import { resources } from '../../../kernel/machinery/resources.ts';
import * as names from '../../../kernel/machinery/volumes/names.ts';

export interface Desk {
  readonly cluster: Cluster;
  readonly clock: Clock;
  readonly record: EventRecorder;
  readonly claims: Newest<PersistentVolumeClaim>;
  readonly volumes: Newest<PersistentVolume>;
  readonly classes: Informer<StorageClass>;
  readonly nodes: Informer<Node>;
}

type VolumePhase = 'Available' | 'Bound' | 'Released' | 'Failed';

export async function patchClaim(
  desk: Desk,
  claim: PersistentVolumeClaim,
  body: object,
  subresource?: 'status',
): Promise<PersistentVolumeClaim> {
  const { uid, resourceVersion } = claim.metadata;
  const metadata = { ...(body as { metadata?: object }).metadata, uid, resourceVersion };
  const patch = { kind: 'merge', body: { ...body, metadata } } as const;
  const { cluster, claims } = desk;
  return claims.keep(
    await cluster.patch(resources.persistentVolumeClaims, splitKey(keyOf(claim)), patch, { subresource }),
  );
}

export async function patchVolume(
  desk: Desk,
  volume: PersistentVolume,
  body: object,
  subresource?: 'status',
): Promise<PersistentVolume> {
  const { uid, resourceVersion, name } = volume.metadata;
  const metadata = { ...(body as { metadata?: object }).metadata, uid, resourceVersion };
  const patch = { kind: 'merge', body: { ...body, metadata } } as const;
  const { cluster, volumes } = desk;
  return volumes.keep(await cluster.patch(resources.persistentVolumes, { name }, patch, { subresource }));
}

export async function setPhase(
  desk: Desk,
  volume: PersistentVolume,
  phase: VolumePhase,
  message = '',
): Promise<PersistentVolume> {
  const { phase: before, message: messageBefore = '' } = volume.status ?? {};
  if (before === phase && messageBefore === message) return volume;
  const moved = before === phase ? {} : { lastPhaseTransitionTime: apiTime(desk.clock.now()) };
  return patchVolume(desk, volume, { status: { phase, message: message || null, ...moved } }, 'status');
}

export async function bind(desk: Desk, claim: PersistentVolumeClaim, volume: PersistentVolume): Promise<void> {
  const { namespace, name, uid, resourceVersion } = claim.metadata;
  let ours = volume;
  if (ours.spec.claimRef?.uid !== uid) {
    const isChosenHere = ours.spec.claimRef === undefined;
    const claimRef = { apiVersion: 'v1', kind: 'PersistentVolumeClaim', namespace, name, uid, resourceVersion };
    const annotations = isChosenHere ? { [names.boundByController]: 'yes' } : {};
    ours = await patchVolume(desk, ours, { metadata: { annotations }, spec: { claimRef } });
  }
  ours = await setPhase(desk, ours, 'Bound');
  let bound = claim;
  const annotations = bound.metadata.annotations ?? {};
  if (bound.spec.volumeName !== ours.metadata.name || annotations[names.bindCompleted] === undefined) {
    const isChosenHere = !bound.spec.volumeName;
    const marks = { [names.bindCompleted]: 'yes', ...(isChosenHere ? { [names.boundByController]: 'yes' } : {}) };
    bound = await patchClaim(desk, bound, {
      metadata: { annotations: marks },
      spec: { volumeName: ours.metadata.name },
    });
  }
  await setClaimBound(desk, bound, ours);
}

/** A claim that is bound already keeps its capacity: it grows only when the node has made it so. */
async function setClaimBound(desk: Desk, claim: PersistentVolumeClaim, volume: PersistentVolume): Promise<void> {
  const { phase, capacity } = claim.status ?? {};
  if (phase === 'Bound' && capacity?.['storage'] !== undefined) return;
  const status = { phase: 'Bound', accessModes: volume.spec.accessModes, capacity: volume.spec.capacity };
  await patchClaim(desk, claim, { status }, 'status');
}

export async function setClaimPhase(
  desk: Desk,
  claim: PersistentVolumeClaim,
  phase: 'Pending' | 'Lost',
): Promise<boolean> {
  if (claim.status?.phase === phase) return false;
  await patchClaim(desk, claim, { status: { phase, accessModes: null, capacity: null } }, 'status');
  return true;
}
