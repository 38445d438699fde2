/** What the cluster is run with: leases, events, priorities, admission, custom resources, devices, measurements. */
import type * as k8s from '../../contract/kubernetes.ts';
import { inGroup } from './resource-type.ts';

const coordination = inGroup('coordination.k8s.io', 'v1');
const events = inGroup('events.k8s.io', 'v1');
const scheduling = inGroup('scheduling.k8s.io', 'v1');
const node = inGroup('node.k8s.io', 'v1');
const admissionregistration = inGroup('admissionregistration.k8s.io', 'v1');
const apiextensions = inGroup('apiextensions.k8s.io', 'v1');
const apiregistration = inGroup('apiregistration.k8s.io', 'v1');
const flowcontrol = inGroup('flowcontrol.apiserver.k8s.io', 'v1');
const resource = inGroup('resource.k8s.io', 'v1');
const metrics = inGroup('metrics.k8s.io', 'v1beta1');

export const administrationResources = {
  leases: coordination.namespaced<k8s.Lease>('Lease', 'leases'),
  eventsV1: events.namespaced<k8s.EventsV1Event>('Event', 'events', { shortNames: ['ev'] }),
  priorityClasses: scheduling.clusterWide<k8s.PriorityClass>('PriorityClass', 'priorityclasses', {
    shortNames: ['pc'],
  }),
  runtimeClasses: node.clusterWide<k8s.RuntimeClass>('RuntimeClass', 'runtimeclasses'),
  mutatingAdmissionPolicies: admissionregistration.clusterWide<k8s.MutatingAdmissionPolicy>(
    'MutatingAdmissionPolicy',
    'mutatingadmissionpolicies',
  ),
  mutatingAdmissionPolicyBindings: admissionregistration.clusterWide<k8s.MutatingAdmissionPolicyBinding>(
    'MutatingAdmissionPolicyBinding',
    'mutatingadmissionpolicybindings',
  ),
  mutatingWebhookConfigurations: admissionregistration.clusterWide<k8s.MutatingWebhookConfiguration>(
    'MutatingWebhookConfiguration',
    'mutatingwebhookconfigurations',
    { categories: ['api-extensions'] },
  ),
  validatingAdmissionPolicies: admissionregistration.clusterWide<k8s.ValidatingAdmissionPolicy>(
    'ValidatingAdmissionPolicy',
    'validatingadmissionpolicies',
    { categories: ['api-extensions'] },
  ),
  validatingAdmissionPolicyBindings: admissionregistration.clusterWide<k8s.ValidatingAdmissionPolicyBinding>(
    'ValidatingAdmissionPolicyBinding',
    'validatingadmissionpolicybindings',
    { categories: ['api-extensions'] },
  ),
  validatingWebhookConfigurations: admissionregistration.clusterWide<k8s.ValidatingWebhookConfiguration>(
    'ValidatingWebhookConfiguration',
    'validatingwebhookconfigurations',
    { categories: ['api-extensions'] },
  ),
  customResourceDefinitions: apiextensions.clusterWide<k8s.CustomResourceDefinition>(
    'CustomResourceDefinition',
    'customresourcedefinitions',
    { shortNames: ['crd', 'crds'], categories: ['api-extensions'] },
  ),
  apiServices: apiregistration.clusterWide<k8s.APIService>('APIService', 'apiservices', {
    categories: ['api-extensions'],
  }),
  flowSchemas: flowcontrol.clusterWide<k8s.FlowSchema>('FlowSchema', 'flowschemas'),
  priorityLevelConfigurations: flowcontrol.clusterWide<k8s.PriorityLevelConfiguration>(
    'PriorityLevelConfiguration',
    'prioritylevelconfigurations',
  ),
  deviceClasses: resource.clusterWide<k8s.DeviceClass>('DeviceClass', 'deviceclasses'),
  resourceClaims: resource.namespaced<k8s.ResourceV1ResourceClaim>('ResourceClaim', 'resourceclaims'),
  resourceClaimTemplates: resource.namespaced<k8s.ResourceClaimTemplate>(
    'ResourceClaimTemplate',
    'resourceclaimtemplates',
  ),
  resourceSlices: resource.clusterWide<k8s.ResourceSlice>('ResourceSlice', 'resourceslices'),
  nodeMetrics: metrics.clusterWide<k8s.NodeMetrics>('NodeMetrics', 'nodes', { computed: true }),
  podMetrics: metrics.namespaced<k8s.PodMetrics>('PodMetrics', 'pods', { computed: true }),
} as const;
