/** What the service proxy does, under kube-proxy's names. */
import type { Clock, Proxy } from '../../../kernel/contract/index.ts';
import type { EndpointSlice } from '../../../kernel/contract/kubernetes.ts';
import { Histogram, histogramText } from '../../../kernel/machinery/metrics/histogram.ts';
import { metricText } from '../../../kernel/machinery/metrics/metric-text.ts';

const triggerAnnotation = 'endpoints.kubernetes.io/last-change-trigger-time';
/** A trigger of long ago is a slice that this agent has only now heard of, not one that took long. */
const longestMs = 600_000;
/** 1 ms to 128 s. */
const programmingBuckets = Array.from({ length: 18 }, (_, index) => 0.001 * 2 ** index);

export class ProxyMetrics {
  readonly #proxy: Proxy;
  readonly #clock: Clock;
  readonly #syncSeconds = new Histogram();
  readonly #programmingSeconds = new Histogram(programmingBuckets);
  readonly #startedMs: number;
  #triggers: number[] = [];
  #lastSyncMs = 0;
  #endpointChanges = 0;
  serviceChanges = 0;

  constructor(proxy: Proxy, clock: Clock) {
    this.#proxy = proxy;
    this.#clock = clock;
    this.#startedMs = clock.now();
  }

  /** The slice says when the pod or Service changed that it was written for. */
  endpointsChanged(now: EndpointSlice | undefined, before: EndpointSlice | undefined): void {
    this.#endpointChanges++;
    const trigger = now?.metadata.annotations?.[triggerAnnotation];
    if (trigger === undefined || trigger === before?.metadata.annotations?.[triggerAnnotation]) return;
    const atMs = Date.parse(trigger);
    if (atMs >= this.#startedMs - longestMs && this.#triggers.length < 10_000) this.#triggers.push(atMs);
  }

  /** What the sync that begins now will make true. */
  takeTriggers(): readonly number[] {
    return this.#triggers.splice(0);
  }

  begin(): { done(triggers: readonly number[]): void } {
    const began = performance.now();
    return {
      done: (triggers) => {
        this.#lastSyncMs = this.#clock.now();
        this.#syncSeconds.observe((performance.now() - began) / 1000);
        for (const atMs of triggers) this.#programmingSeconds.observe(Math.max(0, this.#lastSyncMs - atMs) / 1000);
      },
    };
  }

  text(): string {
    return [
      histogramText('kubeproxy_sync_proxy_rules_duration_seconds', 'How long a sync of the rules takes.', [
        { histogram: this.#syncSeconds },
      ]),
      histogramText(
        'kubeproxy_network_programming_duration_seconds',
        'From a change of a pod or Service until the rules of this node know of it.',
        [{ histogram: this.#programmingSeconds }],
      ),
      metricText(
        'kubeproxy_sync_proxy_rules_last_timestamp_seconds',
        'gauge',
        'When the rules were synced last, since 1970.',
        this.#lastSyncMs / 1000,
      ),
      metricText(
        'kubeproxy_sync_proxy_rules_endpoint_changes_total',
        'counter',
        'Changes of EndpointSlices.',
        this.#endpointChanges,
      ),
      metricText(
        'kubeproxy_sync_proxy_rules_service_changes_total',
        'counter',
        'Changes of Services.',
        this.serviceChanges,
      ),
      metricText(
        'pintle_proxy_repairs_total',
        'counter',
        'Times that rules were found damaged and mended.',
        this.#proxy.status().repairs,
      ),
    ].join('');
  }
}
