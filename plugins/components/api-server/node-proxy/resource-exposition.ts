/** A kubelet's /metrics/resource: what metrics-server and others scrape to know who uses how much. */
import type { NodeUsage } from '../../../../kernel/contract/index.ts';
import { metricText, type Sample } from '../../../../kernel/machinery/metrics/metric-text.ts';

export function resourceExposition({ cpu, memory, pods }: NodeUsage): string {
  const containers = pods.flatMap(({ namespace, name: pod, containers: each }) =>
    each.map((usage) => ({ usage, labels: { container: usage.name, namespace, pod } })),
  );
  const ofContainers = (value: (usage: (typeof containers)[number]['usage']) => number): readonly Sample[] =>
    containers.map(({ usage, labels }) => ({ labels, value: value(usage) }));
  const ofPods = (value: (usage: (typeof containers)[number]['usage']) => number): readonly Sample[] =>
    pods.map(({ namespace, name: pod, containers: each }) => ({
      labels: { namespace, pod },
      value: each.reduce((sum, usage) => sum + value(usage), 0),
    }));
  const seconds = (nanos: number): number => nanos / 1e9;
  return [
    metricText(
      'container_cpu_usage_seconds_total',
      'counter',
      'CPU time that the container has used.',
      ofContainers((usage) => seconds(usage.cpu.totalNanos)),
    ),
    metricText(
      'container_memory_working_set_bytes',
      'gauge',
      'Working set of the container.',
      ofContainers((usage) => usage.memory.workingSetBytes),
    ),
    metricText(
      'container_start_time_seconds',
      'gauge',
      'When the container was started, since 1970.',
      ofContainers((usage) => usage.startedMs / 1000),
    ),
    metricText('node_cpu_usage_seconds_total', 'counter', 'CPU time that the node has used.', seconds(cpu.totalNanos)),
    metricText('node_memory_working_set_bytes', 'gauge', 'Working set of the node.', memory.workingSetBytes),
    metricText(
      'pod_cpu_usage_seconds_total',
      'counter',
      'CPU time that the containers of the pod have used.',
      ofPods((usage) => seconds(usage.cpu.totalNanos)),
    ),
    metricText(
      'pod_memory_working_set_bytes',
      'gauge',
      'Working set of the containers of the pod.',
      ofPods((usage) => usage.memory.workingSetBytes),
    ),
    metricText('resource_scrape_error', 'gauge', '1 if these figures could not be had.', 0),
  ].join('');
}
