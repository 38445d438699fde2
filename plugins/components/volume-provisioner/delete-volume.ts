import { isPintleError } from '../../../kernel/contract/index.ts';
import type { PersistentVolume } from '../../../kernel/contract/kubernetes.ts';
import { resources } from '../../../kernel/machinery/resources.ts';
import { provisionedBy, provisionerFinalizer } from '../../../kernel/machinery/volumes/names.ts';
import type { Bench } from './bench.ts';

/** A volume whose claim is gone and that shall not be kept goes with its data; one that is kept is only let go. */
export async function deleteVolume(bench: Bench, volume: PersistentVolume): Promise<void> {
  const { cluster, record } = bench;
  const { name, uid, deletionTimestamp, finalizers = [], annotations } = volume.metadata;
  const phase = volume.status?.phase;
  const isGoing = deletionTimestamp !== undefined;
  // A binding is half done while its claim names nothing yet: Pending and Available with a claim wait for the binder.
  const isUnused = phase === 'Released' || phase === 'Failed' || (isGoing && phase === 'Available');
  if (!isUnused) return;
  const isDeleted = volume.spec.persistentVolumeReclaimPolicy === 'Delete';
  if (!isDeleted && !isGoing) return;
  if (isDeleted) {
    try {
      await bench.driverNamed(annotations?.[provisionedBy])!.delete!(volume);
    } catch (error) {
      record(volume, 'Warning', 'VolumeFailedDelete', error instanceof Error ? error.message : String(error));
      throw error;
    }
  }
  try {
    if (!isGoing) await cluster.delete(resources.persistentVolumes, { name }, { preconditions: { uid } });
    if (!finalizers.includes(provisionerFinalizer)) return;
    const live = await cluster.get(resources.persistentVolumes, { name });
    const rest = (live.metadata.finalizers ?? []).filter((each) => each !== provisionerFinalizer);
    const { resourceVersion } = live.metadata;
    const body = { metadata: { uid, resourceVersion, finalizers: rest.length === 0 ? null : rest } };
    await cluster.patch(resources.persistentVolumes, { name }, { kind: 'merge', body });
  } catch (error) {
    if (!isPintleError(error, 'NOT_FOUND')) throw error;
  }
}
