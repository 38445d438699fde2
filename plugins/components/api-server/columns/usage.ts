/** Columns of metrics.k8s.io, as metrics-server names them. */
import type { NodeMetrics, PodMetrics } from '../../../../kernel/contract/kubernetes.ts';
import { byteCount, canonicalQuantity, cpuMillis } from '../../../../kernel/machinery/quantity.ts';
import { nameColumn, table, text } from './column.ts';

const columns = [
  nameColumn,
  { ...text('cpu', 'CPU in use.'), format: 'quantity' },
  { ...text('memory', 'Working set.'), format: 'quantity' },
  { ...text('window', 'Time over which CPU use was measured.'), format: 'duration' },
];

const nodeMetrics = table<NodeMetrics>(columns, ({ metadata, usage, window }) => [
  metadata.name,
  usage['cpu'] ?? '0',
  usage['memory'] ?? '0',
  window,
]);

const podMetrics = table<PodMetrics>(columns, ({ metadata, containers, window }) => [
  metadata.name,
  `${containers.reduce((sum, { usage }) => sum + cpuMillis(usage['cpu'] ?? '0'), 0)}m`,
  canonicalQuantity(`${containers.reduce((sum, { usage }) => sum + byteCount(usage['memory'] ?? '0'), 0) / 1024}Ki`),
  window,
]);

export const usageColumns = {
  'metrics.k8s.io/nodes': nodeMetrics,
  'metrics.k8s.io/pods': podMetrics,
};
