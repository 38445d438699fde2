/**
 * What the named work queues of this process do, under the names that client-go's queues have. A queue counts from when it
 * runs until it ends; counting costs two looks at the clock for each key.
 */
import { Histogram, histogramText } from './histogram.ts';
import { metricText } from './metric-text.ts';

export class WorkQueueCounts {
  readonly name: string;
  readonly depth: () => number;
  adds = 0;
  retries = 0;
  readonly waited = new Histogram();
  readonly worked = new Histogram();

  constructor(name: string, depth: () => number) {
    this.name = name;
    this.depth = depth;
  }
}

const running = new Set<WorkQueueCounts>();

/** Until the answered function is called. */
export function countQueue(counts: WorkQueueCounts): () => void {
  running.add(counts);
  return () => running.delete(counts);
}

/** All queues of the process: one plugin of it says this for all. */
export function workQueueMetrics(): string {
  const queues = [...new Map([...running].map((counts) => [counts.name, counts])).values()];
  const of = (value: (counts: WorkQueueCounts) => number) =>
    queues.map((counts) => ({ labels: { name: counts.name }, value: value(counts) }));
  const timed = (histogram: (counts: WorkQueueCounts) => Histogram) =>
    queues.map((counts) => ({ labels: { name: counts.name }, histogram: histogram(counts) }));
  return [
    metricText(
      'workqueue_depth',
      'gauge',
      'Keys that wait now.',
      of(({ depth }) => depth()),
    ),
    metricText(
      'workqueue_adds_total',
      'counter',
      'Keys added.',
      of(({ adds }) => adds),
    ),
    metricText(
      'workqueue_retries_total',
      'counter',
      'Keys that failed and came back.',
      of(({ retries }) => retries),
    ),
    histogramText(
      'workqueue_queue_duration_seconds',
      'How long keys wait.',
      timed(({ waited }) => waited),
    ),
    histogramText(
      'workqueue_work_duration_seconds',
      'How long keys are worked on.',
      timed(({ worked }) => worked),
    ),
  ].join('');
}
