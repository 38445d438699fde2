/**
 * What a pod's claims ask of a node, as plain data: pure functions over it and a node say whether the node fits, and which
 * volume or which provisioner each claim would get there. Wording is kube-scheduler's.
 */
import type { Node, NodeSelectorTerm, TopologySelectorTerm } from '../../../kernel/contract/kubernetes.ts';
import { matchesNodeTerm } from '../../../kernel/machinery/scheduling/node-selection.ts';

export interface UnboundClaim {
  /** "namespace/name" */
  readonly key: string;
  /** The node that was chosen for it before; its volume is being made there. */
  readonly node: string | undefined;
  /** Volumes that it could have, the best first. */
  readonly volumes: readonly { readonly name: string; readonly terms: readonly NodeSelectorTerm[] | undefined }[];
  readonly canProvision: boolean;
  /** Where its class makes volumes; undefined: everywhere. */
  readonly topologies: readonly TopologySelectorTerm[] | undefined;
}

export interface VolumeNeeds {
  /** Why no node is asked at all. */
  readonly blocked: string | undefined;
  /** Why every node is unfit. */
  readonly conflict: string | undefined;
  /** For each bound volume with a node affinity, its terms. */
  readonly bound: readonly (readonly NodeSelectorTerm[])[];
  readonly unbound: readonly UnboundClaim[];
}

/** What a claim gets: this volume, or, undefined, one that is made for it on the node. */
export interface Assignment {
  readonly claim: string;
  readonly volume: string | undefined;
}

const nodeConflict = 'node(s) had volume node affinity conflict';
const noVolume = "node(s) didn't find available persistent volumes to bind";

const matchesOne = (terms: readonly NodeSelectorTerm[] | undefined, node: Node): boolean =>
  terms === undefined || terms.some((term) => matchesNodeTerm(term, node));

function isWithin(topologies: readonly TopologySelectorTerm[] | undefined, node: Node): boolean {
  const labels = node.metadata.labels ?? {};
  return (
    topologies === undefined ||
    topologies.some(({ matchLabelExpressions = [] }) =>
      matchLabelExpressions.every(({ key, values }) => values.includes(labels[key] ?? '')),
    )
  );
}

/** What each unbound claim would get on this node, no volume twice; undefined when one gets nothing. */
export function assign({ unbound }: VolumeNeeds, node: Node): readonly Assignment[] | undefined {
  const taken = new Set<string>();
  const assignments: Assignment[] = [];
  const choices = ({ canProvision, volumes }: UnboundClaim): number => (canProvision ? Infinity : volumes.length);
  // Those with the least choice first.
  for (const claim of unbound.toSorted((a, b) => (choices(a) < choices(b) ? -1 : choices(a) > choices(b) ? 1 : 0))) {
    if (claim.node !== undefined && claim.node !== node.metadata.name) return undefined;
    const volume =
      claim.node === undefined
        ? claim.volumes.find(({ name, terms }) => !taken.has(name) && matchesOne(terms, node))?.name
        : undefined;
    if (volume !== undefined) taken.add(volume);
    else if (!claim.canProvision || !isWithin(claim.topologies, node)) return undefined;
    assignments.push({ claim: claim.key, volume });
  }
  return assignments;
}

/** Why the node does not fit, or undefined. */
export function volumeObjection(needs: VolumeNeeds, node: Node): string | undefined {
  if (needs.conflict !== undefined) return needs.conflict;
  if (!needs.bound.every((terms) => matchesOne(terms, node))) return nodeConflict;
  if (needs.unbound.length > 0 && assign(needs, node) === undefined) return noVolume;
  return undefined;
}
