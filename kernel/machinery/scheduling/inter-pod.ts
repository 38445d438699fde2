/**
 * Inter-pod affinity and anti-affinity, with kube-scheduler's wording: the pod's own terms, the anti-affinity of the pods
 * that are there already, and the preferences of both sides as a score.
 */
import type { ClusterState, NodeState, PodClass, Verdict } from '../../contract/index.ts';
import type { Pod } from '../../contract/kubernetes.ts';
import { Domains, domainOf, summedOverNodes } from './node-parts.ts';
import { termsOf, type PodTerms } from './pod-terms.ts';

type Objection = Extract<Verdict, { fits: false }>;
const no = (resolvable: boolean, reason: string): Objection => ({ fits: false, reasons: [reason], resolvable });

const noAffinity = no(false, "node(s) didn't match pod affinity rules");
const noAntiAffinity = no(true, "node(s) didn't match pod anti-affinity rules");
const repelled = no(true, "node(s) didn't satisfy existing pods anti-affinity rules");

/** A required term of a pod that is there counts a little for those that it wants: kube-scheduler's hardPodAffinityWeight. */
const hardWeight = 1;

type Tally = readonly (readonly [topologyKey: string, amount: number])[];

interface Part {
  /** Pods that match every required affinity term. */
  readonly wanted: number;
  readonly unwanted: Tally;
  readonly repelling: Tally;
  readonly liking: Tally;
}

interface Sum {
  readonly terms: PodTerms;
  readonly wanted: Domains;
  readonly unwanted: Domains;
  readonly repelling: Domains;
  readonly repellingKeys: ReadonlySet<string>;
  /** By node. */
  readonly likingOf: ReadonlyMap<string, number>;
  readonly leastLiking: number;
  readonly mostLiking: number;
}

/** Terms of pods, parsed once: pods are frozen, and the same object as long as they do not change. */
const parsed = new WeakMap<Pod, { readonly namespaces: ClusterState['namespaces']; readonly terms: PodTerms }>();

function parsedTerms(pod: Pod, namespaces: ClusterState['namespaces']): PodTerms {
  let entry = parsed.get(pod);
  if (entry === undefined || entry.namespaces !== namespaces)
    parsed.set(pod, (entry = { namespaces, terms: termsOf(pod, namespaces) }));
  return entry.terms;
}

function partOf({ pod }: PodClass, node: NodeState, { namespaces }: ClusterState): Part {
  const terms = parsedTerms(pod, namespaces);
  let wanted = 0;
  const unwanted: (readonly [string, number])[] = [];
  const repelling: (readonly [string, number])[] = [];
  const liking: (readonly [string, number])[] = [];
  for (const other of node.pods.values()) {
    if (terms.affinity.length > 0 && terms.affinity.every((term) => term.matches(other))) wanted++;
    for (const term of terms.antiAffinity) if (term.matches(other)) unwanted.push([term.topologyKey, 1]);
    for (const term of terms.preferred) if (term.matches(other)) liking.push([term.topologyKey, term.weight]);
    const { affinity } = other.spec;
    if (affinity?.podAffinity === undefined && affinity?.podAntiAffinity === undefined) continue;
    const theirs = parsedTerms(other, namespaces);
    for (const term of theirs.antiAffinity) if (term.matches(pod)) repelling.push([term.topologyKey, 1]);
    for (const term of theirs.affinity) if (term.matches(pod)) liking.push([term.topologyKey, hardWeight]);
    for (const term of theirs.preferred) if (term.matches(pod)) liking.push([term.topologyKey, term.weight]);
  }
  return { wanted, unwanted, repelling, liking };
}

const summed = summedOverNodes<Part, Sum>(partOf, ({ pod }, parts) => {
  // Which keys, not which pods: the namespaces make no difference.
  const terms = termsOf(pod, undefined);
  const wanted = new Domains();
  const unwanted = new Domains();
  const repelling = new Domains();
  const repellingKeys = new Set<string>();
  const likes = new Domains();
  const likeKeys = new Set<string>();
  for (const [node, part] of parts) {
    if (part.wanted > 0) for (const { topologyKey } of terms.affinity) wanted.add(node, topologyKey, part.wanted);
    for (const [key, amount] of part.unwanted) unwanted.add(node, key, amount);
    for (const [key, amount] of part.repelling) {
      repelling.add(node, key, amount);
      repellingKeys.add(key);
    }
    for (const [key, amount] of part.liking) {
      likes.add(node, key, amount);
      likeKeys.add(key);
    }
  }
  const likingOf = new Map<string, number>();
  let least = Infinity;
  let most = -Infinity;
  for (const [node] of parts) {
    let liking = 0;
    for (const key of likeKeys) liking += likes.of(node, key);
    likingOf.set(node.name, liking);
    least = Math.min(least, liking);
    most = Math.max(most, liking);
  }
  return {
    terms,
    wanted,
    unwanted,
    repelling,
    repellingKeys,
    likingOf,
    leastLiking: least,
    mostLiking: most,
  };
});

/** The first pod of a group that wants its own kind must be let in somewhere. */
function isFirstOfItsKind(pod: Pod, { wanted }: Sum, cluster: ClusterState): boolean {
  return wanted.isEmpty && parsedTerms(pod, cluster.namespaces).affinity.every((term) => term.matches(pod));
}

export function interPodObjection(podClass: PodClass, node: NodeState, cluster: ClusterState): Objection | undefined {
  const sum = summed(podClass, cluster);
  const { terms } = sum;
  if (terms.affinity.some(({ topologyKey }) => domainOf(node, topologyKey) === undefined)) return noAffinity;
  const isWanted = terms.affinity.every(({ topologyKey }) => sum.wanted.of(node, topologyKey) > 0);
  if (!isWanted && !isFirstOfItsKind(podClass.pod, sum, cluster)) return noAffinity;
  if (terms.antiAffinity.some(({ topologyKey }) => sum.unwanted.of(node, topologyKey) > 0)) return noAntiAffinity;
  for (const key of sum.repellingKeys) if (sum.repelling.of(node, key) > 0) return repelled;
  return undefined;
}

/** 0 to 100, from the least to the most liked node; 100 when there is nothing to choose. */
export function interPodScore(podClass: PodClass, node: NodeState, cluster: ClusterState): number {
  const { likingOf, leastLiking, mostLiking } = summed(podClass, cluster);
  if (mostLiking === leastLiking) return 100;
  return (100 * ((likingOf.get(node.name) ?? leastLiking) - leastLiking)) / (mostLiking - leastLiking);
}
