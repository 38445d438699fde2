import type { ReplicationController } from '../../../kernel/contract/kubernetes.ts';
import type { ReplicaKind } from '../../../kernel/machinery/replicas/replica-controller.ts';
import { resources } from '../../../kernel/machinery/resources.ts';
import { mapSelector } from '../../../kernel/machinery/selectors.ts';

export const replicationControllerKind: ReplicaKind<ReplicationController> = {
  type: resources.replicationControllers,
  selectorOf: ({ spec }) => mapSelector(spec.selector),
  countsTerminating: false,
};
