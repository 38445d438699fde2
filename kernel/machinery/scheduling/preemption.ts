/**
 * Which pods must go so that a more important one fits, judged as kube-scheduler does: per node the least that is needed,
 * then the node where it hurts least. Pure: whoever asks does the deleting.
 */
import type { ClusterState, NodeState, PodClass, SchedulerPolicy } from '../../contract/index.ts';
import type { Pod, PodDisruptionBudget } from '../../contract/kubernetes.ts';
import { labelSelector } from '../selectors.ts';
import { addAmounts, hostPortKey, podHostPorts, podRequests, subtractAmounts } from './pod-requests.ts';

export interface PreemptionPlan {
  readonly nodeName: string;
  /** The most important first. */
  readonly victims: readonly Pod[];
  /** How many of them a disruption budget would have kept. */
  readonly violations: number;
}

/** Either a plan, or for each reason how many nodes it rules out. */
export type PreemptionAnswer =
  | { readonly plan: PreemptionPlan; readonly reasons?: undefined }
  | { readonly plan?: undefined; readonly reasons: ReadonlyMap<string, number> };

const notHelpful = 'Preemption is not helpful for scheduling';
const noVictims = 'No preemption victims found for incoming pod';

/** For a pod that matters more than no other: how many nodes could be helped if there were one, and how many could not. */
export function helplessReasons(resolvable: number, unresolvable: number): ReadonlyMap<string, number> {
  return new Map(
    [[noVictims, resolvable] as const, [notHelpful, unresolvable] as const].filter(([, count]) => count > 0),
  );
}

/** Of many nodes not all are tried: kube-scheduler's tenth, and at least a hundred. */
const leastCandidates = 100;
const candidatePart = 0.1;

export const priorityOf = (pod: Pod): number => pod.spec.priority ?? 0;
const startOf = (pod: Pod): string => pod.status?.startTime ?? pod.metadata.creationTimestamp ?? '';

/** More important first: by priority, then by age. */
const byImportance = (a: Pod, b: Pod): number =>
  priorityOf(b) - priorityOf(a) || (startOf(a) < startOf(b) ? -1 : startOf(a) > startOf(b) ? 1 : 0);

export function planPreemption(
  podClass: PodClass,
  policy: SchedulerPolicy,
  cluster: ClusterState,
  options: { readonly priority: number; readonly budgets: readonly PodDisruptionBudget[] },
): PreemptionAnswer {
  const reasons = new Map<string, number>();
  const ruleOut = (reason: string) => reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
  const enough = Math.max(leastCandidates, Math.floor(candidatePart * cluster.nodes.size));
  const plans: PreemptionPlan[] = [];
  for (const node of cluster.nodes.values()) {
    const verdict = policy.filter(podClass, node, cluster);
    if (verdict.fits || !verdict.resolvable) ruleOut(notHelpful);
    else {
      const plan = planOn(podClass, policy, node, cluster, options);
      if (plan === undefined) ruleOut(noVictims);
      else if (plans.push(plan) >= enough) break;
    }
  }
  const best = plans.length === 0 ? undefined : plans.reduce((least, plan) => (hurtsLess(plan, least) ? plan : least));
  return best === undefined ? { reasons } : { plan: best };
}

function planOn(
  podClass: PodClass,
  policy: SchedulerPolicy,
  node: NodeState,
  cluster: ClusterState,
  { priority, budgets }: { readonly priority: number; readonly budgets: readonly PodDisruptionBudget[] },
): PreemptionPlan | undefined {
  const lower = [...node.pods].filter(([, pod]) => priorityOf(pod) < priority);
  if (lower.length === 0) return undefined;
  const fits = (state: NodeState) =>
    policy.filter(podClass, state, podClass.local ? cluster : withNode(cluster, state)).fits;
  let state = withoutPods(node, new Set(lower.map(([key]) => key)));
  if (!fits(state)) return undefined;
  const ordered = lower.toSorted(([, a], [, b]) => byImportance(a, b));
  const protectedKeys = beyondBudgets(ordered, budgets);
  // Those that a budget protects are let back first: they have the best chance to stay.
  const candidates = [
    ...ordered.filter(([key]) => protectedKeys.has(key)),
    ...ordered.filter(([key]) => !protectedKeys.has(key)),
  ];
  const victims: Pod[] = [];
  let violations = 0;
  for (const [key, pod] of candidates) {
    const again = withPod(state, key, pod);
    if (fits(again)) state = again;
    else {
      victims.push(pod);
      if (protectedKeys.has(key)) violations++;
    }
  }
  if (victims.length === 0) return undefined;
  return { nodeName: node.name, victims: victims.toSorted(byImportance), violations };
}

/** Keys of the pods whose eviction, in this order, goes beyond what a budget allows. */
function beyondBudgets(
  pods: readonly (readonly [string, Pod])[],
  budgets: readonly PodDisruptionBudget[],
): ReadonlySet<string> {
  const left = budgets.map((budget) => ({
    namespace: budget.metadata.namespace,
    selector: labelSelector(budget.spec?.selector),
    disrupted: budget.status?.disruptedPods ?? {},
    allowed: budget.status?.disruptionsAllowed ?? 0,
  }));
  const beyond = new Set<string>();
  for (const [key, { metadata }] of pods)
    for (const budget of left) {
      if (budget.namespace !== metadata.namespace || !budget.selector.matches(metadata.labels)) continue;
      if (Object.hasOwn(budget.disrupted, metadata.name)) continue;
      if (--budget.allowed < 0) beyond.add(key);
    }
  return beyond;
}

function hurtsLess(a: PreemptionPlan, b: PreemptionPlan): boolean {
  const of = ({ victims, violations }: PreemptionPlan) => {
    const highest = priorityOf(victims[0]!);
    // Priorities may be negative; each is counted from the least that there is.
    const sum = victims.reduce((total, pod) => total + priorityOf(pod) + 2 ** 31, 0);
    const earliest = victims
      .filter((pod) => priorityOf(pod) === highest)
      .map(startOf)
      .reduce((first, each) => (each < first ? each : first));
    return { ranks: [violations, highest, sum, victims.length] as const, earliest };
  };
  const left = of(a);
  const right = of(b);
  for (const [index, rank] of left.ranks.entries()) {
    const other = right.ranks[index]!;
    if (rank !== other) return rank < other;
  }
  // The most important ones that started last have the least to lose.
  return left.earliest > right.earliest;
}

/** Generations of states that are only thought of: none is ever a node's own. */
let imagined = 0;

function withoutPods(node: NodeState, keys: ReadonlySet<string>): NodeState {
  const requested = { ...node.requested };
  const pods = new Map<string, Pod>();
  for (const [key, pod] of node.pods)
    if (keys.has(key)) subtractAmounts(requested, podRequests(pod));
    else pods.set(key, pod);
  return { ...node, generation: --imagined, requested, pods, hostPorts: portsOf(pods.values()) };
}

function withPod(node: NodeState, key: string, pod: Pod): NodeState {
  const requested = { ...node.requested };
  addAmounts(requested, podRequests(pod));
  const hostPorts = new Set([...node.hostPorts, ...podHostPorts(pod).map(hostPortKey)]);
  return { ...node, generation: --imagined, requested, pods: new Map(node.pods).set(key, pod), hostPorts };
}

function portsOf(pods: Iterable<Pod>): ReadonlySet<string> {
  return new Set([...pods].flatMap((pod) => podHostPorts(pod).map(hostPortKey)));
}

function withNode(cluster: ClusterState, node: NodeState): ClusterState {
  return { nodes: new Map(cluster.nodes).set(node.name, node), namespaces: cluster.namespaces };
}
