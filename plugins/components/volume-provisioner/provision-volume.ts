import { isPintleError } from '../../../kernel/contract/index.ts';
import type { PersistentVolumeClaim, StorageClass } from '../../../kernel/contract/kubernetes.ts';
import { keyOf, splitKey } from '../../../kernel/machinery/metadata.ts';
import { resources } from '../../../kernel/machinery/resources.ts';
import { classNameOf, requestedBytes, sizeText, waitsForConsumer } from '../../../kernel/machinery/volumes/claims.ts';
import {
  provisionedBy,
  provisionerFinalizer,
  selectedNode,
  storageProvisioner,
} from '../../../kernel/machinery/volumes/names.ts';
import type { Bench } from './bench.ts';

const hostnameLabel = 'kubernetes.io/hostname';
/** A node that could not make a volume lets the others try for this long. */
const pauseMs = 30_000;
/** So that not all nodes reach for a claim at one moment. */
const maxWaitMs = 200;

export async function provisionVolume(
  bench: Bench,
  claim: PersistentVolumeClaim,
  again: (afterMs: number) => void,
  signal: AbortSignal,
): Promise<void> {
  const { clock, classes, node } = bench;
  const { annotations = {}, deletionTimestamp, uid } = claim.metadata;
  const driver = bench.driverNamed(annotations[storageProvisioner]);
  const found = classes.get(classNameOf(claim) ?? '');
  if (driver === undefined || found === undefined || found.provisioner !== driver.provisioner) return;
  if (deletionTimestamp !== undefined || claim.spec.volumeName) return;
  const chosen = annotations[selectedNode];
  if (chosen === undefined && !waitsForConsumer(found)) {
    const leftMs = (bench.pauses.get(uid) ?? 0) - clock.now();
    if (leftMs > 0) {
      again(leftMs);
      return;
    }
    await clock.sleep(Math.random() * maxWaitMs, signal);
    await annotate(bench, claim, node.metadata.name);
    return;
  }
  if (chosen === node.metadata.name) await provision(bench, claim, found);
}

/** Compares the resourceVersion: of several nodes one gets the claim. */
async function annotate({ cluster }: Bench, claim: PersistentVolumeClaim, name: string | null): Promise<void> {
  const { uid, resourceVersion } = claim.metadata;
  const body = { metadata: { uid, resourceVersion, annotations: { [selectedNode]: name } } };
  try {
    await cluster.patch(resources.persistentVolumeClaims, splitKey(keyOf(claim)), { kind: 'merge', body });
  } catch (error) {
    if (!isPintleError(error, 'CONFLICT', 'NOT_FOUND')) throw error;
  }
}

async function provision(bench: Bench, claim: PersistentVolumeClaim, found: StorageClass): Promise<void> {
  const { cluster, record, volumes, node, clock } = bench;
  const { namespace, name: claimName, uid, resourceVersion } = claim.metadata;
  const driver = bench.driverNamed(found.provisioner)!;
  const name = `pvc-${uid}`;
  if (volumes.get(name) !== undefined) return;
  const key = `${namespace}/${claimName}`;
  record(claim, 'Normal', 'Provisioning', `External provisioner is provisioning volume for claim "${key}"`);
  const accessModes = claim.spec.accessModes ?? [];
  const failed = (message: string) =>
    record(
      claim,
      'Warning',
      'ProvisioningFailed',
      `failed to provision volume with StorageClass "${found.metadata.name}": ${message}`,
    );
  if (claim.spec.volumeMode === 'Block') {
    failed('block volumes are not supported');
    return;
  }
  let made;
  try {
    made = await driver.provision!({
      ...{ name, bytes: requestedBytes(claim), accessModes, parameters: found.parameters ?? {} },
      claim: { namespace, name: claimName, uid },
    });
  } catch (error) {
    failed(error instanceof Error ? error.message : String(error));
    if (!isPintleError(error, 'VOLUME_NO_ROOM')) throw error;
    // Another node may have room: the scheduler, or whichever node is first, shall choose again.
    bench.pauses.set(uid, clock.now() + pauseMs);
    await annotate(bench, claim, null);
    return;
  }
  const hostname = node.metadata.labels?.[hostnameLabel] ?? node.metadata.name;
  const volume = {
    metadata: {
      name,
      annotations: { [provisionedBy]: driver.provisioner! },
      finalizers: [provisionerFinalizer],
    },
    spec: {
      ...made.source,
      accessModes: [...accessModes],
      capacity: { storage: sizeText(made.bytes) },
      claimRef: { apiVersion: 'v1', kind: 'PersistentVolumeClaim', namespace, name: claimName, uid, resourceVersion },
      persistentVolumeReclaimPolicy: found.reclaimPolicy ?? 'Delete',
      storageClassName: found.metadata.name,
      volumeMode: claim.spec.volumeMode ?? 'Filesystem',
      ...(found.mountOptions && { mountOptions: [...found.mountOptions] }),
      ...(made.isLocal && {
        nodeAffinity: {
          required: {
            nodeSelectorTerms: [{ matchExpressions: [{ key: hostnameLabel, operator: 'In', values: [hostname] }] }],
          },
        },
      }),
    },
  };
  if (!(await isStillThere(bench, claim))) {
    const metadata = { name, uid: '', resourceVersion: '', creationTimestamp: '' };
    await driver.delete!({ apiVersion: 'v1', kind: 'PersistentVolume', metadata, spec: made.source });
    return;
  }
  try {
    await cluster.create(resources.persistentVolumes, volume);
  } catch (error) {
    if (!isPintleError(error, 'ALREADY_EXISTS')) throw error;
    return;
  }
  record(claim, 'Normal', 'ProvisioningSucceeded', `Successfully provisioned volume ${name}`);
}

async function isStillThere({ cluster }: Bench, { metadata }: PersistentVolumeClaim): Promise<boolean> {
  const { namespace, name, uid } = metadata;
  try {
    return (await cluster.get(resources.persistentVolumeClaims, { namespace, name })).metadata.uid === uid;
  } catch (error) {
    if (isPintleError(error, 'NOT_FOUND')) return false;
    throw error;
  }
}
