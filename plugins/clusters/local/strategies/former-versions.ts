/**
 * policy/v1beta1 and batch/v1beta1, which kubectl 1.20 names: the objects of v1 under another name. One thing differs: an
 * empty selector of a budget chooses every pod in v1 and none in v1beta1, which upstream's conversion marks like this.
 */
import type { KubernetesObject } from '../../../../kernel/contract/index.ts';
import type { PodDisruptionBudget } from '../../../../kernel/contract/kubernetes.ts';

const nothing = { key: 'pdb.kubernetes.io/deprecated-v1beta1-empty-selector-match', operator: 'Exists' };

export const renamed =
  <T extends KubernetesObject>(apiVersion: string) =>
  (object: T): T => ({ ...object, apiVersion });

export function budgetFromStored(stored: PodDisruptionBudget): PodDisruptionBudget {
  const { matchLabels, matchExpressions } = stored.spec?.selector ?? {};
  const isNothing = !matchLabels && matchExpressions?.length === 1 && matchExpressions[0]?.key === nothing.key;
  return {
    ...stored,
    apiVersion: 'policy/v1beta1',
    ...(isNothing && { spec: { ...stored.spec, selector: {} } }),
  };
}

export function budgetToStored(shown: PodDisruptionBudget): PodDisruptionBudget {
  const { selector } = shown.spec ?? {};
  const isEmpty =
    selector !== undefined &&
    Object.keys(selector.matchLabels ?? {}).length === 0 &&
    (selector.matchExpressions ?? []).length === 0;
  return {
    ...shown,
    apiVersion: 'policy/v1',
    ...(isEmpty && { spec: { ...shown.spec, selector: { matchExpressions: [nothing] } } }),
  };
}
