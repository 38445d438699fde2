/** What was recommended and done lately, for each autoscaler. Lost with the process: see `begin`. */
import type { HorizontalPodAutoscaler } from '../../../kernel/contract/kubernetes.ts';
import type { Past, Recommendation, ScaleEvent } from './scaling-limits.ts';

/** Windows and periods may be up to an hour and half an hour long. */
const keepMs = 3_600_000;

interface Entry {
  recommendations: Recommendation[];
  ups: ScaleEvent[];
  downs: ScaleEvent[];
}

export class ScaleHistory {
  readonly #entries = new Map<string, Entry>();

  of(key: string): Past {
    return this.#entries.get(key) ?? { recommendations: [], ups: [], downs: [] };
  }

  /** After a start nothing is known: the present size counts as recommended, so that a restart scales nothing down. */
  begin(key: string, currentReplicas: number, timeMs: number): void {
    if (this.#entries.has(key)) return;
    this.#entries.set(key, { recommendations: [{ replicas: currentReplicas, timeMs }], ups: [], downs: [] });
  }

  recommend(key: string, replicas: number, timeMs: number): void {
    const entry = this.#entries.get(key);
    if (entry === undefined) return;
    entry.recommendations = [...entry.recommendations.filter(isRecent(timeMs)), { replicas, timeMs }];
  }

  /** Only policies look back at events: without `behavior` none are kept. */
  scaled({ spec }: HorizontalPodAutoscaler, key: string, from: number, to: number, timeMs: number): void {
    const entry = this.#entries.get(key);
    if (entry === undefined || spec.behavior === undefined) return;
    const event = { change: Math.abs(to - from), timeMs };
    if (to > from) entry.ups = [...entry.ups.filter(isRecent(timeMs)), event];
    else entry.downs = [...entry.downs.filter(isRecent(timeMs)), event];
  }

  forget(key: string): void {
    this.#entries.delete(key);
  }
}

const isRecent =
  (nowMs: number) =>
  ({ timeMs }: { readonly timeMs: number }): boolean =>
    timeMs > nowMs - keepMs;
