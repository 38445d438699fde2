import test from 'ava';
import type { ExecutionContext } from 'ava';
import { PintleError } from '../../../kernel/contract/index.ts';
import type { Cluster, NodeService, NodeUsage, PodUsage } from '../../../kernel/contract/index.ts';
import type { Pod } from '../../../kernel/contract/kubernetes.ts';
import { eventually, handClock, ns, open, pod, refusal, types } from './harness.ts';

const memory = { usageBytes: 4096, workingSetBytes: 3 * 1024 * 1024 };
const fileSystem = { capacityBytes: 1, availableBytes: 1, usedBytes: 0, inodes: 1, inodesFree: 1 };

function podUsage(object: Pod, names: readonly string[], unsampled: readonly string[] = []): PodUsage {
  const { namespace, name, uid } = object.metadata;
  const containers = names.map((each) => ({
    name: each,
    startedMs: 0,
    timeMs: Date.UTC(2030, 0, 1),
    windowMs: 10_012,
    cpu: { totalNanos: 5e9, nanoCores: 123_456_789 },
    memory,
  }));
  return { namespace, name, uid, startedMs: 0, containers, unsampled };
}

function nodeUsage(nodeName: string, pods: readonly PodUsage[], windowMs = 15_000): NodeUsage {
  const cpu = { totalNanos: 1, nanoCores: 1_500_000_000 };
  return {
    nodeName,
    startedMs: 0,
    timeMs: Date.UTC(2030, 0, 1),
    windowMs,
    cpu,
    memory: { ...memory, availableBytes: 1 },
    fileSystem,
    processes: { count: 1, max: 2 },
    pods,
  };
}

async function serve(t: ExecutionContext, cluster: Cluster, name: string, stats: NodeService['stats']): Promise<void> {
  const stop = new AbortController();
  t.teardown(() => stop.abort());
  await cluster.create(types.nodes, { metadata: { name, labels: { disk: name } } } as never);
  void cluster.serveNode(name, { stats } as NodeService, stop.signal);
}

async function running(cluster: Cluster, name: string, nodeName: string, labels: Record<string, string>): Promise<Pod> {
  const made = await cluster.create(types.pods, pod(name, { nodeName }, { labels }));
  return cluster.update(types.pods, { ...made, status: { phase: 'Running' } } as Pod, { subresource: 'status' });
}

test('usage of nodes and pods is read from the nodes, with the labels of the objects', async (t) => {
  const clock = handClock();
  const { cluster } = await open(t, { clock });
  const a = await running(cluster, 'a', 'n1', { app: 'web' });
  const b = await running(cluster, 'b', 'n2', { app: 'db' });
  const young = await running(cluster, 'young', 'n2', { app: 'db' });
  let asked = 0;
  await serve(t, cluster, 'n1', async () => {
    asked++;
    return nodeUsage('n1', [podUsage(a, ['main', 'side'])]);
  });
  await serve(t, cluster, 'n2', async () => nodeUsage('n2', [podUsage(b, ['main']), podUsage(young, ['main'], ['x'])]));
  await serve(t, cluster, 'silent', () => Promise.reject(new PintleError('UNAVAILABLE', 'not yet')));
  await serve(t, cluster, 'fresh', async () => nodeUsage('fresh', [], 0));
  await cluster.create(types.nodes, { metadata: { name: 'away' } } as never);

  const nodes = await cluster.list(types.nodeMetrics);
  t.deepEqual(
    nodes.items.map(({ metadata, usage, window, timestamp }) => [metadata.name, usage, window, timestamp]),
    ['n1', 'n2'].map((name) => [name, { cpu: '1500m', memory: '3Mi' }, '15s', '2030-01-01T00:00:00Z']),
  );
  const pods = await cluster.list(types.podMetrics, { namespace: ns });
  t.deepEqual(
    pods.items.map(({ metadata, containers }) => [metadata.name, containers.length]),
    [
      ['a', 2],
      ['b', 1],
    ],
  );
  t.like(pods.items[0], {
    kind: 'PodMetrics',
    apiVersion: 'metrics.k8s.io/v1beta1',
    metadata: { namespace: ns, labels: { app: 'web' } },
    window: '10.012s',
    containers: [{ name: 'main', usage: { cpu: '123456789n', memory: '3Mi' } }, { name: 'side' }],
  });
  const names = async (options: object) =>
    (await cluster.list(types.podMetrics, options)).items.map((i) => i.metadata.name);
  t.deepEqual(await names({ labelSelector: 'app!=web' }), ['b']);
  t.deepEqual(await names({ fieldSelector: 'metadata.name=a' }), ['a']);
  t.deepEqual(await names({ namespace: 'other' }), []);
  t.like(await cluster.get(types.nodeMetrics, { name: 'n2' }), { usage: { cpu: '1500m' } });
  t.like(await cluster.get(types.podMetrics, { namespace: ns, name: 'b' }), { metadata: { name: 'b' } });
  t.is((await cluster.list(types.nodeMetrics, { labelSelector: 'disk=n1' })).items.length, 1);
  // Many questions in one moment are one question to the node.
  t.is(asked, 1);
  clock.advance(1_000);
  t.is((await cluster.list(types.nodeMetrics)).items.length, 2);
  t.is(asked, 2);
});

test('usage that nobody tells is not found, and usage cannot be written or watched', async (t) => {
  const { cluster } = await open(t);
  const gone = await refusal(t, cluster.get(types.podMetrics, { namespace: ns, name: 'x' }), 'NOT_FOUND');
  t.is(gone.message, 'pods.metrics.k8s.io "x" not found');
  await refusal(t, cluster.create(types.podMetrics, pod('x') as never), 'METHOD_NOT_ALLOWED');
  await refusal(t, cluster.delete(types.nodeMetrics, { name: 'x' }), 'METHOD_NOT_ALLOWED');
  t.throws(() => cluster.watch(types.podMetrics, {}, new AbortController().signal), { code: 'METHOD_NOT_ALLOWED' });
  const served = cluster.server!.resources().filter(({ group }) => group === 'metrics.k8s.io');
  t.deepEqual(
    served.map(({ resource, verbs }) => [resource, verbs]),
    [
      ['nodes', ['get', 'list']],
      ['pods', ['get', 'list']],
    ],
  );
});

test('a node that went away takes its figures with it', async (t) => {
  const { cluster } = await open(t);
  await cluster.create(types.nodes, { metadata: { name: 'n' } } as never);
  const stop = new AbortController();
  void cluster.serveNode('n', { stats: async () => nodeUsage('n', []) } as unknown as NodeService, stop.signal);
  t.is((await cluster.list(types.nodeMetrics)).items.length, 1);
  stop.abort();
  await eventually(async () => (await cluster.list(types.nodeMetrics)).items.length === 0);
  t.pass();
});
