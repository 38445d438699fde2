/** Classes and drivers of volumes. */
import type * as k8s from '../../contract/kubernetes.ts';
import { inGroup } from './resource-type.ts';

const storage = inGroup('storage.k8s.io', 'v1');

export const storageResources = {
  csiDrivers: storage.clusterWide<k8s.CSIDriver>('CSIDriver', 'csidrivers'),
  csiNodes: storage.clusterWide<k8s.CSINode>('CSINode', 'csinodes'),
  csiStorageCapacities: storage.namespaced<k8s.CSIStorageCapacity>('CSIStorageCapacity', 'csistoragecapacities'),
  storageClasses: storage.clusterWide<k8s.StorageClass>('StorageClass', 'storageclasses', { shortNames: ['sc'] }),
  volumeAttachments: storage.clusterWide<k8s.VolumeAttachment>('VolumeAttachment', 'volumeattachments'),
  volumeAttributesClasses: storage.clusterWide<k8s.VolumeAttributesClass>(
    'VolumeAttributesClass',
    'volumeattributesclasses',
    { shortNames: ['vac'] },
  ),
} as const;
