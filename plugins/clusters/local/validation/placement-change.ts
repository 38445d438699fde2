/** A pod that waits for its scheduling gates may be given narrower placement, and never wider (KEP-3838). */
import type { NodeAffinity, NodeSelectorTerm, PodSpec } from '../../../../kernel/contract/kubernetes.ts';
import { sameJson } from '../state/frozen-json.ts';
import type { FieldErrors } from './field-errors.ts';

export function validatePlacementChange(spec: PodSpec, old: PodSpec, errors: FieldErrors): void {
  const { nodeSelector = {} } = spec;
  const isNarrower = Object.entries(old.nodeSelector ?? {}).every(([key, value]) => nodeSelector[key] === value);
  if (!isNarrower)
    errors.invalid(
      'spec.nodeSelector',
      nodeSelector,
      'only additions to spec.nodeSelector are allowed (no mutations or deletions)',
    );
  validateTerms(requiredTerms(spec.affinity?.nodeAffinity), requiredTerms(old.affinity?.nodeAffinity), errors);
}

const requiredTerms = (affinity: NodeAffinity | undefined): readonly NodeSelectorTerm[] =>
  affinity?.requiredDuringSchedulingIgnoredDuringExecution?.nodeSelectorTerms ?? [];

/** Terms are alternatives: one more is wider. What a term asks for are conditions: one more is narrower. */
function validateTerms(
  terms: readonly NodeSelectorTerm[],
  old: readonly NodeSelectorTerm[],
  errors: FieldErrors,
): void {
  if (old.length === 0) return;
  const field = 'spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms';
  if (terms.length !== old.length) {
    errors.invalid(field, terms, 'no additions/deletions to non-empty NodeSelectorTerms list are allowed');
    return;
  }
  for (const [index, before] of old.entries())
    if (!hasOnlyMore(terms[index] ?? {}, before))
      errors.invalid(`${field}[${index}]`, terms[index], 'only additions are allowed (no mutations or deletions)');
}

function hasOnlyMore(term: NodeSelectorTerm, old: NodeSelectorTerm): boolean {
  const parts = (of: NodeSelectorTerm) => [of.matchExpressions ?? [], of.matchFields ?? []] as const;
  // An empty term selects nothing, so that any condition would be wider.
  if (parts(old).every((part) => part.length === 0)) return parts(term).every((part) => part.length === 0);
  return parts(old).every((part, index) =>
    part.every((requirement, at) => sameJson(requirement, parts(term)[index]?.[at])),
  );
}
