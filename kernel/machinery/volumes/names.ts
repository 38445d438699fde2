/** Annotations, finalizers and reserved names of storage, as Kubernetes' controllers and tools know them. */

/** On a claim: bound for good. A claim with it that loses its volume is Lost. */
export const bindCompleted = 'pv.kubernetes.io/bind-completed';
/** On a claim or volume: the other side of the binding was chosen by the controller, not by the user. */
export const boundByController = 'pv.kubernetes.io/bound-by-controller';
/** On a volume: the provisioner that made it. */
export const provisionedBy = 'pv.kubernetes.io/provisioned-by';
/** On a claim: who shall make its volume. The second name is the one before Kubernetes 1.23. */
export const storageProvisioner = 'volume.kubernetes.io/storage-provisioner';
export const betaStorageProvisioner = 'volume.beta.kubernetes.io/storage-provisioner';
/** On a claim: the node that the scheduler chose for its first pod. */
export const selectedNode = 'volume.kubernetes.io/selected-node';
/** On a StorageClass; the second is its beta name. */
export const isDefaultClass = 'storageclass.kubernetes.io/is-default-class';
export const betaIsDefaultClass = 'storageclass.beta.kubernetes.io/is-default-class';
/** On a claim or volume: the class before the field existed. */
export const betaStorageClass = 'volume.beta.kubernetes.io/storage-class';

export const claimProtection = 'kubernetes.io/pvc-protection';
export const volumeProtection = 'kubernetes.io/pv-protection';
/** Held by whoever provisioned a volume, until what it stands for is gone. */
export const provisionerFinalizer = 'external-provisioner.volume.kubernetes.io/finalizer';

/** The provisioner of classes whose volumes are made by hand. */
export const noProvisioner = 'kubernetes.io/no-provisioner';
