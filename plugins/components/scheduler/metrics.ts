/** The scheduler's counters in Prometheus text, under kube-scheduler's names. */
import type { SchedulingLoop } from './scheduling-loop.ts';

export function schedulerMetrics(loop: SchedulingLoop | undefined): string {
  if (loop === undefined) return '';
  const lines = [
    '# HELP scheduler_schedule_attempts_total Attempts to place a pod, by result.',
    '# TYPE scheduler_schedule_attempts_total counter',
    ...Object.entries(loop.counts).map(
      ([result, count]) => `scheduler_schedule_attempts_total{result="${result}"} ${count}`,
    ),
    '# HELP scheduler_pending_pods Pods that wait for a node, by queue.',
    '# TYPE scheduler_pending_pods gauge',
    ...Object.entries(loop.pendingCounts()).map(
      ([queue, count]) => `scheduler_pending_pods{queue="${queue}"} ${count}`,
    ),
  ];
  return `${lines.join('\n')}\n`;
}
