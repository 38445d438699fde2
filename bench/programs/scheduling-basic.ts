/**
 * SchedulingBasic of Kubernetes' scheduler_perf: 5,000 nodes, 1,000 pods to begin with, 10,000 measured pods, no node
 * agents: a pod is done when it is bound. Everything in one process, as in upstream's runner: the API (cluster `local` on
 * store `memory`, through the whole write path) and the scheduler component with its events.
 *
 *   node out/bench/programs/scheduling-basic.js [--nodes 5000] [--init 1000] [--pods 10000] [--policy spread]
 *
 * Prints pods per second from the creation of the first measured pod to the last binding seen by a watch, and the same
 * with all pods created before the scheduler starts. Upstream's threshold for this shape is 680 pods/s.
 */
import { parseArgs } from 'node:util';
import type { Cluster, Component, SchedulerPolicy } from '../../kernel/contract/index.ts';
import { resources } from '../../kernel/machinery/resources.ts';
import local from '../../plugins/clusters/local/index.ts';
import scheduler from '../../plugins/components/scheduler/index.ts';
import binpack from '../../plugins/schedulers/binpack/index.ts';
import spread from '../../plugins/schedulers/spread/index.ts';
import memory from '../../plugins/stores/memory/index.ts';
import { startAlone } from './start-alone.ts';

const { values } = parseArgs({
  options: {
    nodes: { type: 'string', default: '5000' },
    init: { type: 'string', default: '1000' },
    pods: { type: 'string', default: '10000' },
    policy: { type: 'string', default: 'spread' },
    json: { type: 'boolean', default: false },
  },
});
const nodeCount = Number(values.nodes);
const initCount = Number(values.init);
const podCount = Number(values.pods);

/** Many at once, as clients over HTTP would. */
async function inParallel(count: number, width: number, work: (i: number) => Promise<unknown>): Promise<void> {
  let next = 0;
  const lane = async () => {
    for (let i = next++; i < count; i = next++) await work(i);
  };
  await Promise.all(Array.from({ length: width }, lane));
}

const createPods = (cluster: Cluster, namespace: string, count: number) =>
  inParallel(count, 64, () =>
    cluster.create(resources.pods, {
      metadata: { generateName: 'pod-', namespace },
      spec: {
        containers: [
          {
            name: 'pause',
            image: 'registry.k8s.io/pause:3.10',
            ports: [{ containerPort: 80 }],
            resources: { requests: { cpu: '100m', memory: '500Mi' }, limits: { cpu: '100m', memory: '500Mi' } },
          },
        ],
      },
    }),
  );

/** Resolves when so many pods of the namespace have a node. */
async function bound(cluster: Cluster, namespace: string, count: number): Promise<void> {
  const done = new Set<string>();
  const stop = new AbortController();
  for await (const batch of cluster.watch(resources.pods, { namespace }, stop.signal)) {
    for (const { object } of batch)
      if ('spec' in object && (object.spec.nodeName ?? '') !== '') done.add(object.metadata.name);
    if (done.size >= count) break;
  }
  stop.abort();
}

async function measure(label: string, createFirst: boolean): Promise<number> {
  const store = await startAlone<object>(memory, {});
  // scheduler_perf runs without admission plugin ServiceAccount as well.
  const cluster = await startAlone<Cluster>(local, { store }, { serviceAccounts: false });
  const policies = new Map<string, SchedulerPolicy>([
    ['spread', await startAlone<SchedulerPolicy>(spread, {})],
    ['binpack', await startAlone<SchedulerPolicy>(binpack, {})],
  ]);
  const ordered = new Map(
    [...policies].toSorted(([a], [b]) => Number(b === values.policy) - Number(a === values.policy)),
  );
  for (const name of ['init', 'measured']) await cluster.create(resources.namespaces, { metadata: { name }, spec: {} });
  const allocatable = { cpu: '4', memory: '32Gi', pods: '110' };
  await inParallel(nodeCount, 64, async (i) => {
    const node = await cluster.create(resources.nodes, { metadata: { name: `scheduler-perf-${i}` }, spec: {} });
    const conditions = [{ type: 'Ready', status: 'True' }];
    const status = { capacity: allocatable, allocatable, conditions };
    await cluster.update(resources.nodes, { ...node, status }, { subresource: 'status' });
  });
  const uses = { cluster, scheduler: ordered };
  let component: (Component & AsyncDisposable) | undefined;
  if (!createFirst) {
    component = await startAlone<Component>(scheduler, uses);
    await createPods(cluster, 'init', initCount);
    await bound(cluster, 'init', initCount);
  } else await createPods(cluster, 'measured', podCount);
  const startedAt = performance.now();
  const cpuBefore = process.cpuUsage();
  const done = bound(cluster, 'measured', podCount);
  if (createFirst) component = await startAlone<Component>(scheduler, uses);
  else await createPods(cluster, 'measured', podCount);
  await done;
  const seconds = (performance.now() - startedAt) / 1000;
  const rate = podCount / seconds;
  const cpu = process.cpuUsage(cpuBefore);
  const cpuSeconds = (cpu.user + cpu.system) / 1e6;
  const used = new Set(
    (await cluster.list(resources.pods, { namespace: 'measured' })).items.map((pod) => pod.spec.nodeName),
  );
  if (!values.json)
    process.stdout.write(
      `${label}: ${Math.round(rate)} pods/s (${podCount} pods on ${nodeCount} nodes in ${seconds.toFixed(2)} s, ` +
        `${cpuSeconds.toFixed(2)} s of processor time, ` +
        `${used.size} nodes used, ${Math.round(process.memoryUsage().rss / 2 ** 20)} MiB resident)\n`,
    );
  await component?.[Symbol.asyncDispose]();
  await cluster[Symbol.asyncDispose]();
  await store[Symbol.asyncDispose]();
  return rate;
}

const withCreation = await measure(`SchedulingBasic, ${values.policy}, creation included`, false);
const backlog = await measure(`SchedulingBasic, ${values.policy}, backlog of all pods`, true);
if (values.json)
  process.stdout.write(
    `${JSON.stringify({ nodes: nodeCount, pods: podCount, policy: values.policy, withCreation, backlog })}\n`,
  );
