import test from 'ava';
import type { NodeService, NodeUsage } from '../../../kernel/contract/index.ts';
import { resources } from '../../../kernel/machinery/resources.ts';
import { startApi } from './api-harness.ts';

const usage: NodeUsage = {
  nodeName: 'n1',
  startedMs: Date.UTC(2030, 0, 1),
  timeMs: Date.UTC(2030, 0, 2),
  windowMs: 10_000,
  cpu: { totalNanos: 5e9, nanoCores: 1e9 },
  memory: { usageBytes: 30, workingSetBytes: 20, availableBytes: 80 },
  fileSystem: { capacityBytes: 100, availableBytes: 40, usedBytes: 60, inodes: 10, inodesFree: 4 },
  processes: { count: 7, max: 99 },
  pods: [
    {
      namespace: 'default',
      name: 'p',
      uid: 'u',
      startedMs: Date.UTC(2030, 0, 1),
      ephemeralStorageBytes: 4096,
      unsampled: [],
      containers: [1, 2].map((index) => ({
        name: `c${index}`,
        startedMs: Date.UTC(2030, 0, 1),
        timeMs: Date.UTC(2030, 0, 2),
        windowMs: 10_000,
        cpu: { totalNanos: index * 1e9, nanoCores: index },
        memory: { usageBytes: index * 10, workingSetBytes: index },
      })),
    },
  ],
};

test('what monitoring asks a node comes through its tunnel', async (t) => {
  const api = await startApi();
  t.teardown(() => api[Symbol.asyncDispose]());
  const stop = new AbortController();
  t.teardown(() => stop.abort());
  await api.cluster.create(resources.nodes, { metadata: { name: 'n1' } } as never);
  const base = '/api/v1/nodes/n1/proxy';
  t.is((await api.call('GET', `${base}/metrics`)).status, 503);
  void api.cluster.serveNode(
    'n1',
    { stats: async () => usage, metrics: async () => 'kubelet_running_pods 3\n' } as unknown as NodeService,
    stop.signal,
  );
  const metrics = await api.call('GET', `${base}/metrics`);
  t.is(metrics.status, 200);
  t.is(metrics.text, 'kubelet_running_pods 3\n');
  t.is((await api.call('GET', '/api/v1/nodes/https:n1:10250/proxy/metrics')).text, metrics.text);
  t.is((await api.call('GET', `${base}/healthz`)).text, 'ok');

  const summary = (await api.call('GET', `${base}/stats/summary`)).json;
  t.like(summary.node, {
    nodeName: 'n1',
    cpu: { usageNanoCores: 1e9, usageCoreNanoSeconds: 5e9 },
    memory: { availableBytes: 80, workingSetBytes: 20 },
    fs: { inodesUsed: 6, availableBytes: 40 },
    rlimit: { maxpid: 99, curproc: 7 },
  });
  t.like(summary.pods[0], {
    podRef: { name: 'p', namespace: 'default', uid: 'u' },
    cpu: { usageNanoCores: 3 },
    memory: { workingSetBytes: 3 },
    'ephemeral-storage': { usedBytes: 4096 },
    containers: [{ name: 'c1' }, { name: 'c2', memory: { usageBytes: 20 } }],
  });

  const exposition = (await api.call('GET', `${base}/metrics/resource`)).text;
  t.regex(exposition, /^container_cpu_usage_seconds_total\{container="c2",namespace="default",pod="p"\} 2$/m);
  t.regex(exposition, /^pod_memory_working_set_bytes\{namespace="default",pod="p"\} 3$/m);
  t.regex(exposition, /^node_cpu_usage_seconds_total 5$/m);

  t.is((await api.call('GET', `${base}/exec/x`)).status, 404);
  t.is((await api.call('GET', '/api/v1/nodes/absent/proxy/metrics')).status, 404);
  t.is((await api.call('POST', `${base}/metrics`)).status, 405);
  const { resources: listed } = (await api.call('GET', '/api/v1')).json;
  t.truthy(listed.find((entry: { name: string }) => entry.name === 'nodes/proxy'));
  const group = (await api.call('GET', '/apis/metrics.k8s.io/v1beta1')).json;
  t.deepEqual(
    group.resources.map(({ name, kind, verbs }: { name: string; kind: string; verbs: string[] }) => [
      name,
      kind,
      verbs,
    ]),
    [
      ['nodes', 'NodeMetrics', ['get', 'list']],
      ['pods', 'PodMetrics', ['get', 'list']],
    ],
  );
});
