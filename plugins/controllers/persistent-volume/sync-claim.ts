/** What one look at a claim does: bind it, ask a provisioner for a volume, or say why it waits. */
import type { PersistentVolume, PersistentVolumeClaim, StorageClass } from '../../../kernel/contract/kubernetes.ts';
import { classNameOf, defaultClass, isBound, waitsForConsumer } from '../../../kernel/machinery/volumes/claims.ts';
import { isReservedFor, matchingVolumes, misfit } from '../../../kernel/machinery/volumes/matching.ts';
import * as names from '../../../kernel/machinery/volumes/names.ts';
import { bind, patchClaim, setClaimPhase, type Desk } from './binding.ts';

export async function syncClaim(desk: Desk, claim: PersistentVolumeClaim): Promise<void> {
  if (isBound(claim)) return syncBound(desk, claim);
  if (claim.metadata.deletionTimestamp !== undefined) return undefined;
  if (claim.spec.volumeName) return syncAsking(desk, claim, claim.spec.volumeName);
  return syncUnbound(desk, claim);
}

async function syncBound(desk: Desk, claim: PersistentVolumeClaim): Promise<void> {
  const volume = desk.volumes.get(claim.spec.volumeName ?? '');
  if (volume === undefined) {
    const message = 'Bound claim has lost its PersistentVolume. Data on the volume is lost!';
    if (await setClaimPhase(desk, claim, 'Lost')) desk.record(claim, 'Warning', 'ClaimLost', message);
  } else if (volume.spec.claimRef === undefined || isReservedFor(volume, claim)) await bind(desk, claim, volume);
  else {
    const message = 'Two claims are bound to the same volume, this one is bound incorrectly';
    if (await setClaimPhase(desk, claim, 'Lost')) desk.record(claim, 'Warning', 'ClaimMisbound', message);
  }
}

/** The claim names its volume itself. */
async function syncAsking(desk: Desk, claim: PersistentVolumeClaim, name: string): Promise<void> {
  const volume = desk.volumes.get(name);
  if (volume === undefined) {
    await setClaimPhase(desk, claim, 'Pending');
    desk.record(claim, 'Warning', 'FailedBinding', `volume "${name}" not found`);
    return;
  }
  if (volume.spec.claimRef !== undefined && !isReservedFor(volume, claim)) {
    await setClaimPhase(desk, claim, 'Pending');
    desk.record(claim, 'Warning', 'FailedBinding', `volume "${name}" already bound to a different claim.`);
    return;
  }
  const why = misfit(claim, volume);
  if (why === undefined) return bind(desk, claim, volume);
  desk.record(claim, 'Warning', 'VolumeMismatch', `Cannot bind to requested volume "${name}": ${why}`);
  await setClaimPhase(desk, claim, 'Pending');
}

async function syncUnbound(desk: Desk, claim: PersistentVolumeClaim): Promise<void> {
  const className = classNameOf(claim);
  const found = className ? desk.classes.get(className) : undefined;
  if (className === undefined) {
    const later = defaultClass(desk.classes.list());
    if (later !== undefined) {
      await patchClaim(desk, claim, { spec: { storageClassName: later.metadata.name } });
      return;
    }
  }
  const volume = choose(claim, found, desk.volumes.list());
  if (volume !== undefined) return bind(desk, claim, volume);
  await setClaimPhase(desk, claim, 'Pending');
  if (
    found !== undefined &&
    waitsForConsumer(found) &&
    claim.metadata.annotations?.[names.selectedNode] === undefined
  ) {
    const message = 'waiting for first consumer to be created before binding';
    desk.record(claim, 'Normal', 'WaitForFirstConsumer', message);
  } else if (className) await provision(desk, claim, className, found);
  else {
    const message = 'no persistent volumes available for this claim and no storage class is set';
    desk.record(claim, 'Normal', 'FailedBinding', message);
  }
}

/** With a class that waits for a consumer only what is reserved for the claim: the scheduler is who chooses. */
function choose(
  claim: PersistentVolumeClaim,
  found: StorageClass | undefined,
  volumes: readonly PersistentVolume[],
): PersistentVolume | undefined {
  const [best] = matchingVolumes(claim, volumes);
  if (best === undefined || found === undefined || !waitsForConsumer(found)) return best;
  return isReservedFor(best, claim) ? best : undefined;
}

async function provision(
  desk: Desk,
  claim: PersistentVolumeClaim,
  className: string,
  found: StorageClass | undefined,
): Promise<void> {
  if (found === undefined) {
    const message = `storageclass.storage.k8s.io "${className}" not found`;
    desk.record(claim, 'Warning', 'ProvisioningFailed', message);
    return;
  }
  const { provisioner } = found;
  if (provisioner === names.noProvisioner) {
    const message = 'no persistent volumes available for this claim and its storage class has no provisioner';
    desk.record(claim, 'Normal', 'FailedBinding', message);
    return;
  }
  const { annotations = {} } = claim.metadata;
  const node = annotations[names.selectedNode];
  if (node !== undefined && desk.nodes.get(node) === undefined) {
    // The node that was chosen is gone: the scheduler, or for an immediate class another node, shall choose again.
    await patchClaim(desk, claim, { metadata: { annotations: { [names.selectedNode]: null } } });
    return;
  }
  if (annotations[names.storageProvisioner] !== provisioner) {
    const asked = { [names.storageProvisioner]: provisioner, [names.betaStorageProvisioner]: provisioner };
    await patchClaim(desk, claim, { metadata: { annotations: asked } });
  }
  const message = `Waiting for a volume to be created either by the external provisioner '${provisioner}' or manually by the system administrator. If volume creation is delayed, please verify that the provisioner is running and correctly registered.`;
  desk.record(claim, 'Normal', 'ExternalProvisioning', message);
}
