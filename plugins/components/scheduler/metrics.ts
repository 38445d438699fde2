/** The scheduler's counters in Prometheus text, under kube-scheduler's names. */
import { histogramText } from '../../../kernel/machinery/metrics/histogram.ts';
import type { SchedulingLoop } from './scheduling-loop.ts';

export function schedulerMetrics(loop: SchedulingLoop | undefined): string {
  if (loop === undefined) return '';
  const lines = [
    '# HELP scheduler_schedule_attempts_total Attempts to place a pod, by result.',
    '# TYPE scheduler_schedule_attempts_total counter',
    ...Object.entries(loop.counts).map(
      ([result, count]) => `scheduler_schedule_attempts_total{result="${result}"} ${count}`,
    ),
    '# HELP scheduler_preemption_attempts_total Times that room was made for a pod.',
    '# TYPE scheduler_preemption_attempts_total counter',
    `scheduler_preemption_attempts_total ${loop.preemptionCounts.attempts}`,
    '# HELP pintle_scheduler_preemption_victims_total Pods that had to go for others.',
    '# TYPE pintle_scheduler_preemption_victims_total counter',
    `pintle_scheduler_preemption_victims_total ${loop.preemptionCounts.victims}`,
    '# HELP scheduler_pending_pods Pods that wait for a node, by queue.',
    '# TYPE scheduler_pending_pods gauge',
    ...Object.entries(loop.pendingCounts()).map(
      ([queue, count]) => `scheduler_pending_pods{queue="${queue}"} ${count}`,
    ),
  ];
  const binding = histogramText(
    'scheduler_framework_extension_point_duration_seconds',
    'How long each part of scheduling takes.',
    [{ labels: { extension_point: 'Bind', status: 'Success' }, histogram: loop.bindingSeconds }],
  );
  const attempts = histogramText(
    'scheduler_scheduling_attempt_duration_seconds',
    "How long it takes to find a pod's node, or that there is none.",
    [{ histogram: loop.attemptSeconds }],
  );
  return `${lines.join('\n')}\n${attempts}${binding}`;
}
