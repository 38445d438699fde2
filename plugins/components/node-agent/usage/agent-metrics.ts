/** What the agent says of itself, under a kubelet's names where there are such. */
import type { NodeUsage, Overlay, Runtime } from '../../../../kernel/contract/index.ts';
import { metricText } from '../../../../kernel/machinery/metrics/metric-text.ts';
import { ownProcessMetrics } from '../../../../kernel/machinery/metrics/process-metrics.ts';
import { workQueueMetrics } from '../../../../kernel/machinery/metrics/work-queue-metrics.ts';

export interface AgentMetricsParts {
  readonly nodeName: string;
  readonly runtime: Pick<Runtime, 'listContainers' | 'listSandboxes' | 'status'>;
  readonly overlay: Pick<Overlay, 'status' | 'counters'>;
  readonly usage: { latest(): NodeUsage; readonly sampleSeconds: number };
  /** By resource. */
  readonly evictions: ReadonlyMap<string, number>;
}

export async function agentMetrics(parts: AgentMetricsParts): Promise<string> {
  const { runtime, overlay, usage, evictions, nodeName } = parts;
  const states = new Map<string, number>([
    ['created', 0],
    ['exited', 0],
    ['running', 0],
  ]);
  for (const { state } of await runtime.listContainers()) states.set(state, (states.get(state) ?? 0) + 1);
  const sandboxes = await runtime.listSandboxes();
  const { peers, repairs, mtuBytes, uses = {} } = overlay.status();
  const counted = (await overlay.counters?.()) ?? {};
  const ready = peers.filter((peer) => peer.ready).length;
  return [
    metricText('kubelet_node_name', 'gauge', 'The name of this node.', [{ labels: { node: nodeName }, value: 1 }]),
    metricText(
      'kubelet_running_pods',
      'gauge',
      'Pods with a sandbox that is ready.',
      sandboxes.filter((sandbox) => sandbox.ready).length,
    ),
    metricText(
      'kubelet_running_containers',
      'gauge',
      'Containers by state.',
      [...states].map(([state, value]) => ({ labels: { container_state: state }, value })),
    ),
    metricText(
      'kubelet_evictions',
      'counter',
      'Pods that the node ended for its own sake, by what it was short of.',
      [...evictions].map(([signal, value]) => ({ labels: { eviction_signal: signal }, value })),
    ),
    metricText('pintle_runtime_ready', 'gauge', '1 when containers can be run.', runtime.status().ready ? 1 : 0),
    metricText(
      'pintle_usage_sample_seconds',
      'gauge',
      'How long the last sampling of usage took.',
      usage.sampleSeconds,
    ),
    metricText('pintle_overlay_peers', 'gauge', 'Nodes that the overlay knows, by whether pods there are reached.', [
      { labels: { ready: 'true' }, value: ready },
      { labels: { ready: 'false' }, value: peers.length - ready },
    ]),
    metricText(
      'pintle_overlay_repairs_total',
      'counter',
      'Times that the overlay was found damaged and mended.',
      repairs,
    ),
    metricText('pintle_overlay_mtu_bytes', 'gauge', 'What pods may send without fragmentation.', mtuBytes),
    metricText(
      'pintle_overlay_uses',
      'gauge',
      'What of its kernel the data path of the overlay uses.',
      Object.entries(uses).map(([feature, choice]) => ({ labels: { feature, choice }, value: 1 })),
    ),
    metricText(
      'pintle_overlay_events_total',
      'counter',
      'What the data path of the overlay has counted since it began.',
      Object.entries(counted).map(([event, value]) => ({ labels: { event }, value })),
    ),
    workQueueMetrics(),
    ownProcessMetrics(),
  ].join('');
}
