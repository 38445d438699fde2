/** What one look at a volume does: keep its phase, and reclaim it when its claim is gone. */
import { isPintleError } from '../../../kernel/contract/index.ts';
import type { PersistentVolume, PersistentVolumeClaim } from '../../../kernel/contract/kubernetes.ts';
import { resources } from '../../../kernel/machinery/resources.ts';
import { isUsableOn } from '../../../kernel/machinery/volumes/matching.ts';
import * as names from '../../../kernel/machinery/volumes/names.ts';
import { patchVolume, setPhase, type Desk } from './binding.ts';

/** `look`: a claim that should be looked at. */
export async function syncVolume(desk: Desk, volume: PersistentVolume, look: (claim: string) => void): Promise<void> {
  const { claimRef } = volume.spec;
  if (claimRef === undefined) {
    await setPhase(desk, volume, 'Available');
    return;
  }
  const key = `${claimRef.namespace}/${claimRef.name}`;
  if (!claimRef.uid) {
    await setPhase(desk, volume, 'Available');
    look(key);
    return;
  }
  const claim = await claimOf(desk, key, claimRef.uid);
  if (claim === undefined) return release(desk, volume);
  const { volumeName } = claim.spec;
  if (!volumeName) {
    // Half a binding: the claim's own sync completes it.
    if (volume.status?.phase === 'Pending') await setPhase(desk, volume, 'Available');
    look(key);
  } else if (volumeName === volume.metadata.name) await setPhase(desk, volume, 'Bound');
  else await giveUp(desk, volume);
}

/** The claim of this uid; an absence is asked of the API itself, since data may hang on it. */
async function claimOf(desk: Desk, key: string, uid: string): Promise<PersistentVolumeClaim | undefined> {
  const known = desk.claims.get(key);
  if (known?.metadata.uid === uid) return known;
  const [namespace, name] = key.split('/') as [string, string];
  try {
    const live = await desk.cluster.get(resources.persistentVolumeClaims, { namespace, name });
    return live.metadata.uid === uid ? live : undefined;
  } catch (error) {
    if (isPintleError(error, 'NOT_FOUND')) return undefined;
    throw error;
  }
}

/** The claim has another volume: this one was made or reserved for it in vain. */
async function giveUp(desk: Desk, volume: PersistentVolume): Promise<void> {
  const { annotations } = volume.metadata;
  if (annotations?.[names.provisionedBy] !== undefined && volume.spec.persistentVolumeReclaimPolicy === 'Delete')
    return release(desk, volume);
  const isChosenHere = annotations?.[names.boundByController] !== undefined;
  const claimRef = isChosenHere ? null : { ...volume.spec.claimRef, uid: null, resourceVersion: null };
  const body = { metadata: { annotations: { [names.boundByController]: null } }, spec: { claimRef } };
  await setPhase(desk, await patchVolume(desk, volume, body), 'Available');
}

async function release(desk: Desk, volume: PersistentVolume): Promise<void> {
  if (volume.status?.phase === 'Failed') return;
  const released = await setPhase(desk, volume, 'Released');
  const { persistentVolumeReclaimPolicy: policy, nodeAffinity } = released.spec;
  const { name, annotations, finalizers = [] } = released.metadata;
  if (policy === 'Retain' || policy === undefined) return;
  if (policy === 'Delete' && annotations?.[names.provisionedBy] !== undefined) {
    // Its provisioner deletes it, unless that was on a node that is no more, and took the data with it.
    if (nodeAffinity === undefined || desk.nodes.list().some((node) => isUsableOn(released, node))) return;
    desk.record(released, 'Normal', 'VolumeDelete', 'no node is left that the volume was on');
    const rest = finalizers.filter((finalizer) => finalizer !== names.provisionerFinalizer);
    await patchVolume(desk, released, { metadata: { finalizers: rest.length === 0 ? null : rest } });
    await desk.cluster.delete(resources.persistentVolumes, { name }, { preconditions: { uid: released.metadata.uid } });
    return;
  }
  const [verb, agent, reason] =
    policy === 'Delete'
      ? ['deletable', 'deleter', 'VolumeFailedDelete']
      : ['recyclable', 'recycler', 'VolumeFailedRecycle'];
  const message = `error getting ${agent} volume plugin for volume "${name}": no ${verb} volume plugin matched`;
  desk.record(released, 'Warning', reason!, message);
  await setPhase(desk, released, 'Failed', message);
}
