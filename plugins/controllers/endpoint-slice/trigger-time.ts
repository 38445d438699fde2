/**
 * Says on each slice when what it was written for happened, so that a proxy can tell how long it took to reach its rules
 * (kubeproxy_network_programming_duration_seconds).
 */
import type { Pod, Service } from '../../../kernel/contract/kubernetes.ts';
import { findCondition } from '../../../kernel/machinery/metadata.ts';

const annotation = 'endpoints.kubernetes.io/last-change-trigger-time';

/** The newest of: a pod became ready or not, a pod was told to end, the Service was made. API times: they sort as text. */
export function lastChange(service: Service, pods: readonly Pod[]): string {
  const times = pods.flatMap((pod) => [
    findCondition(pod.status?.conditions, 'Ready')?.lastTransitionTime,
    // The deletion time lies ahead by the grace that the pod was given.
    pod.metadata.deletionTimestamp === undefined
      ? undefined
      : `${new Date(Date.parse(pod.metadata.deletionTimestamp) - (pod.metadata.deletionGracePeriodSeconds ?? 0) * 1000).toISOString().slice(0, 19)}Z`,
  ]);
  return [service.metadata.creationTimestamp, ...times]
    .filter((time): time is string => time !== undefined)
    .reduce((newest, time) => (time > newest ? time : newest), '');
}

export function triggerAnnotations(
  before: Readonly<Record<string, string>> | undefined,
  changedAt: string | undefined,
): Record<string, string> {
  if (changedAt === undefined || changedAt <= (before?.[annotation] ?? '')) return { ...before };
  return { ...before, [annotation]: changedAt };
}
