/** The pod of a DaemonSet for one node, and which nodes want one. */
import type { NewObject } from '../../../kernel/contract/index.ts';
import type { DaemonSet, Node, Pod, Toleration } from '../../../kernel/contract/kubernetes.ts';
import { podOfTemplate } from '../../../kernel/machinery/replicas/pod-of-template.ts';
import { revisionLabel } from '../../../kernel/machinery/revisions/revision-data.ts';
import { matchesNodeSelection } from '../../../kernel/machinery/scheduling/node-selection.ts';
import { untoleratedTaint } from '../../../kernel/machinery/scheduling/taints.ts';

/** A daemon stays where ordinary pods have to leave: that is what it is there for. */
const always: readonly Toleration[] = [
  { key: 'node.kubernetes.io/not-ready', operator: 'Exists', effect: 'NoExecute' },
  { key: 'node.kubernetes.io/unreachable', operator: 'Exists', effect: 'NoExecute' },
  { key: 'node.kubernetes.io/disk-pressure', operator: 'Exists', effect: 'NoSchedule' },
  { key: 'node.kubernetes.io/memory-pressure', operator: 'Exists', effect: 'NoSchedule' },
  { key: 'node.kubernetes.io/pid-pressure', operator: 'Exists', effect: 'NoSchedule' },
  { key: 'node.kubernetes.io/unschedulable', operator: 'Exists', effect: 'NoSchedule' },
];
const onHostNetwork: Toleration = {
  key: 'node.kubernetes.io/network-unavailable',
  operator: 'Exists',
  effect: 'NoSchedule',
};

function withDaemonTolerations(own: readonly Toleration[], isHostNetwork: boolean): readonly Toleration[] {
  const added = isHostNetwork ? [...always, onHostNetwork] : always;
  const isAdded = ({ key, effect }: Toleration) => added.some((other) => other.key === key && other.effect === effect);
  return [...own.filter((toleration) => !isAdded(toleration)), ...added];
}

/** Bound to its node by affinity, so that the scheduler checks resources and ports as for every pod. */
export function daemonPod(set: DaemonSet, hash: string, nodeName: string): NewObject<Pod> {
  const pod = podOfTemplate(set, set.spec.template);
  const { affinity, tolerations = [], hostNetwork = false } = pod.spec;
  const { preferredDuringSchedulingIgnoredDuringExecution: preferred } = affinity?.nodeAffinity ?? {};
  return {
    ...pod,
    metadata: { ...pod.metadata, labels: { ...pod.metadata.labels, [revisionLabel]: hash } },
    spec: {
      ...pod.spec,
      tolerations: [...withDaemonTolerations(tolerations, hostNetwork)],
      affinity: {
        ...affinity,
        nodeAffinity: {
          ...(preferred === undefined ? {} : { preferredDuringSchedulingIgnoredDuringExecution: preferred }),
          requiredDuringSchedulingIgnoredDuringExecution: {
            nodeSelectorTerms: [{ matchFields: [{ key: 'metadata.name', operator: 'In', values: [nodeName] }] }],
          },
        },
      },
    },
  };
}

/** The node that the pod runs on, or is meant for. */
export function nodeOf(pod: Pod): string | undefined {
  if (pod.spec.nodeName !== undefined && pod.spec.nodeName !== '') return pod.spec.nodeName;
  const terms = pod.spec.affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution?.nodeSelectorTerms;
  for (const { matchFields = [] } of terms ?? [])
    for (const { key, operator, values = [] } of matchFields)
      if (key === 'metadata.name' && operator === 'In' && values.length === 1) return values[0];
  return undefined;
}

export interface NodeVerdict {
  /** A pod belongs onto this node. */
  readonly shouldRun: boolean;
  /** A pod that is there may stay: a NoSchedule taint keeps new ones away, no more. */
  readonly mayStay: boolean;
}

/** The one function of a set, to be asked for many nodes. */
export function nodeJudge(set: DaemonSet): (node: Node) => NodeVerdict {
  const spec = set.spec.template.spec ?? { containers: [] };
  const pod = { metadata: {}, spec } as Pod;
  const tolerations = withDaemonTolerations(spec.tolerations ?? [], spec.hostNetwork ?? false);
  return (node) => {
    if ((spec.nodeName ?? '') !== '' && spec.nodeName !== node.metadata.name)
      return { shouldRun: false, mayStay: false };
    if (!matchesNodeSelection(pod, node)) return { shouldRun: false, mayStay: false };
    const { taints } = node.spec;
    if (untoleratedTaint(taints, tolerations, ['NoExecute']) !== undefined) return { shouldRun: false, mayStay: false };
    return { shouldRun: untoleratedTaint(taints, tolerations, ['NoSchedule']) === undefined, mayStay: true };
  };
}
