import type { PersistentVolume, PersistentVolumeClaim } from '../../../kernel/contract/kubernetes.ts';
import { apiTime } from '../../../kernel/machinery/clock.ts';
import { keyOf, splitKey } from '../../../kernel/machinery/metadata.ts';
import { byteCount } from '../../../kernel/machinery/quantity.ts';
import { resources } from '../../../kernel/machinery/resources.ts';
import { capacityBytes, requestedBytes, sizeText } from '../../../kernel/machinery/volumes/claims.ts';
import { provisionedBy } from '../../../kernel/machinery/volumes/names.ts';
import type { Bench } from './bench.ts';

/** A bound claim that asks for more than it has: first the volume grows, then volume and claim say so. */
export async function expandVolume(
  bench: Bench,
  claim: PersistentVolumeClaim,
  volume: PersistentVolume,
): Promise<void> {
  const { cluster, clock, record } = bench;
  const wanted = requestedBytes(claim);
  const granted = claim.status?.capacity?.['storage'];
  if (claim.status?.phase !== 'Bound' || granted === undefined || wanted <= byteCount(granted)) return;
  const driver = bench.driverNamed(volume.metadata.annotations?.[provisionedBy]);
  if (driver?.expand === undefined || volume.spec.claimRef?.uid !== claim.metadata.uid) return;
  const { name } = volume.metadata;
  const key = splitKey(keyOf(claim));
  const setStatus = (status: object) =>
    cluster.patch(
      resources.persistentVolumeClaims,
      key,
      { kind: 'merge', body: { metadata: { uid: claim.metadata.uid }, status } },
      { subresource: 'status' },
    );
  const others = (claim.status.conditions ?? []).filter(({ type }) => type !== 'Resizing');
  const now = apiTime(clock.now());
  if (others.length === (claim.status.conditions ?? []).length) {
    await setStatus({ conditions: [...others, { type: 'Resizing', status: 'True', lastTransitionTime: now }] });
    record(claim, 'Normal', 'Resizing', `External resizer is resizing volume ${name}`);
  }
  let bytes: number;
  try {
    bytes = await driver.expand(volume, wanted);
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    record(claim, 'Warning', 'VolumeResizeFailed', `resize volume "${name}" by resizer failed: ${message}`);
    throw error;
  }
  const storage = sizeText(bytes);
  if (bytes > capacityBytes(volume))
    await cluster.patch(
      resources.persistentVolumes,
      { name },
      { kind: 'merge', body: { metadata: { uid: volume.metadata.uid }, spec: { capacity: { storage } } } },
    );
  await setStatus({ capacity: { storage }, conditions: others.length === 0 ? null : others });
  record(claim, 'Normal', 'VolumeResizeSuccessful', 'Resize volume succeeded');
}
