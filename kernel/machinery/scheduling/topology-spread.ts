/** Topology spread constraints, as kube-scheduler's PodTopologySpread judges and words them. */
import type { ClusterState, NodeState, PodClass, Verdict } from '../../contract/index.ts';
import type { TopologySpreadConstraint } from '../../contract/kubernetes.ts';
import type { Selector } from '../selectors.ts';
import { matchesNodeSelection } from './node-selection.ts';
import { domainOf, summedOverNodes } from './node-parts.ts';
import { selectorFor } from './pod-terms.ts';
import { untoleratedTaint } from './taints.ts';

type Objection = Extract<Verdict, { fits: false }>;
const missingLabel: Objection = {
  fits: false,
  reasons: ["node(s) didn't match pod topology spread constraints (missing required label)"],
  resolvable: false,
};
const tooSkewed: Objection = {
  fits: false,
  reasons: ["node(s) didn't match pod topology spread constraints"],
  resolvable: true,
};

interface Constraint {
  readonly spec: TopologySpreadConstraint;
  readonly isHard: boolean;
  readonly selector: Selector;
  /** 1 when the pod itself will count. */
  readonly self: number;
}

const constraintsOfClass = new WeakMap<PodClass, readonly Constraint[]>();

function constraintsOf(podClass: PodClass): readonly Constraint[] {
  let constraints = constraintsOfClass.get(podClass);
  if (constraints !== undefined) return constraints;
  const { metadata, spec } = podClass.pod;
  constraints = (spec.topologySpreadConstraints ?? []).map((constraint) => {
    const selector = selectorFor(constraint.labelSelector, metadata.labels, constraint.matchLabelKeys);
    return {
      spec: constraint,
      isHard: constraint.whenUnsatisfiable !== 'ScheduleAnyway',
      selector,
      self: selector.matches(metadata.labels) ? 1 : 0,
    };
  });
  constraintsOfClass.set(podClass, constraints);
  return constraints;
}

/** Of each constraint how many pods of the node it counts; undefined where the node is none of its domains. */
type Part = readonly (number | undefined)[];

function partOf(podClass: PodClass, node: NodeState): Part {
  const { pod } = podClass;
  const constraints = constraintsOf(podClass);
  const { taints } = node.node.spec;
  const isSelected = matchesNodeSelection(pod, node.node);
  const isTolerated = untoleratedTaint(taints, pod.spec.tolerations, ['NoSchedule', 'NoExecute']) === undefined;
  const hasKeys = (isHard: boolean) =>
    constraints.every((each) => each.isHard !== isHard || domainOf(node, each.spec.topologyKey) !== undefined);
  return constraints.map(({ spec, isHard, selector }) => {
    if ((spec.nodeAffinityPolicy ?? 'Honor') === 'Honor' && !isSelected) return undefined;
    if (spec.nodeTaintsPolicy === 'Honor' && !isTolerated) return undefined;
    if (!hasKeys(isHard)) return undefined;
    let count = 0;
    for (const other of node.pods.values()) {
      const { namespace, labels, deletionTimestamp } = other.metadata;
      if (namespace === pod.metadata.namespace && deletionTimestamp === undefined && selector.matches(labels)) count++;
    }
    return count;
  });
}

interface Sum {
  /** For each constraint the pods by domain, and the least of all. */
  readonly domains: readonly ReadonlyMap<string, number>[];
  readonly least: readonly number[];
  readonly most: number;
  readonly fewest: number;
}

const summed = summedOverNodes<Part, Sum>(partOf, (podClass, parts) => {
  const constraints = constraintsOf(podClass);
  const domains = constraints.map(({ spec }, index) => {
    const counts = new Map<string, number>();
    for (const [node, part] of parts) {
      const value = domainOf(node, spec.topologyKey);
      const count = part[index];
      if (value !== undefined && count !== undefined) counts.set(value, (counts.get(value) ?? 0) + count);
    }
    return counts;
  });
  const least = domains.map((counts, index) => {
    const { minDomains } = constraints[index]!.spec;
    // Domains that are not there yet count as empty ones (KEP-3022).
    return counts.size === 0 || (minDomains !== undefined && counts.size < minDomains)
      ? 0
      : [...counts.values()].reduce((low, count) => Math.min(low, count));
  });
  let most = 0;
  let fewest = Infinity;
  for (const [node] of parts) {
    const crowd = crowdOf(constraints, domains, node);
    if (crowd === undefined) continue;
    most = Math.max(most, crowd);
    fewest = Math.min(fewest, crowd);
  }
  return { domains, least, most, fewest };
});

/** Pods in the domains of this node, over the constraints that only prefer; undefined where a label is missing. */
function crowdOf(
  constraints: readonly Constraint[],
  domains: readonly ReadonlyMap<string, number>[],
  node: NodeState,
): number | undefined {
  let crowd = 0;
  for (const [index, { spec, isHard }] of constraints.entries()) {
    if (isHard) continue;
    const value = domainOf(node, spec.topologyKey);
    if (value === undefined) return undefined;
    // A wider skew is a weaker wish.
    crowd += (domains[index]!.get(value) ?? 0) / Math.max(1, spec.maxSkew);
  }
  return crowd;
}

export function spreadObjection(podClass: PodClass, node: NodeState, cluster: ClusterState): Objection | undefined {
  const constraints = constraintsOf(podClass);
  if (!constraints.some(({ isHard }) => isHard)) return undefined;
  const { domains, least } = summed(podClass, cluster);
  for (const [index, { spec, isHard, self }] of constraints.entries()) {
    if (!isHard) continue;
    const value = domainOf(node, spec.topologyKey);
    if (value === undefined) return missingLabel;
    if ((domains[index]!.get(value) ?? 0) + self - least[index]! > spec.maxSkew) return tooSkewed;
  }
  return undefined;
}

/** 100 where the fewest are, 0 where the most are and where the label is missing. */
export function spreadScore(podClass: PodClass, node: NodeState, cluster: ClusterState): number {
  const constraints = constraintsOf(podClass);
  if (constraints.every(({ isHard }) => isHard)) return 100;
  const { domains, most, fewest } = summed(podClass, cluster);
  const crowd = crowdOf(constraints, domains, node);
  if (crowd === undefined) return 0;
  return most === fewest ? 100 : (100 * (most - crowd)) / (most - fewest);
}
