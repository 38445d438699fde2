/** Taints and tolerations. */
import type { Node, Taint, Toleration } from '../../contract/kubernetes.ts';

export const unschedulableTaint: Taint = { key: 'node.kubernetes.io/unschedulable', effect: 'NoSchedule' };

const integer = /^-?\d+$/;

export function tolerates(toleration: Toleration, taint: Taint): boolean {
  if (toleration.effect !== undefined && toleration.effect !== '' && toleration.effect !== taint.effect) return false;
  const key = toleration.key ?? '';
  // An empty key with Exists tolerates every taint.
  if (key !== '' && key !== taint.key) return false;
  const value = toleration.value ?? '';
  const actual = taint.value ?? '';
  switch (toleration.operator ?? 'Equal') {
    case '':
    case 'Equal':
      return key !== '' && value === actual;
    case 'Exists':
      return true;
    case 'Gt':
    case 'Lt': {
      if (!integer.test(value) || !integer.test(actual)) return false;
      return toleration.operator === 'Gt' ? BigInt(actual) > BigInt(value) : BigInt(actual) < BigInt(value);
    }
    default:
      return false;
  }
}

/** The first taint of one of these effects that no toleration covers. */
export function untoleratedTaint(
  taints: readonly Taint[] | undefined,
  tolerations: readonly Toleration[] | undefined,
  effects: readonly string[],
): Taint | undefined {
  return taints?.find(
    (taint) =>
      effects.includes(taint.effect) && !(tolerations ?? []).some((toleration) => tolerates(toleration, taint)),
  );
}

/** How many PreferNoSchedule taints of the node the pod does not tolerate. */
export function dislikedTaints(node: Node, tolerations: readonly Toleration[] | undefined): number {
  return (node.spec.taints ?? []).filter(
    (taint) => untoleratedTaint([taint], tolerations, ['PreferNoSchedule']) !== undefined,
  ).length;
}
