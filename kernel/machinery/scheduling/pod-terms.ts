/** Pod affinity terms and spread constraints, made ready to be asked of many pods: selectors parsed, namespaces resolved. */
import type { ClusterState } from '../../contract/index.ts';
import type { LabelSelector, Pod, PodAffinityTerm } from '../../contract/kubernetes.ts';
import { labelSelector, type Selector } from '../selectors.ts';

/** The selector with the requirements that `matchLabelKeys` add for a pod of these labels (KEP-3243, KEP-3633). */
export function selectorFor(
  selector: LabelSelector | undefined,
  labels: Readonly<Record<string, string>> = {},
  matchKeys: readonly string[] = [],
  mismatchKeys: readonly string[] = [],
): Selector {
  if (selector === undefined) return labelSelector(undefined);
  const require = (keys: readonly string[], operator: string) =>
    keys.filter((key) => Object.hasOwn(labels, key)).map((key) => ({ key, operator, values: [labels[key] as string] }));
  return labelSelector({
    ...selector,
    matchExpressions: [
      ...(selector.matchExpressions ?? []),
      ...require(matchKeys, 'In'),
      ...require(mismatchKeys, 'NotIn'),
    ],
  });
}

export interface Term {
  readonly topologyKey: string;
  matches(pod: Pod): boolean;
}

/** A term of `owner`. Without namespaces it is about the owner's own; an empty namespaceSelector is about all. */
export function termOf(term: PodAffinityTerm, owner: Pod, namespaces: ClusterState['namespaces']): Term {
  const { topologyKey, labelSelector: wanted, matchLabelKeys, mismatchLabelKeys, namespaceSelector } = term;
  const selector = selectorFor(wanted, owner.metadata.labels, matchLabelKeys, mismatchLabelKeys);
  const named = new Set(term.namespaces ?? []);
  if (named.size === 0 && namespaceSelector === undefined) named.add(owner.metadata.namespace);
  const chosen = namespaceSelector === undefined ? undefined : labelSelector(namespaceSelector);
  const isIn = (namespace: string) =>
    named.has(namespace) ||
    (chosen !== undefined &&
      (chosen.isEverything || (namespaces?.has(namespace) === true && chosen.matches(namespaces.get(namespace)))));
  return {
    topologyKey,
    matches: ({ metadata }) => isIn(metadata.namespace) && selector.matches(metadata.labels),
  };
}

export interface WeighedTerm extends Term {
  readonly weight: number;
}

export interface PodTerms {
  readonly affinity: readonly Term[];
  readonly antiAffinity: readonly Term[];
  /** Anti-affinity has negative weight. */
  readonly preferred: readonly WeighedTerm[];
}

export function termsOf(pod: Pod, namespaces: ClusterState['namespaces']): PodTerms {
  const { podAffinity, podAntiAffinity } = pod.spec.affinity ?? {};
  const one = (term: PodAffinityTerm) => termOf(term, pod, namespaces);
  return {
    affinity: (podAffinity?.requiredDuringSchedulingIgnoredDuringExecution ?? []).map(one),
    antiAffinity: (podAntiAffinity?.requiredDuringSchedulingIgnoredDuringExecution ?? []).map(one),
    preferred: [
      ...(podAffinity?.preferredDuringSchedulingIgnoredDuringExecution ?? []).map(({ weight, podAffinityTerm }) => ({
        ...one(podAffinityTerm),
        weight,
      })),
      ...(podAntiAffinity?.preferredDuringSchedulingIgnoredDuringExecution ?? []).map(
        ({ weight, podAffinityTerm }) => ({ ...one(podAffinityTerm), weight: -weight }),
      ),
    ],
  };
}

export function hasAntiAffinity(pod: Pod): boolean {
  return (pod.spec.affinity?.podAntiAffinity?.requiredDuringSchedulingIgnoredDuringExecution?.length ?? 0) > 0;
}
