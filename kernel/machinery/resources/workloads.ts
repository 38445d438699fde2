/** What runs pods: sets, Deployments, Jobs, and what scales and guards them. */
import type * as k8s from '../../contract/kubernetes.ts';
import { inGroup } from './resource-type.ts';

const apps = inGroup('apps', 'v1');
const batch = inGroup('batch', 'v1');
const batchV1beta1 = inGroup('batch', 'v1beta1');
const autoscaling = inGroup('autoscaling', 'v2');
const autoscalingV1 = inGroup('autoscaling', 'v1');
const policy = inGroup('policy', 'v1');
const policyV1beta1 = inGroup('policy', 'v1beta1');

export const workloadsResources = {
  controllerRevisions: apps.namespaced<k8s.ControllerRevision>('ControllerRevision', 'controllerrevisions'),
  daemonSets: apps.namespaced<k8s.DaemonSet>('DaemonSet', 'daemonsets', { shortNames: ['ds'], categories: ['all'] }),
  deployments: apps.namespaced<k8s.Deployment>('Deployment', 'deployments', {
    shortNames: ['deploy'],
    categories: ['all'],
  }),
  replicaSets: apps.namespaced<k8s.ReplicaSet>('ReplicaSet', 'replicasets', {
    shortNames: ['rs'],
    categories: ['all'],
  }),
  statefulSets: apps.namespaced<k8s.StatefulSet>('StatefulSet', 'statefulsets', {
    shortNames: ['sts'],
    categories: ['all'],
  }),
  cronJobs: batch.namespaced<k8s.CronJob>('CronJob', 'cronjobs', { shortNames: ['cj'], categories: ['all'] }),
  /** As kubectl 1.20 names it. */
  cronJobsV1beta1: batchV1beta1.namespaced<k8s.CronJob>('CronJob', 'cronjobs', {
    shortNames: ['cj'],
    categories: ['all'],
    schemaType: 'batch/v1.CronJob',
  }),
  jobs: batch.namespaced<k8s.Job>('Job', 'jobs', { categories: ['all'] }),
  horizontalPodAutoscalers: autoscaling.namespaced<k8s.HorizontalPodAutoscaler>(
    'HorizontalPodAutoscaler',
    'horizontalpodautoscalers',
    { shortNames: ['hpa'], categories: ['all'] },
  ),
  horizontalPodAutoscalersV1: autoscalingV1.namespaced<k8s.AutoscalingV1HorizontalPodAutoscaler>(
    'HorizontalPodAutoscaler',
    'horizontalpodautoscalers',
    { shortNames: ['hpa'], categories: ['all'] },
  ),
  podDisruptionBudgets: policy.namespaced<k8s.PodDisruptionBudget>('PodDisruptionBudget', 'poddisruptionbudgets', {
    shortNames: ['pdb'],
  }),
  /** As kubectl 1.20 names it. */
  podDisruptionBudgetsV1beta1: policyV1beta1.namespaced<k8s.PodDisruptionBudget>(
    'PodDisruptionBudget',
    'poddisruptionbudgets',
    { shortNames: ['pdb'], schemaType: 'policy/v1.PodDisruptionBudget' },
  ),
} as const;
