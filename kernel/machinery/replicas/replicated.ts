/** What a ReplicaSet and a ReplicationController have in common. */
import type { KubernetesObject } from '../../contract/index.ts';
import type { PodTemplateSpec, ReplicaSet, ReplicaSetStatus } from '../../contract/kubernetes.ts';

export type ReplicatedStatus = ReplicaSetStatus;

export interface Replicated extends KubernetesObject {
  metadata: ReplicaSet['metadata'];
  spec: { replicas?: number; minReadySeconds?: number; template?: PodTemplateSpec };
  status?: ReplicatedStatus;
}
