/** Node selectors and node affinity: does a pod want this node, and how much. */
import type { Node, NodeSelectorRequirement, NodeSelectorTerm, Pod } from '../../contract/kubernetes.ts';

const integer = /^[+-]?\d+$/;

function meets({ operator, values = [] }: NodeSelectorRequirement, actual: string | undefined): boolean {
  switch (operator) {
    case 'In':
      return actual !== undefined && values.includes(actual);
    case 'NotIn':
      return actual === undefined || !values.includes(actual);
    case 'Exists':
      return actual !== undefined;
    case 'DoesNotExist':
      return actual === undefined;
    case 'Gt':
    case 'Lt': {
      const [bound] = values;
      if (actual === undefined || bound === undefined || values.length !== 1) return false;
      if (!integer.test(actual) || !integer.test(bound)) return false;
      return operator === 'Gt' ? BigInt(actual) > BigInt(bound) : BigInt(actual) < BigInt(bound);
    }
    default:
      return false;
  }
}

/** All expressions and fields must hold. A term without any matches no node, as the API defines. */
export function matchesNodeTerm(term: NodeSelectorTerm, node: Node): boolean {
  const expressions = term.matchExpressions ?? [];
  const fields = term.matchFields ?? [];
  if (expressions.length === 0 && fields.length === 0) return false;
  const labels = node.metadata.labels ?? {};
  return (
    expressions.every((expression) =>
      meets(expression, Object.hasOwn(labels, expression.key) ? labels[expression.key] : undefined),
    ) && fields.every((field) => field.key === 'metadata.name' && meets(field, node.metadata.name))
  );
}

/** spec.nodeSelector and the required node affinity, of whose terms one must match. */
export function matchesNodeSelection(pod: Pod, node: Node): boolean {
  const labels = node.metadata.labels ?? {};
  for (const [key, value] of Object.entries(pod.spec.nodeSelector ?? {}))
    if (!Object.hasOwn(labels, key) || labels[key] !== value) return false;
  const required = pod.spec.affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution;
  if (required === undefined) return true;
  return required.nodeSelectorTerms.some((term) => matchesNodeTerm(term, node));
}

/** The weights of the preferred terms that match, as a part (0 to 1) of all weights; undefined without preferences. */
export function nodePreference(pod: Pod, node: Node): number | undefined {
  const preferred = pod.spec.affinity?.nodeAffinity?.preferredDuringSchedulingIgnoredDuringExecution ?? [];
  let matching = 0;
  let all = 0;
  for (const { weight, preference } of preferred) {
    if (weight <= 0) continue;
    all += weight;
    if (matchesNodeTerm(preference, node)) matching += weight;
  }
  return all === 0 ? undefined : matching / all;
}
