/** What the pods of a selector use of a resource, from metrics.k8s.io. By pod name, in thousandths. */
import type { Cluster } from '../../../kernel/contract/index.ts';
import type { PodMetrics } from '../../../kernel/contract/kubernetes.ts';
import { parseDurationMs } from './duration.ts';
import { resources } from '../../../kernel/machinery/resources.ts';
import type { PodUse } from './pod-groups.ts';
import { CannotCompute, thousandths } from './replica-calculator.ts';

export interface UseQuestion {
  readonly namespace: string;
  readonly selector: string;
  readonly resource: string;
  readonly container?: string | undefined;
}

export async function podUses(cluster: Cluster, question: UseQuestion): Promise<ReadonlyMap<string, PodUse>> {
  const { namespace, selector, resource } = question;
  const unable = (why: string): CannotCompute =>
    new CannotCompute(`unable to get metrics for resource ${resource}: ${why}`);
  let items: readonly PodMetrics[];
  try {
    ({ items } = await cluster.list(resources.podMetrics, { namespace, labelSelector: selector }));
  } catch (error) {
    throw unable(
      `unable to fetch metrics from resource metrics API: ${error instanceof Error ? error.message : String(error)}`,
    );
  }
  if (items.length === 0) throw unable('no metrics returned from resource metrics API');
  const uses = new Map<string, PodUse>();
  for (const pod of items) {
    const value = valueOf(pod, question);
    if (value === undefined) continue;
    uses.set(pod.metadata.name, {
      value,
      timeMs: Date.parse(pod.timestamp),
      windowMs: parseDurationMs(pod.window) ?? 0,
    });
  }
  if (uses.size === 0) throw unable('no metrics returned from resource metrics API');
  return uses;
}

/** Undefined when the pod's sum cannot be told. */
function valueOf(pod: PodMetrics, { resource, container, namespace }: UseQuestion): number | undefined {
  const chosen = container === undefined ? pod.containers : pod.containers.filter(({ name }) => name === container);
  if (container !== undefined && chosen.length === 0)
    throw new CannotCompute(
      `unable to get metrics for resource ${resource}: failed to get container metrics: container ${container} not present in metrics for pod ${namespace}/${pod.metadata.name}`,
    );
  let sum = 0;
  for (const { usage } of chosen) {
    const quantity = usage[resource];
    if (quantity === undefined) return undefined;
    sum += thousandths(quantity);
  }
  return sum;
}
