import test from 'ava';
import type { Proxy } from '../../../kernel/contract/index.ts';
import type { EndpointSlice } from '../../../kernel/contract/kubernetes.ts';
import { ProxyMetrics } from '../../../plugins/components/service-proxy/proxy-metrics.ts';

const slice = (atMs: number): EndpointSlice =>
  ({
    metadata: { annotations: { 'endpoints.kubernetes.io/last-change-trigger-time': new Date(atMs).toISOString() } },
  }) as unknown as EndpointSlice;

test('a sync tells how long after their change the rules knew of the endpoints', (t) => {
  let now = 10_000_000;
  const proxy = { status: () => ({ ready: true, lastSyncMs: 0, repairs: 3 }) } as unknown as Proxy;
  const metrics = new ProxyMetrics(proxy, { now: () => now, sleep: () => Promise.resolve() });
  metrics.endpointsChanged(slice(now - 1000), undefined);
  metrics.endpointsChanged(slice(now - 1000), slice(now - 1000));
  metrics.endpointsChanged(slice(0), undefined);
  const triggers = metrics.takeTriggers();
  const sync = metrics.begin();
  now += 500;
  sync.done(triggers);
  const lines = metrics.text().split('\n');
  t.true(lines.includes('kubeproxy_network_programming_duration_seconds_count 1'));
  t.true(lines.includes('kubeproxy_network_programming_duration_seconds_sum 1.5'));
  t.true(lines.includes('kubeproxy_sync_proxy_rules_duration_seconds_count 1'));
  t.true(lines.includes('kubeproxy_sync_proxy_rules_endpoint_changes_total 3'));
  t.true(lines.includes('pintle_proxy_repairs_total 3'));
  t.deepEqual(metrics.takeTriggers(), []);
});
