/** The core group: what pods, Services and their like are made of. */
import type * as k8s from '../../contract/kubernetes.ts';
import { inGroup } from './resource-type.ts';

const core = inGroup('', 'v1');

export const coreResources = {
  configMaps: core.namespaced<k8s.ConfigMap>('ConfigMap', 'configmaps', { shortNames: ['cm'] }),
  endpoints: core.namespaced<k8s.Endpoints>('Endpoints', 'endpoints', { shortNames: ['ep'] }),
  events: core.namespaced<k8s.Event>('Event', 'events', { shortNames: ['ev'] }),
  limitRanges: core.namespaced<k8s.LimitRange>('LimitRange', 'limitranges', { shortNames: ['limits'] }),
  namespaces: core.clusterWide<k8s.Namespace>('Namespace', 'namespaces', { shortNames: ['ns'] }),
  nodes: core.clusterWide<k8s.Node>('Node', 'nodes', { shortNames: ['no'] }),
  persistentVolumes: core.clusterWide<k8s.PersistentVolume>('PersistentVolume', 'persistentvolumes', {
    shortNames: ['pv'],
  }),
  persistentVolumeClaims: core.namespaced<k8s.PersistentVolumeClaim>(
    'PersistentVolumeClaim',
    'persistentvolumeclaims',
    { shortNames: ['pvc'] },
  ),
  pods: core.namespaced<k8s.Pod>('Pod', 'pods', {
    shortNames: ['po'],
    categories: ['all'],
    subresources: ['ephemeralcontainers', 'resize'],
  }),
  podTemplates: core.namespaced<k8s.PodTemplate>('PodTemplate', 'podtemplates'),
  replicationControllers: core.namespaced<k8s.ReplicationController>(
    'ReplicationController',
    'replicationcontrollers',
    { shortNames: ['rc'], categories: ['all'] },
  ),
  resourceQuotas: core.namespaced<k8s.ResourceQuota>('ResourceQuota', 'resourcequotas', { shortNames: ['quota'] }),
  secrets: core.namespaced<k8s.Secret>('Secret', 'secrets'),
  services: core.namespaced<k8s.Service>('Service', 'services', { shortNames: ['svc'], categories: ['all'] }),
  serviceAccounts: core.namespaced<k8s.ServiceAccount>('ServiceAccount', 'serviceaccounts', {
    shortNames: ['sa'],
    subresources: ['token'],
  }),
} as const;
