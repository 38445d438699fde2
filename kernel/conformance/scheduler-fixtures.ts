/** Pods, nodes and node states for the scheduler kit, frozen so that a policy that writes to them is caught. */
import type { ClusterState, NodeState } from '../contract/index.ts';
import type { ContainerPort, Node, NodeSelectorTerm, Pod, Taint, Toleration } from '../contract/kubernetes.ts';
import { addAmounts, amounts, hostPortKey, podHostPorts, podRequests } from '../machinery/scheduling/pod-requests.ts';

export interface PodShape {
  readonly name?: string;
  readonly cpu?: string;
  readonly memory?: string;
  readonly extra?: Readonly<Record<string, string>>;
  readonly initCpu?: string;
  readonly sidecar?: boolean;
  readonly nodeSelector?: Readonly<Record<string, string>>;
  readonly required?: readonly NodeSelectorTerm[];
  /** Label, value, weight. */
  readonly preferred?: readonly (readonly [string, string, number])[];
  readonly tolerations?: readonly Toleration[];
  readonly hostPort?: Omit<ContainerPort, 'containerPort'>;
  readonly nodeName?: string;
}

export function makePod(shape: PodShape): Pod {
  const { name = 'pod', cpu, memory, extra, initCpu, hostPort, required, preferred, tolerations, nodeName } = shape;
  const requests = {
    ...(cpu === undefined ? {} : { cpu }),
    ...(memory === undefined ? {} : { memory }),
    ...extra,
  };
  const init = { name: 'init', resources: { requests: { cpu: initCpu ?? '0' } } };
  const nodeAffinity = {
    ...(required === undefined
      ? {}
      : { requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms: [...required] } }),
    ...(preferred === undefined
      ? {}
      : {
          preferredDuringSchedulingIgnoredDuringExecution: preferred.map(([key, value, weight]) => ({
            weight,
            preference: { matchExpressions: [{ key, operator: 'In', values: [value] }] },
          })),
        }),
  };
  return freeze({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace: 'default', uid: `uid-${name}`, resourceVersion: '1', creationTimestamp: '' },
    spec: {
      containers: [
        {
          name: 'main',
          resources: { requests },
          ...(hostPort === undefined ? {} : { ports: [{ containerPort: 80, ...hostPort }] }),
        },
      ],
      ...(initCpu === undefined
        ? {}
        : { initContainers: [shape.sidecar === true ? { ...init, restartPolicy: 'Always' } : init] }),
      ...(shape.nodeSelector === undefined ? {} : { nodeSelector: { ...shape.nodeSelector } }),
      ...(required === undefined && preferred === undefined ? {} : { affinity: { nodeAffinity } }),
      ...(tolerations === undefined ? {} : { tolerations: [...tolerations] }),
      ...(nodeName === undefined ? {} : { nodeName }),
    },
  });
}

export function makeNode(
  shape: {
    readonly allocatable?: Readonly<Record<string, string>>;
    readonly labels?: Readonly<Record<string, string>>;
    readonly taints?: readonly Taint[];
    readonly unschedulable?: boolean;
  } = {},
): Node {
  const allocatable = { ...(shape.allocatable ?? { cpu: '4', memory: '8Gi', pods: '110' }) };
  return freeze({
    apiVersion: 'v1',
    kind: 'Node',
    metadata: {
      name: 'node',
      uid: 'uid-node',
      resourceVersion: '1',
      creationTimestamp: '',
      ...(shape.labels === undefined ? {} : { labels: { ...shape.labels } }),
    },
    spec: {
      ...(shape.taints === undefined ? {} : { taints: [...shape.taints] }),
      ...(shape.unschedulable === undefined ? {} : { unschedulable: shape.unschedulable }),
    },
    status: { allocatable, capacity: allocatable },
  });
}

export function stateOf(node: Node, placed: readonly Pod[] = []): NodeState {
  const requested: Record<string, number> = {};
  for (const pod of placed) addAmounts(requested, podRequests(pod));
  return Object.freeze({
    name: node.metadata.name,
    node,
    generation: 1,
    allocatable: Object.freeze(amounts(node.status?.allocatable)),
    requested: Object.freeze(requested),
    pods: new Map(placed.map((pod) => [`default/${pod.metadata.name}`, pod])),
    hostPorts: new Set(placed.flatMap((pod) => podHostPorts(pod).map(hostPortKey))),
  });
}

export function clusterOf(...states: readonly NodeState[]): ClusterState {
  return Object.freeze({ nodes: new Map(states.map((state) => [state.name, state])) });
}

function freeze<T>(value: T): T {
  if (typeof value !== 'object' || value === null || Object.isFrozen(value)) return value;
  for (const part of Object.values(value)) freeze(part);
  return Object.freeze(value);
}
