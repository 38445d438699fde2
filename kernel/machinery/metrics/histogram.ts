/**
 * A histogram that costs one array access to observe. prom-client would do, but takes 70 ms and 12 MB to load, which every
 * agent would pay whether somebody scrapes it or not.
 */
import { metricHead, sampleLine, type Labels } from './metric-text.ts';

/** Upper bounds in seconds: 1 ms to 16 s, doubling, as Kubernetes times its own work. */
export const secondsBuckets: readonly number[] = Array.from({ length: 15 }, (_, index) => 0.001 * 2 ** index);

export class Histogram {
  readonly #bounds: readonly number[];
  readonly #counts: number[];
  #sum = 0;
  #count = 0;

  constructor(bounds: readonly number[] = secondsBuckets) {
    this.#bounds = bounds;
    this.#counts = bounds.map(() => 0);
  }

  get count(): number {
    return this.#count;
  }

  observe(value: number): void {
    this.#sum += value;
    this.#count++;
    const index = this.#bounds.findIndex((bound) => value <= bound);
    if (index >= 0) this.#counts[index]!++;
  }

  /** Its sample lines, without HELP and TYPE. */
  lines(name: string, labels: Labels = {}): string {
    let sum = 0;
    const buckets = this.#bounds.map((bound, index) => {
      sum += this.#counts[index]!;
      return sampleLine(`${name}_bucket`, { ...labels, le: bound }, sum);
    });
    return [
      ...buckets,
      sampleLine(`${name}_bucket`, { ...labels, le: '+Inf' }, this.#count),
      sampleLine(`${name}_sum`, labels, this.#sum),
      sampleLine(`${name}_count`, labels, this.#count),
    ].join('');
  }
}

export function histogramText(
  name: string,
  help: string,
  series: readonly { readonly labels?: Labels | undefined; readonly histogram: Histogram }[],
): string {
  if (series.length === 0) return '';
  return `${metricHead(name, 'histogram', help)}${series.map(({ labels, histogram }) => histogram.lines(name, labels)).join('')}`;
}
