/**
 * The workloads of Kubernetes' scheduler_perf, by upstream's names and shapes: nodes of 4 CPU, 32 GiB and 110 pods, pods of
 * 100m and 500 MiB unless the workload says otherwise. A pod is done when it is bound. `Packing` is ours.
 */
import type { Pod } from '../../../kernel/contract/kubernetes.ts';

type PodSpec = Partial<Pod['spec']>;

export interface Workload {
  readonly name: string;
  /** Of upstream's CI, at 5,000 nodes: pods a second. */
  readonly floor?: number;
  /** Measured pods, and those bound before, for so many nodes. */
  pods(nodes: number): { readonly init: number; readonly measured: number };
  nodeLabels?(index: number): Readonly<Record<string, string>>;
  pod(index: number): {
    readonly labels?: Readonly<Record<string, string>>;
    readonly spec?: PodSpec;
    readonly cpu?: string;
    readonly memory?: string;
  };
  /** Of the pods bound before, where they are others. */
  initPod?: Workload['pod'];
  /** Judges nodes by the pods on others: not every policy does. */
  readonly isInterPod?: boolean;
  /** What is wrong with the nodes of the measured pods, in words; undefined: nothing. */
  fault?(nodes: readonly string[]): string | undefined;
  /** Meanwhile, so many times a second: pods that fit nowhere, or nodes and Services that come and go. */
  readonly meanwhile?: 'unschedulable' | 'preemptors' | 'churn';
}

const twice = (nodes: number) => ({ init: Math.round(nodes / 5), measured: nodes * 2 });
const once = (nodes: number) => ({ init: Math.round(nodes / 5), measured: nodes });
const zoneLabel = 'topology.kubernetes.io/zone';

const affinityTerm = (color: string, topologyKey: string) => [
  { labelSelector: { matchLabels: { color } }, topologyKey, namespaces: ['init', 'measured'] },
];

const maxSkew = 5;

const shapes = [
  { cpu: '500m', memory: '4Gi' },
  { cpu: '1', memory: '1Gi' },
  { cpu: '250m', memory: '6Gi' },
] as const;

export const workloads: readonly Workload[] = [
  { name: 'SchedulingBasic', floor: 680, pods: twice, pod: () => ({}) },
  {
    ...{ name: 'SchedulingNodeAffinity', floor: 220, pods: twice, nodeLabels: () => ({ [zoneLabel]: 'zone1' }) },
    pod: () => ({
      spec: {
        affinity: {
          nodeAffinity: {
            requiredDuringSchedulingIgnoredDuringExecution: {
              nodeSelectorTerms: [
                { matchExpressions: [{ key: zoneLabel, operator: 'In', values: ['zone1', 'zone2'] }] },
              ],
            },
          },
        },
      },
    }),
  },
  {
    ...{ name: 'SchedulingPodAntiAffinity', floor: 60, isInterPod: true },
    pods: (nodes) => ({ init: Math.round(nodes / 5), measured: Math.round(nodes * 0.4) }),
    fault: (nodes) => (new Set(nodes).size === nodes.length ? undefined : 'two of them share a node'),
    pod: () => ({
      labels: { color: 'green' },
      spec: {
        affinity: {
          podAntiAffinity: {
            requiredDuringSchedulingIgnoredDuringExecution: affinityTerm('green', 'kubernetes.io/hostname'),
          },
        },
      },
    }),
  },
  {
    ...{ name: 'SchedulingPodAffinity', floor: 35, isInterPod: true, pods: once },
    nodeLabels: () => ({ [zoneLabel]: 'zone1' }),
    pod: () => ({
      labels: { color: 'blue' },
      spec: {
        affinity: {
          podAffinity: { requiredDuringSchedulingIgnoredDuringExecution: affinityTerm('blue', zoneLabel) },
        },
      },
    }),
  },
  {
    ...{ name: 'TopologySpreading', floor: 460, isInterPod: true, pods: once },
    nodeLabels: (index) => ({ [zoneLabel]: `moon-${(index % 3) + 1}` }),
    fault: (nodes) => {
      const zones = [0, 0, 0];
      for (const node of nodes) zones[Number(node.split('-').at(-1)) % 3]! += 1;
      return Math.max(...zones) - Math.min(...zones) <= maxSkew ? undefined : `zones hold ${zones.join(', ')} of them`;
    },
    pod: () => ({
      labels: { color: 'blue' },
      spec: {
        topologySpreadConstraints: [
          {
            ...{ maxSkew, topologyKey: zoneLabel, whenUnsatisfiable: 'DoNotSchedule' as const },
            labelSelector: { matchLabels: { color: 'blue' } },
          },
        ],
      },
    }),
  },
  {
    name: 'SchedulingWithMixedChurn',
    floor: 710,
    pods: (nodes) => ({ init: 0, measured: nodes * 2 }),
    pod: () => ({}),
    meanwhile: 'churn',
  },
  {
    name: 'Unschedulable',
    floor: 590,
    pods: (nodes) => ({ init: 100, measured: nodes * 2 }),
    pod: () => ({}),
    meanwhile: 'unschedulable',
  },
  {
    ...{ name: 'PreemptionAsync', floor: 570, meanwhile: 'preemptors' },
    // Four pods of low priority on every node, which preemptors of 3 CPU push out; the measured ones fit beside them.
    pods: (nodes) => ({ init: nodes * 4, measured: nodes }),
    initPod: () => ({ cpu: '900m', spec: { priorityClassName: 'low', terminationGracePeriodSeconds: 0 } }),
    pod: () => ({}),
  },
  {
    name: 'Packing',
    // 3.5 shapes of 1.75 CPU fill 70 % of the nodes' 4 CPU.
    pods: (nodes) => ({ init: 0, measured: Math.round((nodes * 4 * 0.7 * 3) / 1.75) }),
    pod: (index) => shapes[index % shapes.length]!,
  },
];
