import test, { type ExecutionContext } from 'ava';
import type { Cluster, NodeService, NodeUsage } from '../../../kernel/contract/index.ts';
import type { HorizontalPodAutoscaler, HorizontalPodAutoscalerSpec } from '../../../kernel/contract/kubernetes.ts';
import { findCondition } from '../../../kernel/machinery/metadata.ts';
import { resources } from '../../../kernel/machinery/resources.ts';
import autoscaler from '../../../plugins/controllers/horizontal-pod-autoscaler/index.ts';
import replicaSet from '../../../plugins/controllers/replicaset/index.ts';
import { eventually, makeNode, openControlPlane, runKubelet, someEvent } from './control-plane.ts';

const namespace = 'default';
const fast = {
  syncPeriodSeconds: 0.1,
  downscaleStabilizationSeconds: 0,
  cpuInitializationSeconds: 0,
  initialReadinessDelaySeconds: 0,
};
const cpu = (percent: number): HorizontalPodAutoscalerSpec['metrics'] => [
  { type: 'Resource', resource: { name: 'cpu', target: { type: 'Utilization', averageUtilization: percent } } },
];

/** A node whose every pod uses as many thousandths of a core as `load` says. */
async function serveLoad(t: ExecutionContext, cluster: Cluster, load: { millis: number }): Promise<void> {
  await makeNode(cluster, 'node-1');
  const stop = new AbortController();
  t.teardown(() => stop.abort());
  const stats = async (): Promise<NodeUsage> => {
    const { items } = await cluster.list(resources.pods);
    const timeMs = Date.now();
    const figures = (nanoCores: number) => ({
      cpu: { totalNanos: 0, nanoCores },
      memory: { usageBytes: 2 ** 20, workingSetBytes: 2 ** 20 },
    });
    return {
      nodeName: 'node-1',
      startedMs: 0,
      timeMs,
      windowMs: 1000,
      ...figures(0),
      memory: { usageBytes: 0, workingSetBytes: 0, availableBytes: 0 },
      fileSystem: { capacityBytes: 0, availableBytes: 0, usedBytes: 0, inodes: 0, inodesFree: 0 },
      processes: { count: 0, max: 0 },
      pods: items.map(({ metadata }) => ({
        namespace: metadata.namespace,
        name: metadata.name,
        uid: metadata.uid,
        startedMs: 0,
        unsampled: [],
        containers: [{ name: 'main', startedMs: 0, timeMs, windowMs: 1, ...figures(load.millis * 1e6) }],
      })),
    };
  };
  void cluster.serveNode('node-1', { stats } as unknown as NodeService, stop.signal);
}

async function bed(t: ExecutionContext, load: { millis: number }, spec: Partial<HorizontalPodAutoscalerSpec>) {
  const plane = await openControlPlane(t);
  const { cluster } = plane;
  await serveLoad(t, cluster, load);
  runKubelet(t, cluster);
  await plane.controller(replicaSet);
  await plane.controller(autoscaler, fast);
  await cluster.create(resources.replicaSets, {
    metadata: { name: 'web', namespace },
    spec: {
      replicas: 1,
      selector: { matchLabels: { app: 'web' } },
      template: {
        metadata: { labels: { app: 'web' } },
        spec: { containers: [{ name: 'main', image: 'host', resources: { requests: { cpu: '100m' } } }] },
      },
    },
  } as never);
  await make(cluster, 'web', spec);
  return plane;
}

function make(cluster: Cluster, name: string, spec: Partial<HorizontalPodAutoscalerSpec>) {
  return cluster.create(resources.horizontalPodAutoscalers, {
    metadata: { name, namespace },
    spec: {
      scaleTargetRef: { apiVersion: 'apps/v1', kind: 'ReplicaSet', name: 'web' },
      maxReplicas: 5,
      metrics: cpu(50),
      ...spec,
    },
  } as never);
}

const read = (cluster: Cluster, name = 'web'): Promise<HorizontalPodAutoscaler> =>
  cluster.get(resources.horizontalPodAutoscalers, { namespace, name });

const replicasOf = async (cluster: Cluster): Promise<number | undefined> =>
  (await cluster.get(resources.replicaSets, { namespace, name: 'web' })).spec.replicas;

const reaches = (cluster: Cluster, replicas: number) =>
  eventually(`${replicas} replicas`, async () => (await replicasOf(cluster)) === replicas);

const rescaled = (cluster: Cluster, text: string) =>
  someEvent(cluster, text, ({ reason, message }) => reason === 'SuccessfulRescale' && message === text);

function condition(cluster: Cluster, type: string, reason: string, name = 'web') {
  return eventually(`${type} with ${reason}`, async () => {
    const found = findCondition((await read(cluster, name)).status?.conditions, type);
    return found?.reason === reason && found;
  });
}

test('use above the target adds replicas, use below it takes them away, and all is told', async (t) => {
  const load = { millis: 100 };
  const { cluster } = await bed(t, load, { minReplicas: 1 });
  await reaches(cluster, 5);
  t.like(await condition(cluster, 'ScalingLimited', 'TooManyReplicas'), { status: 'True' });
  t.like(await condition(cluster, 'ScalingActive', 'ValidMetricFound'), {
    status: 'True',
    message:
      'the HPA was able to successfully calculate a replica count from cpu resource utilization (percentage of request)',
  });
  const { status } = await read(cluster);
  t.like(status?.currentMetrics?.[0]?.resource, {
    name: 'cpu',
    current: { averageUtilization: 100, averageValue: '100m' },
  });
  t.regex(status?.lastScaleTime ?? '', /^\d{4}-/);
  load.millis = 10;
  await reaches(cluster, 1);
  await rescaled(cluster, 'New size: 2; reason: cpu resource utilization (percentage of request) above target');
  await rescaled(cluster, 'New size: 1; reason: All metrics below target');
});

test('bounds are kept whatever the metrics say', async (t) => {
  const { cluster } = await bed(t, { millis: 10 }, { minReplicas: 3, maxReplicas: 4 });
  await reaches(cluster, 3);
  await cluster.patch(
    resources.replicaSets,
    { namespace, name: 'web' },
    { kind: 'merge', body: { spec: { replicas: 9 } } },
  );
  await reaches(cluster, 3);
  await rescaled(cluster, 'New size: 3; reason: Current number of replicas below Spec.MinReplicas');
  await rescaled(cluster, 'New size: 4; reason: Current number of replicas above Spec.MaxReplicas');
  t.pass();
});

test('a target of zero replicas is left alone', async (t) => {
  const { cluster } = await bed(t, { millis: 100 }, { minReplicas: 1, maxReplicas: 1 });
  const key = { namespace, name: 'web' };
  await cluster.patch(resources.replicaSets, key, { kind: 'merge', body: { spec: { replicas: 0 } } });
  t.like(await condition(cluster, 'ScalingActive', 'ScalingDisabled'), { status: 'False' });
  t.is(await replicasOf(cluster), 0);
});

test('what cannot be had is said: no target, no API, another autoscaler of the same pods', async (t) => {
  const { cluster } = await bed(t, { millis: 50 }, {});
  await make(cluster, 'lost', { scaleTargetRef: { apiVersion: 'apps/v1', kind: 'ReplicaSet', name: 'absent' } });
  t.like(await condition(cluster, 'AbleToScale', 'FailedGetScale', 'lost'), {
    status: 'False',
    message: `the HPA controller was unable to get the target's current scale: replicasets.apps "absent" not found`,
  });
  await make(cluster, 'odd', { scaleTargetRef: { apiVersion: 'nope.dev/v1', kind: 'Nope', name: 'web' } });
  t.regex(
    (await condition(cluster, 'AbleToScale', 'FailedGetScale', 'odd')).message ?? '',
    /no matches for kind "Nope" in group "nope\.dev"$/,
  );
  await condition(cluster, 'ScalingActive', 'ValidMetricFound');
  const external: HorizontalPodAutoscalerSpec['metrics'] = [
    { type: 'External', external: { metric: { name: 'queue' }, target: { type: 'Value', value: '1' } } },
  ];
  await cluster.patch(
    resources.horizontalPodAutoscalers,
    { namespace, name: 'web' },
    { kind: 'merge', body: { spec: { metrics: external } } },
  );
  t.like(await condition(cluster, 'ScalingActive', 'FailedGetExternalMetric'), {
    status: 'False',
    message:
      'the HPA was unable to compute the replica count: unable to get external metric queue: unable to fetch metrics from external metrics API: no external metrics API (external.metrics.k8s.io) registered',
  });
  await make(cluster, 'rival', {});
  t.regex(
    (await condition(cluster, 'ScalingActive', 'AmbiguousSelector', 'rival')).message ?? '',
    /are controlled by multiple HPAs: \[default\/rival default\/web\]$/,
  );
});

test('a metric that fails keeps the target from shrinking, not from growing', async (t) => {
  const load = { millis: 10 };
  const both = [
    ...cpu(50)!,
    { type: 'Pods', pods: { metric: { name: 'rps' }, target: { type: 'AverageValue', averageValue: '1' } } },
  ];
  const { cluster } = await bed(t, load, { minReplicas: 1, metrics: both });
  const key = { namespace, name: 'web' };
  await cluster.patch(resources.replicaSets, key, { kind: 'merge', body: { spec: { replicas: 3 } } });
  t.like(await condition(cluster, 'ScalingActive', 'FailedGetPodsMetric'), { status: 'False' });
  t.is(await replicasOf(cluster), 3);
  load.millis = 100;
  await reaches(cluster, 5);
  t.like(await condition(cluster, 'ScalingActive', 'ValidMetricFound'), { status: 'True' });
});
