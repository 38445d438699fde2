/** Every strategy by the path of its storage. What is not here has no rules but its schema. */
import type { ServiceResources } from '../services/service-resources.ts';
import { cronJob, job } from './batch.ts';
import { configMap, endpoints, event, namespace, node, resourceQuota, secret } from './core.ts';
import * as others from './others.ts';
import { pod } from './pod.ts';
import { serviceStrategy } from './service.ts';
import type { Strategy } from './strategy.ts';
import * as workloads from './workloads.ts';

/** Kinds whose generation counts, and that need nothing else. */
const counted: Strategy = { countsGeneration: true };
/** Kinds whose names are only path segments. */
const pathNamed: Strategy = { nameRule: 'path' };

export function strategies(services: ServiceResources): ReadonlyMap<string, Strategy> {
  return new Map<string, Strategy>([
    ['core/configmaps', configMap],
    ['core/endpoints', endpoints],
    ['core/events', event],
    ['core/namespaces', namespace],
    ['core/nodes', node],
    ['core/persistentvolumeclaims', others.persistentVolumeClaim],
    ['core/persistentvolumes', others.persistentVolume],
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
    ['autoscaling/horizontalpodautoscalers', others.horizontalPodAutoscaler],
    ['batch/cronjobs', cronJob],
    ['batch/jobs', job],
    ['coordination.k8s.io/leases', others.lease],
    ['discovery.k8s.io/endpointslices', others.endpointSlice],
    ['networking.k8s.io/ingresses', others.ingress],
    ['networking.k8s.io/ingressclasses', counted],
    ['networking.k8s.io/networkpolicies', others.networkPolicy],
    ['policy/poddisruptionbudgets', others.podDisruptionBudget],
    ['rbac.authorization.k8s.io/clusterrolebindings', others.clusterRoleBinding],
    ['rbac.authorization.k8s.io/clusterroles', others.clusterRole],
    ['rbac.authorization.k8s.io/rolebindings', others.roleBinding],
    ['rbac.authorization.k8s.io/roles', others.role],
    ['scheduling.k8s.io/priorityclasses', others.priorityClass],
    ['storage.k8s.io/storageclasses', others.storageClass],
    ['certificates.k8s.io/certificatesigningrequests', pathNamed],
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
