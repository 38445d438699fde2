/** Every strategy by the path of its storage. What is not here has no rules but its schema. */
import type { ServiceResources } from '../services/service-resources.ts';
import { cronJob, job } from './batch.ts';
import { configMap, endpoints, event, namespace, node, resourceQuota, secret } from './core.ts';
import { certificateSigningRequest } from './certificates.ts';
import { horizontalPodAutoscaler } from './autoscaling.ts';
import { limitRange } from './limit-range.ts';
import { lease } from './coordination.ts';
import { endpointSlice, ingress, networkPolicy } from './networking.ts';
import { pod } from './pod.ts';
import { podDisruptionBudget } from './policy.ts';
import { clusterRole, clusterRoleBinding, role, roleBinding } from './rbac.ts';
import { priorityClass } from './scheduling.ts';
import { persistentVolume, persistentVolumeClaim, storageClass } from './storage.ts';
import { serviceStrategy } from './service.ts';
import type { Strategy } from './strategy.ts';
import * as workloads from './workloads.ts';

/** Kinds whose generation counts, and that need nothing else. */
const counted: Strategy = { countsGeneration: true };

export function strategies(services: ServiceResources): ReadonlyMap<string, Strategy> {
  return new Map<string, Strategy>([
    ['core/configmaps', configMap],
    ['core/endpoints', endpoints],
    ['core/events', event],
    ['core/limitranges', limitRange],
    ['core/namespaces', namespace],
    ['core/nodes', node],
    ['core/persistentvolumeclaims', persistentVolumeClaim],
    ['core/persistentvolumes', persistentVolume],
    ['core/pods', pod],
    ['core/podtemplates', counted],
    ['core/replicationcontrollers', workloads.replicationController],
    ['core/resourcequotas', resourceQuota],
    ['core/secrets', secret],
    ['core/services', serviceStrategy(services)],
    ['apps/daemonsets', workloads.daemonSet],
    ['apps/deployments', workloads.deployment],
    ['apps/replicasets', workloads.replicaSet],
    ['apps/statefulsets', workloads.statefulSet],
    ['autoscaling/horizontalpodautoscalers', horizontalPodAutoscaler],
    ['batch/cronjobs', cronJob],
    ['batch/jobs', job],
    ['coordination.k8s.io/leases', lease],
    ['discovery.k8s.io/endpointslices', endpointSlice],
    ['networking.k8s.io/ingresses', ingress],
    ['networking.k8s.io/ingressclasses', counted],
    ['networking.k8s.io/networkpolicies', networkPolicy],
    ['policy/poddisruptionbudgets', podDisruptionBudget],
    ['rbac.authorization.k8s.io/clusterrolebindings', clusterRoleBinding],
    ['rbac.authorization.k8s.io/clusterroles', clusterRole],
    ['rbac.authorization.k8s.io/rolebindings', roleBinding],
    ['rbac.authorization.k8s.io/roles', role],
    ['scheduling.k8s.io/priorityclasses', priorityClass],
    ['storage.k8s.io/storageclasses', storageClass],
    ['certificates.k8s.io/certificatesigningrequests', certificateSigningRequest],
    ['apiextensions.k8s.io/customresourcedefinitions', counted],
    ['admissionregistration.k8s.io/mutatingadmissionpolicies', counted],
    ['admissionregistration.k8s.io/mutatingadmissionpolicybindings', counted],
    ['admissionregistration.k8s.io/mutatingwebhookconfigurations', counted],
    ['admissionregistration.k8s.io/validatingadmissionpolicies', counted],
    ['admissionregistration.k8s.io/validatingadmissionpolicybindings', counted],
    ['admissionregistration.k8s.io/validatingwebhookconfigurations', counted],
    ['flowcontrol.apiserver.k8s.io/flowschemas', counted],
    ['flowcontrol.apiserver.k8s.io/prioritylevelconfigurations', counted],
  ]);
}
