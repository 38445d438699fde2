/**
 * Kind `volume`: a driver that makes PersistentVolumes usable on this node. Several run side by side; the node's agent
 * asks each in the config's order whether it `serves` the source of a volume, and the first that does handles it.
 *
 * A *volume* is named by its PersistentVolume object, and `volume.metadata.name` is its identity. The life of one on a node:
 *
 *     provision (somewhere) -> stage -> publish (for pod A) -> publish (for pod B) -> unpublish x 2 -> unstage -> delete
 *                              once a node   once a pod                               when no pod is left
 *
 * Guarantees
 * - `serves` is pure: it looks at nothing but the spec.
 * - `stage` makes the volume ready on this node (attach, format, mount at a place of the driver's own); `unstage` undoes it.
 *   A driver without capability `stage` has neither. Between them lies every `publish` of the volume.
 * - After `publish` the answered path on the node, in the agent's mount namespace, is a folder (or a file, for a volume that
 *   is one) that holds the volume's data until `unpublish`. `target` is a path inside the pod's folder that does not exist yet and is the driver's to mount at
 *   or to ignore. Two pods that publish one volume see each other's files; what was written is there at the next publish.
 * - The volume's data is never made up: `stage` or `publish` of one whose folder, device or share is not there rejects
 *   VOLUME_NOT_FOUND and makes nothing, since an empty folder in its place would look like lost data.
 * - `unpublish` and `unstage` keep the data and leave nothing else of their counterpart.
 * - With `fsGroup` the files are the group's to read and write when this kind of volume has owners at all. The data comes
 *   first: an owner that cannot be changed on this node (an id that its user namespace lacks) is no failure.
 * - Capability `expand`: `expand` makes the volume hold at least `bytes`, data untouched, published or not, and resolves to
 *   its capacity now. It never shrinks; asking for less answers the present capacity or what was asked for.
 * - Capability `provision`: `provision` makes a new, empty volume for a claim and resolves to what the PersistentVolume
 *   has to say of it. `name` is the identity: again under the same name answers the same volume, data kept. `delete`
 *   removes a volume that this driver provisioned, with its data, and rejects VOLUME_INVALID for any other. It runs on the
 *   node that `provision` ran on when the volume `isLocal`, else on any.
 * Idempotency: every verb may be repeated, by a later instance too; unpublish, unstage and delete of what is not there succeed.
 * Ordering and concurrency: calls for one volume come one after the other, but for `expand`, which may come at any time
 * between `provision` and `delete`; calls for different volumes come at once.
 * Cancellation: none; every call has an end of its own, within a minute or so.
 * Restart: dispose leaves volumes published. A new instance may be asked to publish what is published already, and to
 * unpublish what an earlier one published.
 * Errors: VOLUME_NOT_FOUND, VOLUME_INVALID (it cannot be mounted or made as its spec says; trying again does not help),
 * VOLUME_NO_ROOM, UNAVAILABLE (try again), HOST_COMMAND_FAILED, KERNEL_REFUSED. Messages stand in events of pods and claims.
 */
import type { PersistentVolume, PersistentVolumeSource, PersistentVolumeSpec } from './kubernetes.ts';

export type VolumeCapability = 'stage' | 'expand' | 'provision';

export interface PublishRequest {
  readonly volume: PersistentVolume;
  readonly podNamespace: string;
  readonly podName: string;
  readonly podUid: string;
  /** <pod folder>/volumes/<name>. Its parent exists. */
  readonly target: string;
  /** True when no container of the pod may write. The agent mounts read-only in any case; a driver may do so, too. */
  readonly readOnly: boolean;
  /** securityContext.fsGroup of the pod. */
  readonly fsGroup?: number | undefined;
  /** OnRootMismatch: the folder's own group says whether its content was done before. */
  readonly fsGroupChangePolicy?: 'Always' | 'OnRootMismatch' | undefined;
}

export interface UnpublishRequest {
  /** As it was when it was published. */
  readonly volume: PersistentVolume;
  readonly podUid: string;
  readonly target: string;
}

export interface ProvisionRequest {
  /** Name of the PersistentVolume to be: "pvc-" and the claim's uid. */
  readonly name: string;
  /** What the claim asks for. */
  readonly bytes: number;
  readonly accessModes: readonly string[];
  readonly claim: { readonly namespace: string; readonly name: string; readonly uid: string };
  /** Of the StorageClass. One that the driver does not know is VOLUME_INVALID. */
  readonly parameters: Readonly<Record<string, string>>;
}

export interface Provisioned {
  /** Exactly one entry: { local: { path: '/...' } } */
  readonly source: PersistentVolumeSource;
  /** At least what was asked for. */
  readonly bytes: number;
  /** True: only this node can use it, and the PersistentVolume gets a node affinity that says so. */
  readonly isLocal: boolean;
}

export interface VolumeDriver {
  /** Those that the plugin declares. */
  readonly capabilities: readonly VolumeCapability[];
  /** Capability `provision`: what StorageClasses call it: "pintle.dev/local". */
  readonly provisioner?: string | undefined;
  serves(spec: PersistentVolumeSpec): boolean;
  stage?(volume: PersistentVolume): Promise<void>;
  unstage?(volume: PersistentVolume): Promise<void>;
  publish(request: PublishRequest): Promise<{ readonly path: string }>;
  unpublish(request: UnpublishRequest): Promise<void>;
  expand?(volume: PersistentVolume, bytes: number): Promise<number>;
  provision?(request: ProvisionRequest): Promise<Provisioned>;
  delete?(volume: PersistentVolume): Promise<void>;
}
