/** Tells in a namespace's conditions what keeps it, in the words of Kubernetes' namespace controller. */
import type { Namespace, NamespaceCondition } from '../../../kernel/contract/kubernetes.ts';
import { apiTime } from '../../../kernel/machinery/clock.ts';
import { setCondition } from '../../../kernel/machinery/metadata.ts';
import type { Remaining } from './delete-content.ts';

/** Undefined when the namespace says so already. */
export function deletionConditions(
  namespace: Namespace,
  remaining: readonly Remaining[],
  now: number,
): readonly NamespaceCondition[] | undefined {
  const failures = remaining.filter(({ failure }) => failure !== undefined);
  const kept = remaining.filter(({ count }) => count > 0);
  const finalizers = new Map<string, number>();
  for (const { finalizers: held } of kept)
    for (const [name, count] of held) finalizers.set(name, (finalizers.get(name) ?? 0) + count);
  const wanted: readonly NamespaceCondition[] = [
    failures.length > 0
      ? condition(
          'NamespaceDeletionContentFailure',
          true,
          'ContentDeletionFailed',
          `Failed to delete all resource types, ${failures.length} remaining: ${failures.map(({ resource, failure }) => `${resource}: ${failure}`).join('; ')}`,
        )
      : condition(
          'NamespaceDeletionContentFailure',
          false,
          'ContentDeleted',
          'All content successfully deleted, may be waiting on finalization',
        ),
    kept.length > 0
      ? condition(
          'NamespaceContentRemaining',
          true,
          'SomeResourcesRemain',
          `Some resources are remaining: ${kept.map(({ resource, count }) => `${resource} has ${count} resource instances`).join(', ')}`,
        )
      : condition('NamespaceContentRemaining', false, 'ContentRemoved', 'All content successfully removed'),
    finalizers.size > 0
      ? condition(
          'NamespaceFinalizersRemaining',
          true,
          'SomeFinalizersRemain',
          `Some content in the namespace has finalizers remaining: ${[...finalizers].map(([name, count]) => `${name} in ${count} resource instances`).join(', ')}`,
        )
      : condition(
          'NamespaceFinalizersRemaining',
          false,
          'ContentHasNoFinalizers',
          'All content-preserving finalizers finished',
        ),
  ];
  const before = namespace.status?.conditions;
  // A namespace that is empty at once needs no conditions for its last moment.
  if (remaining.length === 0 && before === undefined) return undefined;
  let conditions: readonly NamespaceCondition[] = before ?? [];
  for (const one of wanted) conditions = setCondition(conditions, one, apiTime(now));
  return conditions === before ? undefined : conditions;
}

function condition(type: string, isTrue: boolean, reason: string, message: string): NamespaceCondition {
  return { type, status: isTrue ? 'True' : 'False', reason, message };
}
