/** One workload in one process, as in upstream's runner: the API on a store in memory, the scheduling loop, no agents. */
import { join } from 'node:path';
import type { Cluster, Component, SchedulerPolicy } from '../../../kernel/contract/index.ts';
import type { Pod } from '../../../kernel/contract/kubernetes.ts';
import { byteCount, cpuMillis } from '../../../kernel/machinery/quantity.ts';
import { resources } from '../../../kernel/machinery/resources.ts';
import type { Job, PluginChoice } from '../../bed/plugin-process.ts';
import { ascending, quantile } from '../../method/statistics.ts';
import type { Check } from '../../method/suite.ts';
import { firstFit } from './first-fit.ts';
import { workloads, type Workload } from './workloads.ts';

export interface SchedulerJobArgs {
  /** Undefined: the first node that has room, and no judgement. */
  readonly policy: PluginChoice | undefined;
  readonly workload: string;
  readonly nodes: number;
  readonly folder: string;
}

export interface SchedulerJobResult {
  readonly checks: readonly Check[];
  readonly figures: Readonly<Record<string, number>>;
}

const allocatable = { cpu: '4', memory: '32Gi', pods: '110' };
const gibibyte = 2 ** 30;
/** By the names that workloads use. */
const priorities = { low: 1, high: 100 } as const;

/** Many at once, as clients over HTTP would. */
async function inParallel(count: number, width: number, work: (index: number) => Promise<unknown>): Promise<void> {
  let next = 0;
  const lane = async (): Promise<void> => {
    for (let index = next++; index < count; index = next++) await work(index);
  };
  await Promise.all(Array.from({ length: width }, lane));
}

function podOf(workload: Workload, namespace: string, index: number): Parameters<Cluster['create']>[1] {
  const shape = namespace === 'init' ? (workload.initPod ?? workload.pod) : workload.pod;
  const { labels, spec, cpu = '100m', memory = '500Mi' } = shape(index);
  const amounts = { cpu, memory };
  const container = { name: 'pause', image: 'registry.k8s.io/pause:3.10', ports: [{ containerPort: 80 }] };
  return {
    metadata: { name: `${namespace}-${index}`, namespace, ...(labels === undefined ? {} : { labels }) },
    spec: { containers: [{ ...container, resources: { requests: amounts, limits: amounts } }], ...spec },
  } as Parameters<Cluster['create']>[1];
}

const createNode = async (cluster: Cluster, name: string, labels: Readonly<Record<string, string>>): Promise<void> => {
  const own = { 'kubernetes.io/hostname': name, ...labels };
  const node = await cluster.create(resources.nodes, { metadata: { name, labels: own }, spec: {} });
  const status = { capacity: allocatable, allocatable, conditions: [{ type: 'Ready', status: 'True' as const }] };
  await cluster.update(resources.nodes, { ...node, status }, { subresource: 'status' });
};

/** Times at which pods of a namespace were first seen with a node. */
async function bound(cluster: Cluster, namespace: string, count: number): Promise<ReadonlyMap<string, number>> {
  const seen = new Map<string, number>();
  const stop = new AbortController();
  for await (const batch of cluster.watch(resources.pods, { namespace }, stop.signal)) {
    for (const { object } of batch)
      if ('spec' in object && (object.spec.nodeName ?? '') !== '' && !seen.has(object.metadata.name))
        seen.set(object.metadata.name, performance.now());
    if (seen.size >= count) break;
  }
  stop.abort();
  return seen;
}

export const schedulerJob: Job<SchedulerJobArgs, SchedulerJobResult> = async (args, start) => {
  const workload = workloads.find(({ name }) => name === args.workload)!;
  const folder = (name: string): string => join(args.folder, name);
  const plain = (kind: PluginChoice['kind'], name: string): PluginChoice => ({ kind, name, config: {} });
  const store = await start<object>(plain('store', 'memory'), folder('store'));
  // Upstream's runner has no admission of ServiceAccounts either.
  const local = { ...plain('cluster', 'local'), config: { serviceAccounts: false } };
  const cluster = await start<Cluster>(local, folder('cluster'), { store });
  const policy = args.policy === undefined ? firstFit : await start<SchedulerPolicy>(args.policy, folder('policy'));
  const name = args.policy?.name ?? 'first-fit';
  for (const namespace of ['init', 'measured', 'meanwhile'])
    await cluster.create(resources.namespaces, { metadata: { name: namespace }, spec: {} });
  for (const [priority, value] of Object.entries(priorities))
    await cluster.create(resources.priorityClasses, { metadata: { name: priority }, value });
  await inParallel(args.nodes, 64, (index) => createNode(cluster, `node-${index}`, workload.nodeLabels?.(index) ?? {}));
  const uses = { cluster, scheduler: new Map([[name, policy]]) };
  const component = await start<Component>(plain('component', 'scheduler'), folder('scheduler'), uses);
  const { init, measured } = workload.pods(args.nodes);
  const create = (namespace: string, count: number, created?: Map<string, number>): Promise<void> =>
    inParallel(count, 64, async (index) => {
      created?.set(`${namespace}-${index}`, performance.now());
      await cluster.create(resources.pods, podOf(workload, namespace, index) as Pod);
    });
  if (init > 0) {
    const ready = bound(cluster, 'init', init);
    await create('init', init);
    await ready;
  }
  const stop = new AbortController();
  const meanwhile = disturb(cluster, workload, stop.signal);
  const created = new Map<string, number>();
  const [began, cpu] = [performance.now(), process.cpuUsage()];
  const done = bound(cluster, 'measured', measured);
  await create('measured', measured, created);
  const seen = await done;
  const seconds = (performance.now() - began) / 1000;
  const attempts = bucketQuantile((await component.metrics?.()) ?? '', attemptMetric, 0.99) * 1e6;
  const used = process.cpuUsage(cpu);
  stop.abort();
  await meanwhile;
  const waits = ascending([...seen].map(([pod, time]) => time - (created.get(pod) ?? time)));
  const { checks, figures } = await judgePlacement(cluster, workload, args.nodes);
  const result = {
    checks,
    figures: {
      ...{ rate: measured / seconds, 'bound-p50': quantile(waits, 0.5), 'bound-p99': quantile(waits, 0.99) },
      'attempt-p99': attempts,
      'cpu-pod': ((used.user + used.system) / measured) * 1e-3,
      memory: process.memoryUsage.rss() / 2 ** 20,
      ...figures,
    },
  };
  for (const one of [component, cluster, store]) await one[Symbol.asyncDispose]();
  return result;
};

const attemptMetric = 'scheduler_scheduling_attempt_duration_seconds';

/** As Prometheus' histogram_quantile: evenly spread within a bucket. */
function bucketQuantile(text: string, name: string, quantileOf: number): number {
  const buckets = [...text.matchAll(new RegExp(`^${name}_bucket\\{le="([^"]+)"\\} (\\d+)`, 'gm'))].map((match) => ({
    bound: match[1] === '+Inf' ? Number.POSITIVE_INFINITY : Number(match[1]),
    count: Number(match[2]),
  }));
  const wanted = (buckets.at(-1)?.count ?? 0) * quantileOf;
  const index = buckets.findIndex(({ count }) => count >= wanted);
  const [low, high] = [buckets[index - 1] ?? { bound: 0, count: 0 }, buckets[index]];
  if (high === undefined || wanted === 0) return Number.NaN;
  if (high.bound === Number.POSITIVE_INFINITY) return low.bound;
  return low.bound + ((high.bound - low.bound) * (wanted - low.count)) / Math.max(1, high.count - low.count);
}

/** What happens beside the measured pods, five or one times a second as upstream has it. */
async function disturb(cluster: Cluster, { meanwhile }: Workload, signal: AbortSignal): Promise<void> {
  const namespace = 'meanwhile';
  for (let count = 0; meanwhile !== undefined && !signal.aborted; count += 1) {
    const name = `meanwhile-${count}`;
    if (meanwhile !== 'churn') {
      const [cpu, priorityClassName] = meanwhile === 'preemptors' ? ['3', 'high'] : ['900', 'low'];
      const containers = [{ name: 'main', image: 'pause', resources: { requests: { cpu, memory: '1Gi' } } }];
      await cluster.create(resources.pods, { metadata: { name, namespace }, spec: { priorityClassName, containers } });
    } else {
      await createNode(cluster, name, {});
      await cluster.create(resources.services, {
        metadata: { name, namespace },
        spec: { selector: { app: name }, ports: [{ port: 80 }] },
      });
      await cluster.delete(resources.services, { namespace, name });
      await cluster.delete(resources.nodes, { name });
    }
    await new Promise((resolve) => setTimeout(resolve, meanwhile === 'churn' ? 1_000 : 200));
  }
}

/** No node may hold more than it has; and how good the placement is: balance, and what still fits. */
async function judgePlacement(cluster: Cluster, workload: Workload, nodeCount: number): Promise<SchedulerJobResult> {
  const byNode = new Map<string, { cpu: number; memory: number; pods: number }>();
  const measured: string[] = [];
  for (const pod of (await cluster.list(resources.pods)).items) {
    const node = pod.spec.nodeName ?? '';
    if (node === '') continue;
    if (pod.metadata.namespace === 'measured') measured.push(node);
    const sum = byNode.get(node) ?? { cpu: 0, memory: 0, pods: 0 };
    for (const container of pod.spec.containers) {
      sum.cpu += cpuMillis(container.resources?.requests?.['cpu'] ?? 0);
      sum.memory += byteCount(container.resources?.requests?.['memory'] ?? 0);
    }
    sum.pods += 1;
    byNode.set(node, sum);
  }
  const all = Array.from(
    { length: nodeCount },
    (_, index) => byNode.get(`node-${index}`) ?? { cpu: 0, memory: 0, pods: 0 },
  );
  const over = [...byNode].filter(([, { cpu, memory, pods }]) => cpu > 4_000 || memory > 32 * gibibyte || pods > 110);
  const fault = workload.fault?.(measured);
  const mean = all.reduce((sum, { cpu }) => sum + cpu, 0) / nodeCount;
  const spread = Math.sqrt(all.reduce((sum, { cpu }) => sum + (cpu - mean) ** 2, 0) / nodeCount) / 4_000;
  const free = all.reduce((sum, { cpu }) => sum + 4_000 - cpu, 0);
  const fits = all.reduce(
    (sum, { cpu, memory }) =>
      sum + Math.min(Math.floor((4_000 - cpu) / 2_000), Math.floor((32 * gibibyte - memory) / (4 * gibibyte))),
    0,
  );
  return {
    checks: [
      {
        name: 'no node holds more than it has',
        ok: over.length === 0,
        detail: over
          .map(([node]) => node)
          .slice(0, 3)
          .join(', '),
      },
      ...(workload.fault === undefined
        ? []
        : [{ name: 'the measured pods are where their rules allow', ok: fault === undefined, detail: fault ?? '' }]),
    ],
    figures: {
      'nodes-used': (all.filter(({ pods }) => pods > 0).length / nodeCount) * 100,
      imbalance: spread * 100,
      'large-pods': fits,
      stranded: free === 0 ? 0 : (1 - (fits * 2_000) / free) * 100,
    },
  };
}
