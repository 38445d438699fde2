/** The process itself, for processes that do not load prom-client (70 ms, 12 MB). */
import { metricText } from './metric-text.ts';

export function ownProcessMetrics(): string {
  const { user, system } = process.cpuUsage();
  return [
    metricText('process_cpu_seconds_total', 'counter', 'CPU time of this process.', (user + system) / 1e6),
    metricText('process_resident_memory_bytes', 'gauge', 'Memory of this process.', process.memoryUsage.rss()),
    metricText(
      'process_start_time_seconds',
      'gauge',
      'When this process started, since 1970.',
      Math.round(performance.timeOrigin) / 1000,
    ),
  ].join('');
}
