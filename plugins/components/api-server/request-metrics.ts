/**
 * Counts and times requests under kube-apiserver's metric names. prom-client takes 40 ms to load, so it is loaded after
 * the server listens; what happens before is kept and told to it then.
 */
import type { Registry } from 'prom-client';

export interface RequestFacts {
  readonly verb: string;
  readonly group: string;
  readonly version: string;
  readonly resource: string;
  readonly subresource: string;
  readonly scope: string;
  readonly code: number;
  readonly seconds: number;
}

type Prometheus = typeof import('prom-client');

export interface RequestMetrics {
  observe(facts: RequestFacts): void;
  watchEvents(group: string, version: string, kind: string, count: number): void;
  watcherCut(): void;
  text(): Promise<string>;
}

export function createRequestMetrics(gauges: {
  readonly inFlight: () => { readonly reads: number; readonly writes: number };
  readonly longRunning: () => number;
}): RequestMetrics {
  const early: ((recorder: Recorder) => void)[] = [];
  let recorder: Recorder | undefined;
  let loading: Promise<Recorder> | undefined;
  const load = (): Promise<Recorder> =>
    (loading ??= import('prom-client').then((module) => {
      recorder = createRecorder(module.default ?? module, gauges);
      for (const entry of early.splice(0)) entry(recorder);
      return recorder;
    }));
  const tell = (entry: (recorder: Recorder) => void): void => {
    if (recorder !== undefined) entry(recorder);
    else {
      // Bounded: a process that cannot load prom-client must not gather requests for ever.
      if (early.length < 10_000) early.push(entry);
      // A scrape loads it again, and says why it cannot.
      setTimeout(() => void load().catch(() => undefined), 1000).unref();
    }
  };
  return {
    observe: (facts) => tell((current) => current.observe(facts)),
    watchEvents: (group, version, kind, count) => tell((current) => current.watchEvents(group, version, kind, count)),
    watcherCut: () => tell((current) => current.watcherCut()),
    text: async () => (await load()).text(),
  };
}

interface Recorder {
  observe(facts: RequestFacts): void;
  watchEvents(group: string, version: string, kind: string, count: number): void;
  watcherCut(): void;
  text(): Promise<string>;
}

function createRecorder(prometheus: Prometheus, gauges: Parameters<typeof createRequestMetrics>[0]): Recorder {
  const registry: Registry = new prometheus.Registry();
  const names = ['verb', 'group', 'version', 'resource', 'subresource', 'scope'] as const;
  const total = new prometheus.Counter({
    name: 'apiserver_request_total',
    help: 'Requests, by verb, resource and HTTP status code.',
    labelNames: [...names, 'code'],
    registers: [registry],
  });
  const duration = new prometheus.Histogram({
    name: 'apiserver_request_duration_seconds',
    help: 'Time from a request to the end of its answer, without watches and streams.',
    labelNames: names,
    buckets: [0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1, 1.5, 2, 3, 5, 10, 30, 60],
    registers: [registry],
  });
  const events = new prometheus.Counter({
    name: 'apiserver_watch_events_total',
    help: 'Events sent to watchers.',
    labelNames: ['group', 'version', 'kind'],
    registers: [registry],
  });
  const cut = new prometheus.Counter({
    name: 'apiserver_terminated_watchers_total',
    help: 'Watches that were cut because too much waited for clients that did not read.',
    registers: [registry],
  });
  new prometheus.Gauge({
    name: 'apiserver_current_inflight_requests',
    help: 'Requests being served now.',
    labelNames: ['request_kind'],
    registers: [registry],
    collect() {
      const { reads, writes } = gauges.inFlight();
      this.set({ request_kind: 'readOnly' }, reads);
      this.set({ request_kind: 'mutating' }, writes);
    },
  });
  new prometheus.Gauge({
    name: 'apiserver_longrunning_requests',
    help: 'Watches, logs and streams that are open now.',
    registers: [registry],
    collect() {
      this.set(gauges.longRunning());
    },
  });
  // Its own measure, every 10 ms, would be most of what an idle server does.
  prometheus.collectDefaultMetrics({ register: registry, eventLoopMonitoringPrecision: 2_000 });
  return {
    observe(facts) {
      const { code, seconds, ...labels } = facts;
      total.inc({ ...labels, code });
      if (facts.verb !== 'WATCH' && facts.verb !== 'CONNECT') duration.observe(labels, seconds);
    },
    watchEvents: (group, version, kind, count) => events.inc({ group, version, kind }, count),
    watcherCut: () => cut.inc(),
    async text() {
      // What other parts of this process have put into prom-client's own registry belongs to this process too.
      const others = await prometheus.register.metrics();
      const own = await registry.metrics();
      return others.trim() === '' ? own : `${own}\n${others}`;
    },
  };
}
