import type { ReplicaSet } from '../../../kernel/contract/kubernetes.ts';
import type { ReplicaKind } from '../../../kernel/machinery/replicas/replica-controller.ts';
import { resources } from '../../../kernel/machinery/resources.ts';
import { labelSelector } from '../../../kernel/machinery/selectors.ts';

export const replicaSetKind: ReplicaKind<ReplicaSet> = {
  type: resources.replicaSets,
  selectorOf: ({ spec }) => labelSelector(spec.selector),
  countsTerminating: true,
};
